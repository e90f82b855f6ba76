"""Installation of a checked archive as the files of a data set's folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from georank_zoo.data.datasets.base import Archive
from georank_zoo.data.download.record import (
    LISTING,
    ListedFile,
    fault_of,
    read_listing,
    write_listing,
)
from georank_zoo.data.download.transfer import digests
from georank_zoo.data.download.unpack import content_root, unpack
from georank_zoo.utils.errors import DownloadError
from georank_zoo.utils.write_errors import explain_write_errors

UNPACKING = ".unpacking"
_RAW_LISTING = ".unpacking.csv.gz"
# What is published of the content's size is rounded or estimated. Where nothing is: Sentinel-2
# pixels pack to about half, so content that grows far beyond that is not a data set.
_MAX_OF_PUBLISHED = 2
_MAX_RATIO = 20


def install(
    archive: Archive,
    out: Path,
    *,
    replace: bool,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[str, int, int]:
    """Unpacks an archive aside, then moves its files to their places and lists them.

    Args:
        archive: Its parts lie in `out` and are checked.
        out: Folder of the data set.
        replace: Whether files that are there and differ are ours and may be replaced.
        on_progress: Called with (bytes of the archive that were read, in all).

    Returns:
        SHA-256 of the list of files, their number and their bytes.

    Raises:
        DownloadError: If the archive may not be unpacked, or a foreign file is in the way.
        GeorankError: If there is no room.
    """
    parts = [out / part.path for part in archive.parts]
    aside, raw = out / UNPACKING, out / _RAW_LISTING
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        with explain_write_errors(out, "The archive is kept: make room and repeat the command."):
            write_listing(
                raw,
                unpack(
                    parts, archive.kind, aside,
                    max_bytes=_most_bytes(archive, parts),
                    on_progress=on_progress,
                ),
            )  # fmt: skip
            root = aside if archive.keep_root else content_root(aside)
            count, size = write_listing(
                out / LISTING, _placed(read_listing(raw), aside, root, out, replace)
            )
    finally:
        raw.unlink(missing_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
    return digests(out / LISTING, {"sha256"})["sha256"], count, size


def _most_bytes(archive: Archive, parts: list[Path]) -> int:
    if archive.unpacked_bytes is not None:
        return _MAX_OF_PUBLISHED * archive.unpacked_bytes
    return _MAX_RATIO * sum(part.stat().st_size for part in parts)


def _placed(
    files: Iterator[ListedFile], aside: Path, root: Path, out: Path, replace: bool
) -> Iterator[ListedFile]:
    """Moves each file to its place, and gives it by its path there."""
    for file in files:
        here = aside / file.path
        path = here.relative_to(root).as_posix()
        there = out / path
        if there.exists() and not replace and fault_of(there, file.size, file.sha256):
            raise DownloadError(
                f"{there} is in the way: it is not the file of that name in the archive. Move it "
                "away, or give another folder."
            )
        there.parent.mkdir(parents=True, exist_ok=True)
        here.replace(there)
        yield ListedFile(path, file.size, file.sha256)
