"""Files of strangers: only regular ones are opened, and never more is read than a limit."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def require_regular(path: Path, limit: int | None = None) -> int:
    """Refuses what is no regular file, and one that is larger than such a file can be.

    To open a fifo waits until somebody writes to it, and a device such as `/dev/zero` never ends.

    Args:
        path: A file that a user, a data set or the Hub gave; a link is followed.
        limit: Most bytes that are read of it; None for a file that is not read at once.

    Returns:
        Its size in bytes.

    Raises:
        OSError: If there is none, it is something else (`EINVAL`) or too large (`EFBIG`); the text
            says so.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file, so it is not opened", str(path))
    if limit is not None and found.st_size > limit:
        what = f"The file has {found.st_size} bytes, and at most {limit} are read"
        raise OSError(errno.EFBIG, what, str(path))
    return found.st_size


def read_regular(path: Path, limit: int) -> bytes:
    """The bytes of a regular file, never more than the limit: it may grow meanwhile.

    Raises:
        OSError: As `require_regular`, or if it cannot be read.
    """
    require_regular(path, limit)
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        what = f"The file has more than the {limit} bytes that are read"
        raise OSError(errno.EFBIG, what, str(path))
    return content
