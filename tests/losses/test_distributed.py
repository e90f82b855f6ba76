"""Two gloo processes equal one process with the joined batch; `accelerate launch` works."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel

from georank_zoo.algorithms.queue import NegativeQueue
from georank_zoo.losses import GeoMSELoss, GeoRankLoss, Regularizer, nt_xent_queue
from georank_zoo.training import checkpoints
from georank_zoo.training.run import open_run
from tests.support.models import make_store
from tests.support.processes import free_port
from tests.support.training import TINY

LOSSES = [
    GeoRankLoss(strength=0.1),
    GeoRankLoss(strength=0.5, max_km=1500.0),
    GeoRankLoss(distance="l1"),
    GeoMSELoss(),
    GeoMSELoss(max_km=1500.0),
]


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 6, dtype=torch.float64, generator=generator)
    # The halves have different numbers of pairs in range: one is a cluster, one is spread out.
    spread = torch.rand(6, 2, dtype=torch.float64, generator=generator) * 120 - 60
    cluster = torch.rand(6, 2, dtype=torch.float64, generator=generator) * 3 + 10
    return x, torch.cat((cluster, spread))


def network() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Linear(6, 4).double()


def loss_and_gradient(
    model: torch.nn.Module, x: torch.Tensor, latlon: torch.Tensor, loss_of: Regularizer
) -> tuple[torch.Tensor, torch.Tensor]:
    model.zero_grad()
    loss = loss_of(model(x), latlon)
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])


def contrastive(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    negatives = torch.randn(20, 4, dtype=torch.float64, generator=generator)
    queries, keys = (F.normalize(z, dim=1) for z in (model(x), model(x + 0.1).detach()))
    return nt_xent_queue(queries, keys, F.normalize(negatives, dim=1), 0.1)


def worker(rank: int, port: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    x, latlon = batch()
    own = slice(6 * rank, 6 * rank + 6)
    model = DistributedDataParallel(network())
    results = {}
    for number, loss_of in enumerate(LOSSES):
        loss, gradient = loss_and_gradient(model, x[own], latlon[own], loss_of)
        dist.all_reduce(loss)
        results[f"loss{number}"], results[f"gradient{number}"] = loss / 2, gradient
    model.zero_grad()
    contrastive(model, x[own]).backward()
    results["contrastive"] = torch.cat([p.grad.flatten() for p in model.parameters()])
    queue = NegativeQueue(20, 6)
    queue.push(x[own].float())
    results["keys"] = queue.keys[:12]
    if rank == 0:
        torch.save(results, Path(folder) / "results.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    folder = tmp_path_factory.mktemp("gloo")
    mp.spawn(worker, args=(free_port(), str(folder)), nprocs=2)
    return torch.load(folder / "results.pt", weights_only=True)


@pytest.mark.parametrize("number", range(len(LOSSES)))
def test_regularizer_equals_one_process(
    number: int, two_processes: dict[str, torch.Tensor]
) -> None:
    loss, gradient = loss_and_gradient(network(), *batch(), LOSSES[number])
    assert loss > 0 and gradient.abs().max() > 0
    assert two_processes[f"loss{number}"].item() == pytest.approx(loss.item(), abs=1e-12)
    torch.testing.assert_close(two_processes[f"gradient{number}"], gradient, atol=1e-12, rtol=0)


def test_nt_xent_equals_one_process(two_processes: dict[str, torch.Tensor]) -> None:
    model = network()
    contrastive(model, batch()[0]).backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(two_processes["contrastive"], gradient, atol=1e-12, rtol=0)


def test_queue_takes_the_keys_of_all_processes(two_processes: dict[str, torch.Tensor]) -> None:
    assert torch.equal(two_processes["keys"], batch()[0].float())


# `accelerate launch` starts several CPU processes through MPI only; torchrun needs none.
LAUNCHERS = {
    "accelerate": (
        ["accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1",
         "--mixed_precision", "no", "--dynamo_backend", "no"],
        1,
    ),
    "torchrun": (["torch.distributed.run", "--nproc_per_node", "2"], 2),
}  # fmt: skip


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launchers(launcher: str, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", [0] * 64, places=[*range(32), *range(32)])
    start, processes = LAUNCHERS[launcher]
    command = [
        sys.executable, "-m", *start, "-m", "georank_cli", "train", "moco_georank",
        "--data", str(store.path), "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    for override in (*TINY, "train.steps=8"):
        command += ["--set", override]
    environment = {
        **os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1",
        "MASTER_PORT": str(free_port()),
    }  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    run = open_run(tmp_path / "run")
    assert run.facts["status"] == "finished" and run.facts["processes"] == processes
    assert run.log.rows()[-1]["step"] == 8
    assert (run.path / "export" / "model.safetensors").is_file()
    assert len(checkpoints.list_checkpoints(run.checkpoints)) == 2
    assert done.stdout.count("Finished georank-moco-r18") == 1
