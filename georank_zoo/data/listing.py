"""A list of files with their SHA-256, as a compressed CSV: `path,sha256,size`.

Data sets have millions of files, so a list is written and read line by line.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from georank_zoo.errors import DownloadError
from georank_zoo.files import new_file

_COLUMNS = ("path", "sha256", "size")


@dataclass(frozen=True)
class ListedFile:
    """A file in a list.

    Attributes:
        path: Relative to the folder, with slashes.
        size: Bytes.
        sha256: Of its content.
    """

    path: str
    size: int
    sha256: str


def write_listing(path: Path, files: Iterable[ListedFile]) -> tuple[int, int]:
    """Writes a list beside, then renames; returns the number of files and their bytes."""
    count = total = 0
    with (
        new_file(path) as beside,
        # Without name and time, so that equal lists are equal files.
        beside.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for file in files:
            writer.writerow((file.path, file.sha256, file.size))
            count, total = count + 1, total + file.size
    return count, total


def read_listing(path: Path) -> Iterator[ListedFile]:
    """Reads a list.

    Raises:
        DownloadError: If it is damaged.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as text:
            for row in csv.DictReader(text, strict=True):
                yield ListedFile(row["path"], int(row["size"]), row["sha256"])
    except (OSError, EOFError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DownloadError(f"{path} is damaged ({error}). Delete it and repeat.") from error
