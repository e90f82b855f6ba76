from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from georank_zoo.utils import parallel
from georank_zoo.utils.errors import BadItem, GeorankError
from georank_zoo.utils.parallel import map_in_order
from tests.support.processes import wait_for_end


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes from the first item on, however little work there is."""
    monkeypatch.setattr(parallel, "_ALONE_S", 0.0)
    monkeypatch.setattr(parallel, "_WORTH_S", 0.0)


@pytest.fixture(params=["alone", "together"])
def apart(at_once: None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items go to other processes one by one, and as many small ones do."""
    if request.param == "together":
        monkeypatch.setattr(parallel, "_ALONE_S", 1e-9)


def mapped(function: Callable[[Any], Any], items: Sequence[Any], jobs: int = 2) -> list[Any]:
    with closing(map_in_order(function, items, jobs=jobs)) as results:
        return list(results)


def slow_first(item: int) -> tuple[int, int, str | None]:
    time.sleep(0.3 if item == 0 else 0)
    return item, os.getpid(), os.environ.get("OMP_NUM_THREADS")


@pytest.mark.usefixtures("at_once")
def test_results_come_in_order_from_processes_of_one_thread_that_end() -> None:
    results = mapped(slow_first, range(20))
    assert [item for item, *_ in results] == list(range(20))
    pids = {pid for _, pid, _ in results}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert {threads for *_, threads in results} == {"1"}
    for pid in pids:
        wait_for_end(pid)


def test_little_work_and_one_job_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_processes", lambda *_: pytest.fail("started"))
    assert mapped(lambda item: item * 2, range(5)) == [0, 2, 4, 6, 8]
    monkeypatch.setattr(parallel, "_ALONE_S", 0.0)
    monkeypatch.setattr(parallel, "_WORTH_S", 0.0)
    assert mapped(lambda item: item, range(5), jobs=1) == list(range(5))
    assert mapped(lambda item: item, []) == []


def touch(folder: Path, item: int) -> int:
    (folder / str(item)).touch()
    return item


@pytest.mark.usefixtures("at_once")
def test_only_so_many_are_done_ahead(tmp_path: Path) -> None:
    with closing(map_in_order(partial(touch, tmp_path), range(100), jobs=2)) as results:
        next(results)
        time.sleep(0.5)  # time enough for all
        assert len(list(tmp_path.iterdir())) <= 3 * 2


def spoiled(item: int) -> int:
    logging.getLogger("reader").warning("%d", item)
    if item == 3:
        time.sleep(0.2)
        raise BadItem("all zero")
    return item


@pytest.mark.usefixtures("apart")
def test_an_error_is_raised_in_its_turn(caplog: pytest.LogCaptureFixture) -> None:
    seen = []
    with (
        closing(map_in_order(spoiled, range(9), jobs=2)) as results,
        pytest.raises(BadItem, match=r"^all zero$"),
    ):
        for result in results:
            seen.append(result)
    assert seen == [0, 1, 2]
    assert caplog.messages == ["0", "1", "2"]


def telling(item: int) -> None:
    logging.getLogger("reader").warning("%d is odd", item)
    logging.getLogger("reader").info("not wanted")


@pytest.mark.usefixtures("apart")
def test_what_is_logged_is_logged_here_in_order(caplog: pytest.LogCaptureFixture) -> None:
    mapped(telling, range(4))
    assert [r.getMessage() for r in caplog.records] == [f"{n} is odd" for n in range(4)]
    assert {r.process for r in caplog.records} - {os.getpid()}


def killed(item: int) -> int:
    if item == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@pytest.mark.usefixtures("at_once")
def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(GeorankError, match=r"died \(SIGKILL\(-9\).*fewer jobs than 2\."):
        mapped(killed, range(9))


class Elsewhere:
    """Pickled in the one process, and unknown in the other."""

    def __call__(self, item: int) -> int:
        return item

    def __reduce__(self) -> tuple[Any, ...]:
        return __import__, ("no_such_module",)


def locked() -> Callable[[int], int]:
    lock = threading.Lock()
    return lambda item: item if lock else -1


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("function", [locked(), Elsewhere()])
def test_what_cannot_be_sent_is_done_here(
    function: Callable[[int], int], caplog: pytest.LogCaptureFixture
) -> None:
    assert mapped(function, range(5)) == list(range(5))
    assert "The work is done in one process: it cannot be sent" in caplog.text


# As users write them: no guard of `__main__`, and the function at home in the script.
SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from georank_zoo.utils import parallel

parallel._ALONE_S = parallel._WORTH_S = 0.0

def work(item):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(0.05)
    return item

for result in parallel.map_in_order(work, range(10_000), jobs=2):
    print(result, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_its_parent(number: signal.Signals, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, tmp_path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    for expected in range(8):
        assert process.stdout.readline() == f"{expected}\n"
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert len(pids) == 2
    # Ctrl-C reaches the whole group; a kill, this one.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == -number
    for pid in pids:
        wait_for_end(pid)
    if number == signal.SIGINT:
        assert errors.count("Traceback") == 1  # of the script itself, which does not catch it
        assert errors.rstrip().endswith("KeyboardInterrupt")
