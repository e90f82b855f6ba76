"""Locks of outputs: one process at a time writes to a file or folder."""

from __future__ import annotations

import contextvars
import errno
import hashlib
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, SoftFileLock, Timeout

from georank_zoo.utils.errors import GeorankError, Interrupted, plain
from georank_zoo.utils.leftovers import clear_leftovers, leftovers_in, old_beside, short
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
_NOTE_BYTES = 1000
_command = [""]  # what runs; empty where nothing tells one command from another


@dataclass(frozen=True)
class Taken:
    """How a lock was found.

    Attributes:
        finished: Whether this very command was killed or interrupted when the output was complete:
            there is nothing left to do, and "exists" would be no answer to its repetition.
        killed_since: When a holder that was killed had taken it, in Unix seconds; None if none was.
    """

    finished: bool = False
    killed_since: float | None = None


@contextmanager
def running_command(arguments: Sequence[str]) -> Iterator[None]:
    """Names the command that runs, so that its repetition knows what it had finished."""
    here = Path().stat()  # its path may be gone
    text = json.dumps([here.st_dev, here.st_ino, *arguments])
    _command.append(hashlib.sha256(text.encode()).hexdigest()[:16])
    try:
        yield
    finally:
        _command.pop()


@contextmanager
def output_lock(path: str | os.PathLike[str], *beside: Path, wait: float = 0) -> Iterator[Taken]:
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

    Yields:
        How it was found.

    Raises:
        GeorankError: If another process holds the lock (the message says which, and since when),
            or nothing can be written there.
    """
    output = Path(path).resolve()
    covered = [output, *(other.resolve() for other in beside)]
    if holds(output, exactly=True) or not output.name:
        with _holding(covered):
            yield Taken()
        return
    with _folder_above(output):
        lock = _acquire(output, wait)
        if lock is None:
            with _holding(covered):
                yield Taken()
            return
        outermost = not any(process == os.getpid() for process, _ in _held.get())
        keep = False
        done: Callable[[], bool] = lambda: False  # noqa: E731
        try:
            left, before = _note_holder(lock, output)
            if outermost:  # what is made on the way is not the end of a command
                done = partial(_completed, output, before, renamed=bool(beside))
            with _holding(covered):
                for one in covered:
                    clear_leftovers(one)
                    _clear_within(one)
                same = _command[-1] != "" and left.get("command") == _command[-1]
                since = float(left["taken"]) if left else None
                yield Taken(same and _state(output) != before, since)
        except (KeyboardInterrupt, Interrupted):
            keep = done()
            raise
        finally:
            try:
                _release(lock, keep=keep)
            except KeyboardInterrupt:  # in the middle
                _release(lock, keep=done())
                raise


def tidy(path: Path) -> None:
    """Clears what a killed process left of an output that is not written now, its lock's file."""
    if _lock_file(path.resolve()).exists():
        with suppress(GeorankError), output_lock(path):
            pass


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
        for name in {name for name, _ in leftovers_in(folder)} | _locked_in(folder):
            with suppress(GeorankError), output_lock(folder / name):
                pass


def _locked_in(folder: Path) -> set[str]:
    """Names in a folder beside which there is a lock's file, of a process that lives or not."""
    found = set()
    for file in folder.glob(".*.lock"):
        with suppress(OSError, ValueError, TypeError):
            if "pid" in _note_in(file):  # others have such files too
                found.add(file.name[1:].removesuffix(".lock"))
    return found


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
                if not any(folder.iterdir()):  # the lock's file is the last to go from others
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
    return lock


def _warn_once(output: Path) -> None:
    device = output.parent.stat().st_dev
    if device not in _unlocked_file_systems:
        _unlocked_file_systems.add(device)
        logger.warning(
            "The file system of %s has no locks: see that no other process writes there.", output
        )


def _note_holder(lock: FileLock, output: Path) -> tuple[dict[str, Any], list[int] | None]:
    """Says who holds the lock; returns what a killed holder has said, and the state before it."""
    file = Path(lock.lock_file)
    left: dict[str, Any] = {}
    with suppress(OSError, ValueError, TypeError, KeyError):
        left = {"before": None, **_note_in(file), "taken": file.stat().st_mtime}
    old = old_beside(output)
    before = _state(old if old.exists() and not output.exists() else output)
    if left.get("command") == _command[-1] != "":
        before = left["before"]
    note = {
        "host": socket.gethostname(), "pid": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": _command[-1], "before": before,
    }  # fmt: skip
    # On a full disk the note is missing, and the lock holds. In place, for a new file were
    # unlocked, and at once: a kill leaves the one or the other.
    if not isinstance(lock, SoftFileLock):  # whose file's content is its own
        with suppress(OSError), file.open("r+b", buffering=0) as opened:
            opened.write(json.dumps(note).encode().ljust(_NOTE_BYTES) + b"\n")
    return left, before


def _state(output: Path) -> list[int] | None:
    """What differs when an output was replaced or changed."""
    try:
        found = output.stat()
    except OSError:
        return None
    # A folder is filled beside and renamed: another of that name is another.
    return [found.st_ino, *(() if output.is_dir() else (found.st_size, found.st_mtime_ns))]


def _completed(output: Path, before: list[int] | None, *, renamed: bool) -> bool:
    """Whether an output got its name whole. The lock's note then tells the command's repetition."""
    whole = output.is_file() or (output.is_dir() and renamed)
    return whole and _command[-1] != "" and _state(output) != before


def _note_in(file: Path) -> dict[str, Any]:
    with file.open(encoding="utf-8") as opened:
        return dict(json.loads(opened.read(_NOTE_BYTES)))


def _holder(file: Path) -> str:
    try:
        note = _note_in(file)
        return f"process {int(note['pid'])} on {plain(note['host'])}, since {plain(note['since'])}"
    except (OSError, ValueError, TypeError, KeyError):
        return "which has not said who it is"


def _release(lock: FileLock, *, keep: bool) -> None:
    # Deleted while it is held, and only then: whoever waits for this file sees that it is gone.
    if not keep and lock.is_locked:
        with suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
