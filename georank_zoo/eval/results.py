"""The table of results: one line per metric, appended whole or not at all."""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from georank_zoo.errors import GeorankError

_PACKAGES = ("georank-zoo", "torch", "timm", "numpy", "torchmetrics")


@dataclass(frozen=True)
class Row:
    """One metric of one model on one task.

    Attributes:
        when: UTC, ISO 8601.
        model: Folder or Hub id, or the floor's name.
        model_hash: SHA-256 of model.safetensors, `none` for floors.
        recipe: Name and hash of the recipe, as far as the model tells.
        task: Task.
        store_hash: Content of the store.
        protocol: `knn`.
        k: Neighbours that vote.
        temperature: Of the neighbours' weights.
        split: Split, with its seed.
        image_size: Side in pixels that the network saw.
        bands: Bands that the network was given, separated by blanks.
        seed: Seed of split, random floor and bootstrap.
        n_train: Samples that are known.
        n_test: Samples that are predicted.
        metric: Name of the metric.
        value: The metric as a fraction.
        ci_low: Lower end of the 95 % interval.
        ci_high: Upper end.
        versions: What made it: packages and device.
    """

    when: str
    model: str
    model_hash: str
    recipe: str
    task: str
    store_hash: str
    protocol: str
    k: int
    temperature: float
    split: str
    image_size: int
    bands: str
    seed: int
    n_train: int
    n_test: int
    metric: str
    value: float
    ci_low: float
    ci_high: float
    versions: str


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(Row))
_HEADER = ",".join(COLUMNS) + "\n"
_NUMBERS = {"int": int, "float": float}


def now() -> str:
    """The time for `Row.when`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions(device: str) -> str:
    """The text for `Row.versions`."""
    return "; ".join([*(f"{name} {version(name)}" for name in _PACKAGES), f"device {device}"])


def append(path: str | Path, rows: Sequence[Row]) -> None:
    """Appends rows to a CSV file; a new one gets its header.

    Several processes may append at once. After a failure the file is what it was before.

    Raises:
        GeorankError: If the file has other columns or ends within a line.
        OSError: If it cannot be written, for instance because the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path, os.O_RDWR | os.O_CREAT | os.O_APPEND) as file:
        size = os.fstat(file).st_size
        _check_content(file, size, path)
        text = _to_csv(rows) if size else _HEADER + _to_csv(rows)
        _write_or_restore(file, text.encode(), size, path)


def check(path: str | Path) -> None:
    """Checks that rows can be appended, before hours are spent on computing them.

    Raises:
        GeorankError: If the file has other columns or ends within a line.
        OSError: If it may not be written.
    """
    path = Path(path)
    if path.exists():
        with _locked(path, os.O_RDWR | os.O_APPEND) as file:
            _check_content(file, os.fstat(file).st_size, path)
        return
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(parent))
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(parent))


def read(path: str | Path) -> list[Row]:
    """All rows of a file.

    Raises:
        GeorankError: If the file has other columns, ends within a line, or holds a value of
            the wrong type.
    """
    path = Path(path)
    with _locked(path, os.O_RDONLY) as file:
        _check_content(file, os.fstat(file).st_size, path)
        text = os.pread(file, os.fstat(file).st_size, 0).decode()
    rows = []
    for number, raw in enumerate(csv.DictReader(io.StringIO(text)), start=2):
        try:
            values = {f.name: _NUMBERS.get(str(f.type), str)(raw[f.name]) for f in fields(Row)}
        except (ValueError, TypeError) as error:
            raise GeorankError(f"{path}, row {number}: {error}.") from error
        rows.append(Row(**values))
    return rows


@contextmanager
def _locked(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags, 0o644)
    try:
        # Readers share it; closing the file gives it back, also after a crash.
        fcntl.flock(file, fcntl.LOCK_SH if flags == os.O_RDONLY else fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _check_content(file: int, size: int, path: Path) -> None:
    if size == 0:
        return
    header = os.pread(file, len(_HEADER), 0).decode(errors="replace")
    if header != _HEADER:
        first = header.splitlines()[0] if header.splitlines() else ""
        raise GeorankError(
            f"{path} is no results file of this version: it begins with {first[:60]!r}, not "
            f"{_HEADER[:30]!r}... Choose another file."
        )
    if os.pread(file, 1, size - 1) != b"\n":
        tail = os.pread(file, min(size, 4096), max(0, size - 4096)).decode(errors="replace")
        cut = tail.rpartition("\n")[2]
        raise GeorankError(
            f"{path} ends within a line ({cut[:60]!r}...): a program was stopped while it wrote. "
            "Delete that line, or complete it and end it with a line break."
        )


def _to_csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    for row in rows:
        writer.writerow(
            {k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(row).items()}
        )
    return text.getvalue()


def _write_or_restore(file: int, data: bytes, size: int, path: Path) -> None:
    """One write; what a full disk took of it is taken back."""
    try:
        written = os.write(file, data)
        if written != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file)
    except OSError as error:
        os.ftruncate(file, size)
        raise OSError(
            error.errno, f"{error.strerror}; nothing was added to the results", str(path)
        ) from error
