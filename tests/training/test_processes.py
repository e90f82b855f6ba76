"""Two processes of one run: one is killed, stopped, told to stop, or refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from georank_zoo.training.recipe import load_recipe
from georank_zoo.training.run import open_run
from georank_zoo.utils.locks import output_lock
from tests.support.models import make_store
from tests.support.processes import free_port
from tests.support.training import TINY, untimed


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes") / "store"
    return make_store(folder, [0] * 64, places=[*range(32), *range(32)]).path


def arguments(store: Path, out: Path, *overrides: str) -> list[str]:
    sets = [*TINY, "train.checkpoint_epochs=10", *overrides]
    options = [part for item in sets for part in ("--set", item)]
    return ["train", "moco_georank", "--data", str(store), "--out", str(out), *options]


def start(
    rank: int, port: int, command: Sequence[str], program: Sequence[str] = ("-m", "georank_cli")
) -> subprocess.Popen[str]:
    """One process as a launcher starts it, without the launcher, which would kill the other."""
    environment = {
        **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, *program, *command],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_rows(run: Path, rows: int) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        path = run / "metrics.jsonl"
        if path.is_file() and len(path.read_text().splitlines()) >= rows:
            return
        time.sleep(0.05)
    raise AssertionError("the run does not start")


def errors(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    return [process.communicate(timeout=400)[1] for process in processes]


@pytest.mark.parametrize(
    ("how", "lost"),
    [
        (signal.SIGKILL, 1),
        pytest.param(signal.SIGKILL, 0, marks=pytest.mark.slow),
        pytest.param(signal.SIGSTOP, 0, marks=pytest.mark.slow),
        pytest.param(signal.SIGSTOP, 1, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_lost_process_gives_one_message(
    how: signal.Signals, lost: int, store: Path, tmp_path: Path
) -> None:
    port, run = free_port(), tmp_path / "run"
    command = arguments(store, run, "train.steps=100000", "train.timeout_s=3")
    processes = [start(rank, port, command) for rank in range(2)]
    try:
        wait_for_rows(run, 2)
        processes[lost].send_signal(how)
        left = processes[1 - lost]
        [error] = errors([left])
        assert left.returncode == 1
        assert error.count(f"Process {lost} (the first is 0) of 2 was lost") == 1
        assert f"georank train {run} --resume" in error and "Traceback" not in error
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
def test_sigterm_is_seen_at_the_next_step_by_all(store: Path, tmp_path: Path) -> None:
    port, run = free_port(), tmp_path / "run"
    command = arguments(store, run, "train.steps=44")
    processes = [start(rank, port, command) for rank in range(2)]
    wait_for_rows(run, 1)
    processes[1].send_signal(signal.SIGTERM)
    said = "".join(errors(processes))
    assert [process.returncode for process in processes] == [143, 143]
    assert said.count(f"Continue with `georank train {run} --resume`") == 1
    # Whatever the step was, the rest of the run gives the log of an undisturbed one.
    processes = [start(rank, port, [*command, "--resume"]) for rank in range(2)]
    errors(processes)
    assert [process.returncode for process in processes] == [0, 0]
    whole = tmp_path / "whole"
    other = [start(rank, port, arguments(store, whole, "train.steps=44")) for rank in range(2)]
    errors(other)
    assert untimed(open_run(run)) == untimed(open_run(whole))


def node(rank: int, port: int, command: Sequence[str]) -> subprocess.Popen[str]:
    """A node of two with one process, as `torchrun` starts it under SLURM."""
    return subprocess.Popen(
        [
            sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1",
            "--rdzv-id=job", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}",
            f"--rdzv-conf=is_host={int(rank == 0)}", "--local-addr=127.0.0.1",
            "-m", "georank_cli", *command,
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.mark.slow
def test_two_nodes_stop_and_continue(store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = arguments(store, run, "train.steps=400", "train.checkpoint_epochs=50")
    port = free_port()
    nodes = [node(rank, port, command) for rank in range(2)]
    wait_for_rows(run, 1)
    for each in nodes:  # as a scheduler does before the time is over: all processes of the job
        os.killpg(each.pid, signal.SIGTERM)
    said = "".join(errors(nodes))
    assert said.count(f"Continue with `georank train {run} --resume`") == 1
    assert open_run(run).status.startswith("interrupted at step")
    port = free_port()
    nodes = [node(rank, port, [*command, "--resume"]) for rank in range(2)]
    errors(nodes)
    assert [each.returncode for each in nodes] == [0, 0]
    assert open_run(run).status == "finished"
    assert [row["step"] for row in open_run(run).log.rows()][-1] == 400
    assert open_run(run).facts["processes"] == 2


REFUSALS = {
    "in all": (["data.store=nowhere"], ["data.store=nowhere"], "No store at nowhere", 1),
    "in the second": ([], ["data.store=nowhere"], "No store at nowhere", 1),
    "recipe": (["train.stepz=1"], ["train.stepz=1"], "stepz", 2),
    "other recipe": ([], ["seed=1"], "do not have the same recipe: hash", 2),
    "recipe in the first": (["train.stepz=1"], [], "stepz", 2),
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case == "in the second" else pytest.mark.slow)
        for case in REFUSALS
    ],
)
def test_what_one_process_refuses_all_refuse_once(case: str, store: Path, tmp_path: Path) -> None:
    first, second, text, code = REFUSALS[case]
    port, run = free_port(), tmp_path / "run"
    processes = [
        start(rank, port, arguments(store, run, *changes))
        for rank, changes in enumerate((first, second))
    ]
    said = "".join(errors(processes))
    assert [process.returncode for process in processes] == [code, code]
    assert said.count("Error: ") == 1 and text in said and "Traceback" not in said
    assert not run.exists()


@pytest.mark.slow
def test_a_folder_in_use_is_refused_once(store: Path, tmp_path: Path) -> None:
    port, run = free_port(), tmp_path / "run"
    with output_lock(run):
        processes = [start(rank, port, arguments(store, run)) for rank in range(2)]
        said = "".join(errors(processes))
    assert [process.returncode for process in processes] == [1, 1]
    assert said.count("Error: ") == 1 and f"process {os.getpid()} on" in said
    assert "Traceback" not in said and not run.exists()


# One that comes back from torch while Python shuts down aborts the process.
THREADS_LEFT = """
import threading
from georank_zoo.training.trainer import refuse_in_all
from georank_zoo.utils.errors import GeorankError, UsageError
try:
    refuse_in_all(UsageError("no"))
except GeorankError as error:
    print(error.exit_code, [t.name for t in threading.enumerate() if t.name == "heartbeat"])
"""


def test_a_refusal_leaves_no_thread() -> None:
    port = free_port()
    processes = [start(rank, port, (), program=("-c", THREADS_LEFT)) for rank in range(2)]
    said = [process.communicate(timeout=400) for process in processes]
    assert [out for out, _ in said] == ["2 []\n", "2 []\n"], said
    assert [process.returncode for process in processes] == [0, 0]


def test_the_limit_is_no_part_of_what_a_run_computes(store: Path) -> None:
    recipes = [load_recipe("moco", train={"timeout_s": limit}) for limit in (60, 600)]
    assert recipes[0].hash == recipes[1].hash
