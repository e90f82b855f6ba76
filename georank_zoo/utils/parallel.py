"""Work in parallel processes whose results come in order, a bounded number ahead."""

from __future__ import annotations

import logging
import os
import pickle
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from georank_zoo.utils.errors import GeorankError
from georank_zoo.utils.signals import ENDING

logger = logging.getLogger(__name__)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Work that is done soon must not pay for the start of processes: a quarter of a second each, and
# more where the libraries lie on a network.
_ALONE_S = 1.0
_WORTH_S = 3.0
# A message between processes and the threads that handle it cost as much as a small item, so small
# ones travel together: about this much work, and no more of them than this.
_MESSAGE_S = 0.05
_MESSAGE_ITEMS = 32
_AHEAD = 3  # messages of a process that are worked on or wait for their turn
_PARENT_CHECK_S = 0.5

# A process a core is all the parallelism there should be.
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "GDAL_NUM_THREADS": "1",
}

# What it takes to say that something cannot be pickled, or not be loaded elsewhere.
_UNSENDABLE = (pickle.PickleError, TypeError, AttributeError, ImportError)


def usable_cores() -> int:
    """Cores that this process may use: its affinity and the quota of its container count."""
    from loky import cpu_count

    return int(cpu_count())


def map_in_order(
    function: Callable[[_Item], _Result], items: Sequence[_Item], *, jobs: int
) -> Generator[_Result]:
    """Yields `function(item)` of each item, in order, as `map` does.

    The first second of work is done in this process, and the rest in others if enough is left
    for it to be worth their start. `function` is sent to each of them once, with what it holds;
    what it logs there is logged here, in order. Closing the generator ends the processes at once.

    Args:
        function: What to do; it may come from a script or notebook.
        items: Its arguments.
        jobs: Number of processes; with 1 all is done in this one.

    Raises:
        GeorankError: If a process dies. What the function raises is raised here, in its turn.
    """
    spent, done = 0.0, 0
    while done < len(items) and not _is_worth_processes(spent, done, len(items), jobs):
        started = time.monotonic()
        result = function(items[done])
        spent += time.monotonic() - started
        done += 1
        yield result
    if done < len(items):
        each = spent / done if done else _MESSAGE_S
        size = int(min(max(_MESSAGE_S / max(each, 1e-9), 1), _MESSAGE_ITEMS))
        yield from _map_in_processes(function, items[done:], size, jobs)


def _is_worth_processes(spent: float, done: int, total: int, jobs: int) -> bool:
    if jobs == 1 or spent < _ALONE_S:
        return False
    return spent / max(done, 1) * (total - done) >= _WORTH_S


def _map_in_processes(
    function: Callable[[Any], Any], items: Sequence[Any], size: int, jobs: int
) -> Generator[Any]:
    from loky.process_executor import TerminatedWorkerError

    try:
        packed = _packed(function)
        with _processes(packed, min(jobs, -(-len(items) // size))) as pool:
            yield from _results(pool, items, size, _AHEAD * jobs)
    except _NotSent as error:
        logger.warning("The work is done in one process: it cannot be sent to others (%s).", error)
        yield from map(function, items)
    except TerminatedWorkerError as error:
        how = " ".join(re.findall(r"\w+\(-?\d+\)", str(error)))  # SIGKILL(-9), say
        raise GeorankError(
            f"A worker process died ({how or 'unknown how'}), as when the memory runs out and the "
            f"system kills one. Repeat with fewer jobs than {jobs}."
        ) from error


class _NotSent(Exception):
    """The function cannot go to another process."""


def _packed(function: Callable[..., Any]) -> bytes:
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(function))
    except _UNSENDABLE as error:
        raise _NotSent(str(error)) from error


@contextmanager
def _processes(packed: bytes, jobs: int) -> Iterator[Any]:
    """Processes that have the function.

    Raises:
        _NotSent: If they cannot load it.
    """
    from loky import ProcessPoolExecutor

    pool = ProcessPoolExecutor(
        jobs, initializer=_begin, initargs=(packed, os.getpid(), logging.root.level),
        env=_ONE_THREAD,
    )  # fmt: skip
    try:
        with _interrupts_blocked():  # the first call starts the processes
            loaded = pool.submit(_load)
        if reason := loaded.result():
            raise _NotSent(reason)
        yield pool
    finally:
        # Nothing that they do needs an orderly end.
        pool.shutdown(kill_workers=True)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Processes started in here never see what ends a command and reaches all: the parent does."""
    if os.name != "posix":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set(ENDING))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _results(pool: Any, items: Sequence[Any], size: int, ahead: int) -> Iterator[Any]:
    waiting: deque[Any] = deque()
    for start in range(0, len(items), size):
        message = list(items[start : start + size])
        waiting.append((message, pool.submit(_call, message)))
        if len(waiting) == ahead:
            yield from _answers(pool, *waiting.popleft())
    while waiting:
        yield from _answers(pool, *waiting.popleft())


def _answers(pool: Any, message: list[Any], future: Any) -> Iterator[Any]:
    results, records = future.result()
    for record in records:
        logging.getLogger(record.name).handle(record)
    yield from results
    if rest := message[len(results) :]:
        yield from _answers(pool, rest, pool.submit(_call, rest))


class _Worker:
    """State of a worker process."""

    packed = b""
    function: Callable[[Any], Any] | None = None
    records: list[logging.LogRecord] = []  # noqa: RUF012


class _Keep(logging.Handler):
    """Keeps what is logged for the parent, which has the user's handlers."""

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args, record.exc_info = record.getMessage(), None, None
        _Worker.records.append(record)


def _begin(packed: bytes, parent: int, level: int) -> None:
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)  # of those that loky starts later, too
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    logging.root.handlers[:] = [_Keep()]
    logging.root.setLevel(level)
    _Worker.packed = packed


def _end_with(parent: int) -> None:
    """Ends this process when its parent has ended, however that was."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)


def _load() -> str:
    """Loads the function; returns why that is impossible, or nothing."""
    try:
        _Worker.function = pickle.loads(_Worker.packed)  # noqa: S301 - the parent's own
    except _UNSENDABLE as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _call(items: list[Any]) -> tuple[list[Any], list[logging.LogRecord]]:
    """Results of items, up to one that fails: asked for that first, it raises the error."""
    if _Worker.function is None:
        _load()
    assert _Worker.function is not None  # one of these processes could load it
    results: list[Any] = []
    records: list[logging.LogRecord] = []
    for item in items:
        _Worker.records.clear()
        try:
            results.append(_Worker.function(item))
        except BaseException:
            if not results:
                raise
            break
        records += _Worker.records
    return results, records
