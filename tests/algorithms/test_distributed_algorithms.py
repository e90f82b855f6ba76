"""Two gloo processes equal one process with the joined batch, algorithm by algorithm."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from georank_zoo.algorithms import ALGORITHMS, Algorithm
from georank_zoo.losses import REGULARIZERS
from georank_zoo.losses.nt_xent import nt_xent
from georank_zoo.training.objective import Objective
from georank_zoo.utils import distributed
from tests.support.processes import free_port
from tests.support.small_algorithms import SMALL

NAMES = ["byol", "dino", "moco", "simclr", "simsiam"]
# Each algorithm alone and with GeoRank, and one with each regularizer.
CASES = [f"{name}+{term}" for name in NAMES for term in ("none", "georank")] + [
    f"moco+{term}" for term in REGULARIZERS if term != "georank"
]
BATCH, STEPS = 12, 3


class Toy(nn.Module):
    """Pooled features of images of any size, without BatchNorm."""

    num_features = 20

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 2), nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 20)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


def build(name: str) -> Algorithm:
    """Without BatchNorm, which sees one process at a time."""
    torch.manual_seed(1)
    # Low temperatures enlarge rounding; at 0.04 MoCo's first loss, of keys that lie at their
    # queries, is too small to see.
    more = {"temperature": 1.0} if name in {"moco", "simclr"} else {}
    algorithm = ALGORITHMS[name](Toy(), **SMALL[name], **more)
    for module in list(algorithm.modules()):
        for key, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d):
                setattr(module, key, nn.Identity())
            elif isinstance(child, nn.Linear) and child.weight.std() < 0.03:
                # DINO begins with weights so small that its first gradients here are huge.
                nn.init.constant_(child.bias, 0.1)
                child.weight.data.mul_(10)
    return algorithm


def views(algorithm: Algorithm, step: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    sizes = [8] * algorithm.num_views + [5] * 3 * algorithm.takes_local_views
    # The halves differ, so that neither can stand for the whole.
    shift = torch.arange(BATCH)[:, None, None, None] / BATCH
    return [torch.randn(BATCH, 3, size, size, generator=generator) + shift for size in sizes]


def positions() -> torch.Tensor:
    """A cluster in the first half of the batch, places far apart in the second."""
    generator = torch.Generator().manual_seed(0)
    near, far = torch.rand(2, BATCH // 2, 2, generator=generator, dtype=torch.float64)
    return torch.cat((near * 3 + 10, far * 120 - 60))


def objective(case: str) -> Objective:
    name, _, term = case.partition("+")
    algorithm = build(name)
    if term == "none":
        return Objective(algorithm)
    # Soft and small, so that float32's rounding does not decide what gets a gradient.
    options = {
        "georank": {"strength": 5.0},
        "geobasic": {"temperature": 1.0},
        "geo_classes": {"clusters": 3},
    }[term]
    found = Objective(algorithm, REGULARIZERS[term](**options), alpha=0.5, name=term)
    found.fit(positions())
    return found


def train(case: str, rank: int = 0, processes: int = 1) -> dict[str, Any]:
    """Losses and gradients of some steps, and the buffers after them."""
    whole = objective(case)
    algorithm = whole.algorithm
    model = DistributedDataParallel(whole) if processes > 1 else whole
    trained = [p for p in whole.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.02)
    own = slice(rank * BATCH // processes, (rank + 1) * BATCH // processes)
    losses, gradients = [], []
    for step in range(STEPS):
        loss = model([view[own] for view in views(algorithm, step)], positions()[own])[0]
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in trained]))
        loss = loss.detach() / processes
        if processes > 1:
            dist.all_reduce(loss)
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
        algorithm.end_step((step + 1) / STEPS)
    buffers = {key: value.clone() for key, value in algorithm.named_buffers()}
    return {"losses": losses, "gradients": gradients, "buffers": buffers}


def exact_nt_xent(rank: int = 0, processes: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss and its gradient in float64."""
    torch.manual_seed(2)
    layer = nn.Linear(6, 4).double()
    own = slice(rank * BATCH // processes, (rank + 1) * BATCH // processes)
    x, y = torch.randn(2, BATCH, 6, dtype=torch.float64)[:, own]
    model = DistributedDataParallel(layer) if processes > 1 else layer
    first, second = F.normalize(model(torch.cat((x, y))), dim=1).chunk(2)
    loss = nt_xent(first, second, 0.1)
    loss.backward()
    return distributed.all_sum(loss) / processes, layer.weight.grad


def worker(rank: int, port: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    results: dict[str, Any] = {case: train(case, rank, 2) for case in CASES}
    results["nt_xent"] = exact_nt_xent(rank, 2)
    for layout, transpose in (
        ("contiguous", False),
        ("transposed", True),
        ("unequal", rank == 0),
    ):
        own = torch.zeros(3, 4).requires_grad_()
        gradient = torch.arange(24.0).view(6, 4) * (rank + 1)
        gradient = gradient.T.contiguous().T if transpose else gradient
        distributed.gather(own).backward(gradient)
        results[layout] = own.grad
    torch.save(results, Path(folder) / f"results{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("gloo")
    mp.spawn(worker, args=(free_port(), str(folder)), nprocs=2)
    return [torch.load(folder / f"results{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_equals_one_process(case: str, two_processes: list[dict[str, Any]]) -> None:
    expected = train(case)
    for found in (results[case] for results in two_processes):
        assert found["losses"] == pytest.approx(expected["losses"], abs=1e-6, rel=1e-6)
        for a, b in zip(found["gradients"], expected["gradients"], strict=True):
            assert b.abs().max() > 1e-3
            assert (a - b).abs().max() < 1e-6 * max(1, b.abs().max())
        # The queue and the center; each process has all of it.
        assert found["buffers"].keys() == expected["buffers"].keys()
        for key, buffer in expected["buffers"].items():
            torch.testing.assert_close(found["buffers"][key], buffer, atol=1e-6, rtol=1e-6)
    assert case.startswith(("moco", "dino")) == bool(expected["buffers"])


def test_nt_xent_equals_one_process(two_processes: list[dict[str, Any]]) -> None:
    expected = exact_nt_xent()
    for results in two_processes:
        torch.testing.assert_close(results["nt_xent"], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("layout", ["contiguous", "transposed", "unequal"])
def test_gather_takes_gradients_of_any_layout(
    layout: str, two_processes: list[dict[str, Any]]
) -> None:
    # torch.distributed.nn.functional.all_gather scrambles transposed ones on gloo.
    expected = torch.arange(24.0).view(6, 4) * (1 + 2)
    found = torch.cat([results[layout] for results in two_processes])
    assert torch.equal(found, expected)
