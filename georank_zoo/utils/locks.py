"""Locks of outputs: one process at a time writes to a file or folder."""

from __future__ import annotations

import contextvars
import errno
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from georank_zoo.utils.errors import GeorankError, plain
from georank_zoo.utils.leftovers import clear_leftovers, leftovers_in, short
from georank_zoo.utils.write_errors import explain_write_errors

logger = logging.getLogger(__name__)

# What this thread may write to, with the process: a forked one must lock for itself. A thread that
# is started with `contextvars.copy_context().run` writes under the locks of the one that starts it.
_held: contextvars.ContextVar[frozenset[tuple[int, Path]]] = contextvars.ContextVar(
    "held", default=frozenset()
)
# Seconds to wait for another process that writes a small file.
MOMENT = 30
# Kinds of file systems on which nothing can be locked.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
_unlocked_file_systems: set[int] = set()


@contextmanager
def output_lock(path: str | os.PathLike[str], *beside: Path, wait: float = 0) -> Iterator[None]:
    """Keeps an output to this process, and clears first what a killed one left of it.

    The lock is the operating system's: it ends with its process, so a dead holder's is free. Its
    file `.<name>.lock`, which is deleted at the end, tells who holds it. It lies beside the output,
    so that folders can be renamed whole, or in it where the folder above cannot be written to.
    The same thread may lock an output again. Missing folders above the output are created, and
    deleted again if nothing comes to lie in them.

    Args:
        path: File or folder that is to be written; it need not exist.
        *beside: What is written beside it on the way, such as a folder that is renamed at the end.
        wait: Seconds to wait for another process.

    Raises:
        GeorankError: If another process holds the lock (the message says which, and since when),
            or nothing can be written there.
    """
    output = Path(path).resolve()
    covered = [output, *(other.resolve() for other in beside)]
    if holds(output, exactly=True) or not output.name:
        with _holding(covered):
            yield
        return
    with _folder_above(output):
        lock = _acquire(output, wait)
        try:
            with _holding(covered):
                if lock is not None:
                    for one in covered:
                        clear_leftovers(one)
                        _clear_within(one)
                yield
        finally:
            if lock is not None:
                _release(lock)


def holds(path: Path, *, exactly: bool = False) -> bool:
    """Whether this thread holds the lock of an output, or of a folder that it lies in."""
    mine = {one for process, one in _held.get() if process == os.getpid()}
    output = path.resolve()
    return output in mine or (not exactly and any(folder in mine for folder in output.parents))


def is_locked(path: Path) -> bool:
    """Whether any process writes to an output now. Nothing is changed to find out."""
    output = path.resolve()
    if holds(output):
        return True
    file = _lock_file(output)
    if not file.exists():
        return False
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False


def _clear_within(folder: Path) -> None:
    """Clears an output that is a folder of what was left in it, but for what others write now."""
    if folder.is_dir():
        for name in {name for name, _ in leftovers_in(folder)}:
            with suppress(GeorankError), output_lock(folder / name):
                pass


@contextmanager
def _holding(outputs: list[Path]) -> Iterator[None]:
    token = _held.set(_held.get() | {(os.getpid(), output) for output in outputs})
    try:
        yield
    finally:
        _held.reset(token)


@contextmanager
def _folder_above(output: Path) -> Iterator[None]:
    """Creates the folders above an output; those that stay empty are deleted at the end."""
    created = [folder for folder in output.parents if not folder.exists()]
    with explain_write_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for folder in created:
            with suppress(OSError):
                folder.rmdir()


def _lock_file(output: Path) -> Path:
    folder = output.parent
    if output.is_dir() and not os.access(folder, os.W_OK):
        folder = output
    return folder / f".{short(output.name)}.lock"


def _acquire(output: Path, wait: float) -> FileLock | None:
    """The lock, held; None where the file system has no locks."""
    with explain_write_errors(output):
        file = _lock_file(output)
    lock = FileLock(file)
    try:
        with explain_write_errors(output):
            lock.acquire(timeout=wait)
    except Timeout as error:
        raise GeorankError(
            f"{output} is being written by another process ({_holder(file)}). Wait for it, "
            "stop it, or choose another name."
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        file.unlink(missing_ok=True)
        _warn_once(output)
        return None
    if not isinstance(lock, SoftFileLock):  # whose file's content is its own
        _note_holder(file)
    return lock


def _warn_once(output: Path) -> None:
    device = output.parent.stat().st_dev
    if device not in _unlocked_file_systems:
        _unlocked_file_systems.add(device)
        logger.warning(
            "The file system of %s has no locks: see that no other process writes there.", output
        )


def _note_holder(file: Path) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    note = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
    # On a full disk the note is missing, and the lock holds. In place: a new file were unlocked.
    with suppress(OSError), file.open("r+", encoding="utf-8") as opened:
        opened.truncate()
        opened.write(json.dumps(note) + "\n")


def _holder(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            note = json.loads(opened.read(1000))
        return f"process {int(note['pid'])} on {plain(note['host'])}, since {plain(note['since'])}"
    except (OSError, ValueError, TypeError, KeyError):
        return "which has not said who it is"


def _release(lock: FileLock) -> None:
    # Deleted while it is held, and only then: whoever waits for this file sees that it is gone.
    with suppress(OSError):
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
