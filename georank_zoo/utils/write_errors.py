"""What a disk refuses, in words: full, read-only, not permitted."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from georank_zoo.utils.errors import GeorankError

REPEAT = "Make room there and repeat the command."
_FULL = {
    errno.ENOSPC: "The disk is full",
    errno.EDQUOT: "Your quota is used up",
    errno.EFBIG: "A file may not grow further (a limit of the system or of the file system)",
}
_REFUSED = {
    errno.EACCES: "Permission denied",
    errno.EPERM: "Not permitted",
    errno.EROFS: "The file system is read-only",
    errno.ENAMETOOLONG: "The name is too long",
    errno.ENOTDIR: "A file stands where a folder is needed",
    errno.EEXIST: "A file stands where a folder is needed",
    errno.EIO: "The disk reports an error",
    errno.ESTALE: "The network disk has lost the file",
}


class DiskFullError(GeorankError):
    """A file cannot be written for want of room."""


@contextmanager
def explain_write_errors(path: Path, remedy: str | None = None) -> Iterator[None]:
    """Turns the system's refusal to write into an error that names the path and what to do.

    Args:
        path: File or folder that the block writes.
        remedy: Sentence that says how to go on when there is room again. What an inner block
            said gives way to it.

    Raises:
        DiskFullError: If there is no room.
        GeorankError: If nothing may be written there. Other errors pass.
    """
    try:
        yield
    except DiskFullError as error:
        if remedy is None:
            raise
        raise DiskFullError(f"{_full(path, error.__cause__)} {remedy}") from error.__cause__
    except Exception as error:
        number = _number(error)
        if isinstance(error, OSError) and not _concerns(path, error):
            raise
        if number in _FULL:
            raise DiskFullError(f"{_full(path, error)} {remedy or REPEAT}") from error
        if number in _REFUSED and isinstance(error, OSError):
            raise GeorankError(
                f"{path} cannot be written: {_REFUSED[number]}. Choose another place, or change "
                "this one."
            ) from error
        raise


def _number(error: BaseException) -> int | None:
    """The system's number of an error."""
    if isinstance(error, OSError):
        return error.errno
    # Libraries in Rust and C++ pass it on as text only.
    text = str(error)
    number = re.search(r"os error (\d+)", text)
    if number is not None:
        return int(number[1])
    return next((code for code in _FULL if os.strerror(code) in text), None)


def _full(path: Path, error: BaseException | None) -> str:
    what = _FULL[(error and _number(error)) or errno.ENOSPC]
    folder = next((one for one in (path, *path.absolute().parents) if one.is_dir()), None)
    free = ""
    with suppress(OSError):
        free = f", {shutil.disk_usage(folder).free / 2**20:.0f} MiB free" if folder else ""
    return f"{what} at {path}{free}."


def _concerns(path: Path, error: OSError) -> bool:
    """Whether an error is of an output, and not of a file that is read for it."""
    if error.filename is None:
        return True
    folder = path.absolute().parent
    refused = Path(os.fsdecode(error.filename)).absolute()
    return refused.is_relative_to(folder) or folder.is_relative_to(refused)
