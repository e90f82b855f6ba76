"""Record of what a downloaded folder holds, for later checks: `download.json`.

The files of an archive are listed next to it in `download.files.csv.gz`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, ConfigDict, Field

from georank_zoo.data.download.transfer import digests
from georank_zoo.utils.documents import (
    CHECKSUM,
    STRICT,
    Count,
    Sha256,
    checksum_of,
    fault_in,
    parse_document,
    parse_json,
    read_limited,
    seal,
)
from georank_zoo.utils.errors import DownloadError, plain
from georank_zoo.utils.files import new_file, write_text

_COLUMNS = ("path", "sha256", "size")


@dataclass(frozen=True)
class ListedFile:
    """A file in a list.

    Attributes:
        path: Relative to the folder, with slashes.
        size: Bytes.
        sha256: SHA-256 of its content.
    """

    path: str
    size: int
    sha256: str


def write_listing(path: Path, files: Iterable[ListedFile]) -> tuple[int, int]:
    """Writes a list atomically; returns the number of files and their bytes."""
    count = total = 0
    with (
        new_file(path) as temporary,
        # Without name and time, so that equal lists are equal files.
        temporary.open("wb") as raw,
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
            rows = csv.reader(text, strict=True)
            if tuple(next(rows, ())) != _COLUMNS:
                raise ValueError(f"it does not begin with {','.join(_COLUMNS)}")
            for name, sha256, size in rows:
                if not re.fullmatch("[0-9a-f]{64}", sha256) or not re.fullmatch("[0-9]+", size):
                    raise ValueError(f"{plain(name)} has no hash or no size")
                yield ListedFile(_inside(name), int(size), sha256)
    # zlib.error is no OSError.
    except (OSError, EOFError, ValueError, csv.Error, zlib.error) as error:
        raise DownloadError(f"{path} is damaged ({plain(error)}). Delete it and repeat.") from error


RECORD = "download.json"
LISTING = "download.files.csv.gz"
# The first had no checksum.
_FORMAT = 2
_REMEDY = (
    "Delete it and repeat the download: single files that are there and intact are not downloaded "
    "again."
)


def _inside(path: str) -> str:
    parts = PurePosixPath(path)
    if not parts.parts or parts.is_absolute() or ".." in parts.parts:
        raise ValueError("it leads out of the folder")
    return path


@dataclass(frozen=True)
class Arrived:
    """A file that was downloaded.

    Attributes:
        path: Relative to the folder.
        size: Bytes.
        sha256: SHA-256 of the file as it arrived.
        url: Address that it came from; empty for a file that was put there by hand.
        compared: Checksum that it was compared with: `published sha256`, `published md5`, or
            `announced sha256` for one that the server told before; empty if there was nothing.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    path: Annotated[str, AfterValidator(_inside)]
    size: Count
    sha256: Sha256
    url: str
    compared: str


@dataclass(frozen=True)
class Record:
    """What a folder holds.

    Attributes:
        name: Data set.
        license: Its license.
        landing: Its page.
        files: Files that are used as they arrived.
        archive: Parts of the archive that was unpacked; they may have been deleted since.
        listing: SHA-256 of the list of unpacked files; empty without.
        unpacked: Number of unpacked files.
        unpacked_bytes: Their size.
        complete: The selections (`--only`) that are complete; `*` is all.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    license: str
    landing: str
    files: tuple[Arrived, ...] = ()
    archive: tuple[Arrived, ...] = ()
    listing: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    unpacked: Count = 0
    unpacked_bytes: Count = 0
    complete: tuple[str, ...] = ()

    @property
    def unchecked(self) -> list[str]:
        """Files that were compared with no checksum on arrival."""
        return [file.path for file in (*self.files, *self.archive) if not file.compared]


@dataclass(frozen=True)
class DownloadCheck:
    """Result of checking a folder.

    Attributes:
        record: Record of what the folder should hold.
        files: Number of files that were checked.
        damaged: Faults, a line a file.
    """

    record: Record
    files: int
    damaged: tuple[str, ...]


def is_download(folder: Path) -> bool:
    """Whether a folder was filled by `download`."""
    return (folder / RECORD).is_file()


def read_record(folder: Path) -> Record | None:
    """Reads the record of a folder, if it has one.

    Raises:
        DownloadError: If it is damaged or of a later version.
    """
    path = folder / RECORD
    if not path.exists():
        return None
    text = read_limited(path, error=DownloadError, remedy=_REMEDY)
    try:
        values: dict[str, Any] = parse_json(text)
        version = values.pop("format")
        if type(version) is int and _FORMAT < version < 1000:
            raise DownloadError(f"{path} was written by a later version. Update georank-zoo.")
        checksum = values.pop(CHECKSUM, "")
        if version not in (1, _FORMAT) or (version == 1) != (checksum == ""):
            raise ValueError("format: it is not known, or its checksum is missing")
        if checksum and checksum != checksum_of({"format": version, **values}):
            raise ValueError("checksum: its content is another than was written")
        paths = [file["path"] for file in (*values["files"], *values["archive"])]
        if len(set(paths)) < len(paths):
            raise ValueError("files: one stands there twice")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DownloadError(f"{path} is damaged: {fault_in(error)}. {_REMEDY}") from error
    return parse_document(
        Record, json.dumps(values), where=path, error=DownloadError, remedy=_REMEDY
    )


def write_record(folder: Path, record: Record) -> None:
    """Writes the record of a folder."""
    document = seal({"format": _FORMAT, **asdict(record)})
    write_text(folder / RECORD, json.dumps(document, indent=1) + "\n")


def verify_download(
    folder: Path, *, on_progress: Callable[[int, int], None] | None = None
) -> DownloadCheck:
    """Compares every file of a downloaded folder with its recorded size and SHA-256.

    Args:
        folder: Filled by `download`.
        on_progress: Called with (bytes that were checked, in all).

    Raises:
        DownloadError: If there is no record, or it or the list of files is itself damaged.
    """
    record = read_record(folder)
    if record is None:
        raise DownloadError(f"{folder} has no {RECORD}, so nothing is known of its files.")
    kept = [part for part in record.archive if (folder / part.path).exists()]
    files = [ListedFile(file.path, file.size, file.sha256) for file in (*record.files, *kept)]
    total = sum(file.size for file in files) + record.unpacked_bytes
    listed = _intact_listing(folder, record) if record.listing else iter(())
    damaged, done, count = [], 0, 0
    for file in chain(files, listed):
        if state := fault_of(folder / file.path, file.size, file.sha256):
            damaged.append(f"{file.path} {state}")
        done, count = done + file.size, count + 1
        if on_progress is not None:
            on_progress(done, total)
    unpacked = count - len(files)
    if unpacked != record.unpacked or done != total:
        damaged.append(f"{LISTING} lists {unpacked} files instead of {record.unpacked}")
    return DownloadCheck(record, count, tuple(damaged))


def _intact_listing(folder: Path, record: Record) -> Iterator[ListedFile]:
    path = folder / LISTING
    if state := fault_of(path, None, record.listing):
        raise DownloadError(
            f"{path} {state}, so the unpacked files cannot be checked. Delete it and repeat the "
            "download."
        )
    return read_listing(path)


def fault_of(path: Path, size: int | None, sha256: str) -> str:
    """What is wrong with a file; empty if nothing is."""
    if not path.is_file():
        return "is missing"
    if size is not None and path.stat().st_size != size:
        return f"has {path.stat().st_size} bytes instead of {size}"
    return "" if digests(path, {"sha256"})["sha256"] == sha256 else "differs from its SHA-256"
