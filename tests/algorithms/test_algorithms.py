"""Each algorithm with each regularizer; the momentum teacher of those that have one."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from georank_zoo.algorithms import ALGORITHMS
from georank_zoo.algorithms.momentum import momentum_at
from georank_zoo.losses import REGULARIZERS
from georank_zoo.training.objective import Objective
from georank_zoo.utils.errors import UsageError
from tests.support.small_algorithms import LATLON, SMALL, apart, backbone, build, views

WITH_TEACHER = [name for name in ALGORITHMS if hasattr(build(name), "teacher")]


@pytest.mark.parametrize("regularizer", [None, *REGULARIZERS])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_one_step(name: str, regularizer: str | None) -> None:
    algorithm = build(name)
    options = {"georank": {"strength": 0.5}, "geo_classes": {"clusters": 3}}.get(regularizer, {})
    term = REGULARIZERS[regularizer](**options) if regularizer else None
    if term:
        term.fit(LATLON, algorithm.embedding_dim)
    objective = Objective(algorithm, term, alpha=0.5, name=regularizer or "")
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=0.01)
    before = {k: v.clone() for k, v in algorithm.state_dict().items()}

    # timm starts each residual branch with a zero gamma: its weights move from the second step.
    objective(views(algorithm, seed=7), LATLON)[0].backward()
    optimizer.step()
    optimizer.zero_grad()
    loss, logs, embeddings = objective(views(algorithm), LATLON)
    loss.backward()

    assert math.isfinite(loss.item()) and embeddings.shape == (8, algorithm.embedding_dim)
    if regularizer:
        expected = 0.5 * logs["loss_ssl"] + 0.5 * logs[f"loss_{regularizer}"]
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
        assert logs[f"loss_{regularizer}"] > 0
    for parameter_name, parameter in algorithm.named_parameters():
        if parameter_name.startswith("teacher"):
            assert parameter.grad is None and not parameter.requires_grad
        else:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, parameter_name
    optimizer.step()
    algorithm.end_step(0.5)
    moved = {k for k, v in algorithm.named_parameters() if not torch.equal(v, before[k])}
    assert {k for k, v in algorithm.named_parameters() if v.requires_grad} <= moved
    # The average moves by 0.2 %: what hardly moved in the student may round to nothing.
    frozen = {k for k, v in algorithm.named_parameters() if not v.requires_grad}
    assert len(frozen & moved) >= 0.9 * len(frozen)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_saved_state_gives_the_same_loss(name: str, tmp_path: Path) -> None:
    algorithm = apart(build(name))
    algorithm(views(algorithm, seed=1), LATLON)  # moves queue, center, statistics, ...
    save_file(algorithm.state_dict(), tmp_path / "state.safetensors")
    other = build(name, seed=9)
    other.load_state_dict(load_file(tmp_path / "state.safetensors"))
    batch = views(algorithm, seed=2)
    torch.manual_seed(0)  # tile2vec draws, as dropout does
    expected = algorithm(batch, LATLON)
    torch.manual_seed(0)
    found = other(batch, LATLON)
    assert torch.equal(found.loss, expected.loss)
    assert all(map(torch.equal, found.embeddings, expected.embeddings))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_losses_are_float32_under_autocast(name: str) -> None:
    algorithm = apart(build(name))
    batch = views(algorithm, size=64)  # the CPU's bf16 kernels are wrong on a single pixel
    exact = algorithm(batch, LATLON).loss
    rounded = apart(build(name))  # seeds what tile2vec draws, too
    with torch.autocast("cpu", torch.bfloat16):
        output = rounded(batch, LATLON)
        assert output.loss.dtype == torch.float32
        assert {z.dtype for z in output.embeddings} == {torch.float32}
    output.loss.backward()
    assert all(p.grad.isfinite().all() for p in rounded.parameters() if p.requires_grad)
    assert output.loss.item() == pytest.approx(exact.item(), rel=0.1, abs=0.05)


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_teacher_is_the_moving_average_over_the_whole_run(name: str) -> None:
    algorithm = build(name)
    steps, base = 5, algorithm.momentum
    account = [p.detach().double().numpy().copy() for p in algorithm.teacher.parameters()]
    student = [*algorithm.backbone.parameters(), *algorithm.projector.parameters()]
    for step in range(1, steps + 1):
        with torch.no_grad():
            for p in student:
                p.add_(0.1)
        momentum = 1 - (1 - base) * (math.cos(math.pi * step / steps) + 1) / 2
        for average, p in zip(account, student, strict=True):
            average *= momentum
            average += (1 - momentum) * p.detach().double().numpy()
        algorithm.end_step(step / steps)
    for average, p in zip(account, algorithm.teacher.parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), average, rtol=1e-5, atol=1e-6)
    assert momentum_at(0, base) == pytest.approx(base) and momentum_at(1, base) == 1


@pytest.mark.parametrize("name", WITH_TEACHER)
def test_teacher_keeps_its_own_batchnorm_statistics(name: str) -> None:
    algorithm = apart(build(name))
    buffers = {k: v.clone() for k, v in algorithm.teacher.named_buffers()}
    algorithm.end_step(0.1)
    assert all(torch.equal(v, buffers[k]) for k, v in algorithm.teacher.named_buffers())
    algorithm(views(algorithm), LATLON)
    mean = algorithm.teacher[0].bn1.running_mean
    assert not torch.equal(mean, buffers["0.bn1.running_mean"])
    assert not torch.equal(mean, algorithm.backbone.bn1.running_mean)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("byol", "momentum", 1.5),
        ("dino", "student_temperature", 0.0),
        ("dino", "teacher_temperature", -1.0),
        ("dino", "center_momentum", 1.1),
        ("dino", "momentum", -0.1),
        ("dino", "freeze_last_layer_epochs", -1.0),
        ("moco", "temperature", 0.0),
        ("moco", "momentum", 1.5),
        ("moco", "queue_size", 0),
        ("simclr", "temperature", 0.0),
        *((name, "output_dim", 0) for name in ALGORITHMS),
        *((name, "hidden_dim", -1) for name in ALGORITHMS),
        ("byol", "predictor_dim", 0),
        ("dino", "bottleneck_dim", 0),
    ],
)
def test_bad_settings(name: str, option: str, value: float) -> None:
    with pytest.raises(UsageError, match=option.removeprefix("queue_")):
        ALGORITHMS[name](backbone(), **{**SMALL[name], option: value})
