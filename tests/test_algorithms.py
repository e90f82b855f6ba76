"""Each algorithm with each regularizer, and MoCo against lightly and a numpy account."""

import math

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from safetensors.torch import load_file, save_file

from georank_zoo.algorithms import ALGORITHMS, MoCo
from georank_zoo.algorithms.momentum import momentum_at
from georank_zoo.algorithms.queue import NegativeQueue
from georank_zoo.errors import UsageError
from georank_zoo.losses import REGULARIZERS, nt_xent_queue
from georank_zoo.objective import Objective

SMALL = {"moco": {"hidden_dim": 32, "output_dim": 16, "queue_size": 24}}


def build(name: str, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    backbone = timm.create_model("resnet18", in_chans=3, num_classes=0)
    return ALGORITHMS[name](backbone, **SMALL[name])


def views(algorithm: torch.nn.Module, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(8, 3, 32, 32, generator=generator) for _ in range(algorithm.num_views)]


LATLON = torch.tensor([[float(i), 3.0 * i] for i in range(8)], dtype=torch.float64)


@pytest.mark.parametrize("regularizer", [None, *REGULARIZERS])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_one_step(name: str, regularizer: str | None) -> None:
    algorithm = build(name)
    options = {"strength": 0.5} if regularizer == "georank" else {}
    objective = Objective(
        algorithm,
        REGULARIZERS[regularizer](**options) if regularizer else None,
        alpha=0.5,
        name=regularizer or "",
    )
    optimizer = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.1)
    before = {k: v.clone() for k, v in algorithm.state_dict().items()}

    # timm starts each residual branch with a zero gamma: its weights move from the second step.
    objective(views(algorithm, seed=7), LATLON)[0].backward()
    optimizer.step()
    optimizer.zero_grad()
    loss, logs, embeddings = objective(views(algorithm), LATLON)
    loss.backward()

    assert math.isfinite(loss.item()) and len(embeddings) == 8
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
    assert len(frozen & moved) > 0.9 * len(frozen)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_saved_state_gives_the_same_loss(name: str, tmp_path) -> None:
    algorithm = build(name)
    algorithm(views(algorithm, seed=1))  # moves queue, teacher statistics, ...
    save_file(algorithm.state_dict(), tmp_path / "state.safetensors")
    other = build(name, seed=9)
    other.load_state_dict(load_file(tmp_path / "state.safetensors"))
    batch = views(algorithm, seed=2)
    assert torch.equal(algorithm(batch).loss, other(batch).loss)


def test_nt_xent_equals_lightly() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, queue = (torch.randn(n, 16, generator=generator) for n in (8, 8, 40))
    queue = F.normalize(queue, dim=1)
    theirs = NTXentLoss(temperature=0.1, memory_bank_size=(40, 16))
    theirs.memory_bank.bank = queue.clone()
    theirs.memory_bank.bank_ptr = torch.zeros(1, dtype=torch.long)
    a, b = q.clone().requires_grad_(), q.clone().requires_grad_()
    ours = nt_xent_queue(F.normalize(a, dim=1), F.normalize(k, dim=1), queue, 0.1)
    expected = theirs(b, k)
    ours.backward()
    expected.backward()
    assert ours.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-7)


def test_queue_is_first_in_first_out_and_wraps_around() -> None:
    queue = NegativeQueue(5, 2)
    account = queue.keys.numpy().copy()
    position = 0
    for step in range(4):
        keys = np.random.default_rng(step).normal(size=(3, 2)).astype(np.float32)
        for key in keys:
            account[position] = key
            position = (position + 1) % 5
        queue.push(torch.from_numpy(keys))
        np.testing.assert_array_equal(queue.keys.numpy(), account)
    assert {"keys", "position"} <= set(queue.state_dict())


def test_queue_smaller_than_the_batch_keeps_the_last_keys() -> None:
    queue = NegativeQueue(2, 1)
    queue.push(torch.tensor([[1.0], [2.0], [3.0]]))
    assert sorted(queue.keys.flatten().tolist()) == [2.0, 3.0]


def test_teacher_is_the_moving_average_over_the_whole_run() -> None:
    algorithm = build("moco")
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


def test_teacher_keeps_its_own_batchnorm_statistics() -> None:
    algorithm = build("moco")
    buffers = {k: v.clone() for k, v in algorithm.teacher.named_buffers()}
    algorithm.end_step(0.1)
    assert all(torch.equal(v, buffers[k]) for k, v in algorithm.teacher.named_buffers())
    algorithm(views(algorithm))
    mean = algorithm.teacher[0].bn1.running_mean
    assert not torch.equal(mean, buffers["0.bn1.running_mean"])
    assert not torch.equal(mean, algorithm.backbone.bn1.running_mean)  # its own view, its own


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"momentum": 1.5}, {"queue_size": 0}])
def test_bad_settings(options: dict[str, float]) -> None:
    backbone = timm.create_model("resnet18", in_chans=3, num_classes=0)
    with pytest.raises(UsageError, match=r"MoCo|queue"):
        MoCo(backbone, **options)
