"""Safe unpacking: only plain files, only below one folder.

Names, kinds and sizes are the archive's word. Links and devices are refused rather than left out:
no published data set has them, so an archive with one is not what it should be.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from georank_zoo.data.download.record import ListedFile
from georank_zoo.utils.errors import DownloadError

_CHUNK = 1 << 20
# The absolute, the drive's and what leads upwards; backslashes are separators on Windows.
_UNSAFE = re.compile(r"^/|^[A-Za-z]:|\\|\0|(^|/)\.\.(/|$)")
# Next to the content that macOS and Windows archivers put there.
_LITTER = re.compile(r"(^|/)(__MACOSX|\.DS_Store|Icon\r|Thumbs\.db)(/|$)")


def unpack(
    parts: Sequence[Path],
    kind: Literal["zip", "tar.gz"],
    folder: Path,
    *,
    max_bytes: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[ListedFile]:
    """Unpacks an archive into an empty folder, file by file.

    Args:
        parts: The archive, in pieces that follow each other.
        kind: Its format; a zip is in one piece.
        folder: Empty folder; it exists.
        max_bytes: Content beyond this is refused, whatever the archive says of itself.
        on_progress: Called with (bytes of the archive that were read, in all).

    Yields:
        Each file, once it is there.

    Raises:
        DownloadError: If the archive is damaged, larger than `max_bytes`, or holds a name that
            leads out of the folder, a name twice, a link or a device.
    """
    report = on_progress or (lambda _done, _all: None)
    name = parts[0].name
    members = _zip_members(parts, name) if kind == "zip" else _tar_members(parts, name)
    left = max_bytes
    whole = sum(part.stat().st_size for part in parts)
    try:
        for member in members:
            relative = require_safe(member.name, name)
            if relative is None:
                continue
            unpacked = _write(member.content, folder, relative, left, name)
            left -= unpacked.size
            yield unpacked
            report(min(member.position(), whole), whole)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not the archive's
        raise DownloadError(f"{name} is damaged: {error}. Delete it and try again.") from error


def zip_content_bytes(path: Path) -> int:
    """Bytes that a zip says it takes unpacked.

    Raises:
        DownloadError: If it is not a zip.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(info.file_size for info in archive.infolist())
    except zipfile.BadZipFile as error:
        raise DownloadError(f"{path.name} is damaged: {error}. Delete it and try again.") from error


def content_root(folder: Path) -> Path:
    """The innermost folder that holds all the others."""
    while len(entries := list(folder.iterdir())) == 1 and entries[0].is_dir():
        folder = entries[0]
    return folder


@dataclass(frozen=True)
class _Member:
    name: str
    content: IO[bytes]
    position: Callable[[], int]


def _zip_members(parts: Sequence[Path], name: str) -> Iterator[_Member]:
    (path,) = parts
    read = 0
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            if info.is_dir():
                continue
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise _hostile(name, info.filename, "is a link or a device")
            if info.flag_bits & 1:
                raise _hostile(name, info.filename, "is encrypted")
            read += info.compress_size
            with archive.open(info) as content:
                yield _Member(info.filename, content, lambda done=read: done)  # type: ignore[misc]


def _tar_members(parts: Sequence[Path], name: str) -> Iterator[_Member]:
    # As a stream: nothing is read twice, and no list of millions of members is kept. gzip and not
    # tarfile unpacks it, because tarfile ignores gzip's checksum.
    with (
        _Joined(parts) as joined,
        gzip.GzipFile(fileobj=io.BufferedReader(joined, _CHUNK), mode="rb") as packed,
        tarfile.open(fileobj=packed, mode="r|", bufsize=_CHUNK) as archive,
    ):
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]
            if member.isdir():
                continue
            content = archive.extractfile(member) if member.isreg() else None
            if content is None:
                raise _hostile(name, member.name, "is a link or a device")
            yield _Member(member.name, content, joined.tell)
        # The checksum comes after the padding at the end.
        if len(packed.read(_CHUNK)) == _CHUNK:
            raise tarfile.ReadError("something follows its end")


def require_safe(name: str, archive: str) -> PurePosixPath | None:
    """The path of a member below the folder, None if it is litter.

    Raises:
        DownloadError: If it leads elsewhere.
    """
    if _UNSAFE.search(name):
        raise _hostile(archive, name, "leads out of the folder")
    if _LITTER.search(name):
        return None
    if not name.isprintable():
        # A terminal would obey them, and the list of files cannot hold bytes that are not text.
        raise _hostile(archive, name, "has characters that cannot be shown")
    path = PurePosixPath(name)
    if not path.parts:
        raise _hostile(archive, name, "has no name")
    return path


def _write(
    content: IO[bytes], folder: Path, relative: PurePosixPath, left: int, archive: str
) -> ListedFile:
    target = folder / relative
    hasher, size = hashlib.sha256(), 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Opened here and not by the archive's library: no mode, owner or time is taken over.
        with target.open("xb") as file:
            while chunk := content.read(_CHUNK):
                size += len(chunk)
                if size > left:
                    raise DownloadError(
                        f"{archive} holds far more than it should: it stops at {relative}. "
                        "Delete it; it is not an archive of this data set."
                    )
                hasher.update(chunk)
                file.write(chunk)
    except (FileExistsError, NotADirectoryError) as error:
        raise _hostile(archive, str(relative), "is there twice") from error
    return ListedFile(str(relative), size, hasher.hexdigest())


def _hostile(archive: str, member: str, what: str) -> DownloadError:
    return DownloadError(
        f"{archive} is not unpacked: {member!r} {what}, which no data set needs. Delete the "
        "archive and tell its publisher."
    )


class _Joined(io.RawIOBase):
    """Files read as one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        self._file: IO[bytes] | None = None
        self._read = 0

    def readable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Bytes that were read."""
        return self._read

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer, as far as the file at hand goes."""
        while self._file is not None or self._paths:
            if self._file is None:
                self._file = self._paths.pop(0).open("rb")
            if count := self._file.readinto(buffer):  # type: ignore[attr-defined]
                self._read += count
                return int(count)
            self._file.close()
            self._file = None
        return 0

    def close(self) -> None:
        """Closes the file that is open."""
        if self._file is not None:
            self._file.close()
        super().close()
