"""Tile2Vec: against a slow account, without triplets, in two processes, and its choice."""

import math
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from georank_zoo.algorithms import Tile2Vec
from georank_zoo.losses.triplet import geo_triplet
from georank_zoo.utils.errors import UsageError
from tests.support.oracles import haversine_km


def batch(seed: int = 0, count: int = 24) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings, positions in clusters some 100 km apart, and numbers."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(count, 5, dtype=torch.float64, generator=generator)
    center = torch.randint(0, 6, (count, 1), generator=generator) * torch.tensor([1.0, 0.8])
    spread = torch.rand(count, 2, dtype=torch.float64, generator=generator) * 0.3
    latlon = center.double() + spread
    latlon[5] = latlon[2]  # two samples of one position: no positives of each other
    latlon[3] = torch.tensor([-50.0, 10.0])  # without a neighbor
    uniform = torch.rand(count, 2, dtype=torch.float64, generator=generator)
    return z, latlon, uniform


def slow_triplet(
    z: np.ndarray, latlon: np.ndarray, uniform: np.ndarray, margin: float = 1.0,
    positive_km: float = 15.0, negative_km: float = 50.0,
) -> tuple[float, np.ndarray, int]:  # fmt: skip
    """Value, gradient and number of anchors, triplet by triplet."""
    km = haversine_km(latlon)
    value, gradient, anchors = 0.0, np.zeros_like(z), 0
    for a in range(len(z)):
        near = [j for j in range(len(z)) if 0 < km[a, j] <= positive_km]
        far = [j for j in range(len(z)) if km[a, j] > negative_km]
        if not near or not far:
            continue
        anchors += 1
        p = near[math.floor(uniform[a, 0] * len(near))]
        n = far[math.floor(uniform[a, 1] * len(far))]
        to_p, to_n = z[a] - z[p], z[a] - z[n]
        hinge = margin + np.linalg.norm(to_p) - np.linalg.norm(to_n)
        if hinge > 0:
            value += hinge
            unit_p, unit_n = to_p / np.linalg.norm(to_p), to_n / np.linalg.norm(to_n)
            gradient[a] += unit_p - unit_n
            gradient[p] -= unit_p
            gradient[n] += unit_n
    return value / max(anchors, 1), gradient / max(anchors, 1), anchors


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("settings", [{}, {"margin": 0.2, "positive_km": 25.0, "negative_km": 200}])
def test_value_and_gradient(seed: int, settings: dict[str, float]) -> None:
    z, latlon, uniform = batch(seed)
    z.requires_grad_()
    loss, share = geo_triplet(z, latlon, uniform, **settings)
    loss.backward()
    value, gradient, anchors = slow_triplet(
        z.detach().numpy(), latlon.numpy(), uniform.numpy(), **settings
    )
    assert 3 < anchors < len(z)  # some have no neighbor
    assert loss.item() == pytest.approx(value, abs=1e-12) and value > 0
    assert share.item() == pytest.approx(anchors / len(z))
    np.testing.assert_allclose(z.grad.numpy(), gradient, atol=1e-12)


def test_numbers_choose_among_all_neighbors_equally() -> None:
    # Anchor 0 has the positives 1-3 and the negatives 4-6, each with its own distance.
    latlon = torch.tensor([[0.0, 0.0], *[[0.05, 0.01 * i] for i in range(3)],
                           *[[20.0 + i, 0.0] for i in range(3)]], dtype=torch.float64)  # fmt: skip
    z = torch.zeros(7, 1, dtype=torch.float64)
    z[1:, 0] = torch.tensor([1.0, 2.0, 3.0, 10.0, 20.0, 30.0])
    seen = []
    for number in np.linspace(0, 1, 300, endpoint=False):
        numbers = torch.full((7, 2), number, dtype=torch.float64)
        z0 = z.clone().requires_grad_()
        geo_triplet(z0, latlon, numbers, margin=100.0)[0].backward()
        # What the three other anchors, 1-3, do to 4-6 is the same for each of them.
        seen.append(int(z0.grad[4:].abs().argmax()))
    assert np.bincount(seen).tolist() == [100, 100, 100]
    last = torch.full((7, 2), 1.0 - 2**-53, dtype=torch.float64)
    assert torch.isfinite(geo_triplet(z, latlon, last)[0])


@pytest.mark.parametrize(
    "latlon",
    [
        [[0.0, 0.0], [30.0, 0.0], [0.0, 30.0]],  # no positives
        [[0.0, 0.0], [0.01, 0.0], [0.0, 0.01]],  # no negatives
        [[0.0, 0.0], [0.0, 0.0], [40.0, 0.0]],  # the same position is no positive
    ],
)
def test_without_a_triplet_loss_and_gradient_are_zero(latlon: list[list[float]]) -> None:
    z = torch.randn(3, 4, requires_grad=True, generator=torch.Generator().manual_seed(0))
    loss, share = geo_triplet(z, torch.tensor(latlon), torch.full((3, 2), 0.5))
    loss.backward()
    assert loss.item() == 0 and share.item() == 0
    assert torch.equal(z.grad, torch.zeros(3, 4))


def test_collapsed_embeddings_have_a_finite_gradient() -> None:
    _, latlon, uniform = batch()
    z = torch.ones(24, 5, dtype=torch.float64, requires_grad=True)
    loss, _ = geo_triplet(z, latlon, uniform)
    loss.backward()
    assert loss.item() == pytest.approx(1.0) and torch.isfinite(z.grad).all()


def small(**options: Any) -> Tile2Vec:
    torch.manual_seed(0)
    backbone = timm.create_model("test_resnet", in_chans=3, num_classes=0)
    return Tile2Vec(backbone, hidden_dim=8, output_dim=5, **options)


def test_the_algorithm_draws_from_the_generator_that_the_loop_seeds() -> None:
    algorithm = small()
    _, latlon, _ = batch()
    images = torch.randn(24, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    losses = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        output = algorithm([images], latlon)
        losses.append(output.loss.item())
    assert losses[0] == losses[1] != losses[2]
    torch.manual_seed(4)
    expected, share = geo_triplet(output.embeddings[0], latlon, torch.rand(24, 2))
    assert losses[2] == expected.item() and output.logs == {"triplets": share}
    assert algorithm.num_views == 1 and output.embeddings[0].shape == (24, algorithm.embedding_dim)


@pytest.mark.parametrize(
    "options", [{"margin": 0.0}, {"positive_km": 0.0}, {"positive_km": 60.0, "negative_km": 50.0}]
)
def test_bad_settings(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=r"Tile2Vec: .*(margin|positive_km)"):
        small(**options)


def network() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Linear(5, 4).double()


def joined() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch whose halves have very different numbers of anchors."""
    z, latlon, uniform = batch()
    latlon[14:] = torch.tensor([[-60.0 + 5 * i, 100.0] for i in range(10)])
    return z, latlon, uniform


def worker(rank: int, port: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    own = slice(12 * rank, 12 * rank + 12)
    x, latlon, uniform = (part[own] for part in joined())
    model = DistributedDataParallel(network())
    loss, share = geo_triplet(model(x), latlon, uniform)
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    shares = [torch.zeros_like(share) for _ in range(2)]
    dist.all_gather(shares, share)
    loss = loss.detach()
    dist.all_reduce(loss)
    if rank == 0:
        torch.save({"loss": loss / 2, "gradient": gradient, "shares": shares}, folder)
    dist.destroy_process_group()


def test_two_processes_equal_one_with_the_joined_batch(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    mp.spawn(worker, args=(port, str(tmp_path / "results.pt")), nprocs=2)
    found = torch.load(tmp_path / "results.pt", weights_only=True)
    assert found["shares"][0] > 3 * found["shares"][1] > 0  # unequal numbers of anchors

    model = network()
    x, latlon, uniform = joined()
    loss, _ = geo_triplet(model(x), latlon, uniform)
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert found["loss"].item() == pytest.approx(loss.item(), abs=1e-12)
    torch.testing.assert_close(found["gradient"], gradient, atol=1e-12, rtol=0)
