"""The table of results: one line per metric, appended whole or not at all."""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from georank_zoo.utils.environment import device_name, versions
from georank_zoo.utils.errors import GeorankError
from georank_zoo.utils.files import new_file


@dataclass(frozen=True)
class Row:
    """One metric of one model on one task.

    Attributes:
        when: UTC, ISO 8601.
        model: Name in the model's config, with its folder where evaluated models share one; its
            Hub id; or the floor's name.
        model_hash: SHA-256 of model.safetensors, `none` for floors.
        recipe: Name and hash of the recipe, as far as the model tells.
        task: Task.
        store_hash: Content of the store.
        protocol: Name of the protocol.
        k: Neighbors that vote; None, an empty cell, where the protocol has none.
        temperature: Of the neighbors' weights; None where the protocol has none.
        settings: Other settings of the protocol, `name=value` separated by blanks; what
            validation chose comes first.
        split: Split, with its seed.
        image_size: Side in pixels that the network saw.
        bands: Bands that the network was given, separated by blanks.
        seed: Seed of split, random floor and bootstrap.
        n_train: Samples that are known.
        n_test: Samples that are predicted.
        metric: Name of the metric.
        value: The metric as a fraction.
        ci_low: Lower end of the 95 % interval, from resampled places.
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
    k: int | None
    temperature: float | None
    settings: str
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

    @property
    def given_settings(self) -> str:
        """The other settings without those that may differ between comparable models."""
        chosen = ("l2=", "epoch=", "scratch_lr=")
        return " ".join(part for part in self.settings.split() if not part.startswith(chosen))

    @property
    def variant(self) -> tuple[str, str]:
        """What tells the rows of a protocol apart: `("k", "10")`, or what validation chose."""
        if self.k is not None:
            return "k", str(self.k)
        name, _, value = self.settings.partition(" ")[0].partition("=")
        return name, value


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(Row))
_HEADER = ",".join(COLUMNS) + "\n"
# Columns that files of earlier versions lack, with the value that their rows have.
_ADDED = {"settings": ""}
_OLD_HEADER = ",".join(name for name in COLUMNS if name not in _ADDED) + "\n"
_TAIL = 4096  # bytes that surely hold the end of the last line


def now() -> str:
    """The time for `Row.when`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def made_with(device: str | torch.device) -> str:
    """The text for `Row.versions`."""
    packages = (f"{name} {version}" for name, version in versions().items())
    return "; ".join([*packages, f"device {device_name(device)}"])


def append(path: str | Path, rows: Sequence[Row]) -> None:
    """Appends rows to a CSV file; a new one gets its header.

    Several processes may append at once. A file of an earlier version gets the columns that it
    lacks. After a failure no row is lost, and none half added.

    Raises:
        GeorankError: If the file has other columns or ends within a line.
        OSError: If it cannot be written, for instance because the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path):
        if path.exists() and _check_content(path) == _OLD_HEADER:
            _upgrade(path)
        with path.open("ab", buffering=0) as file:
            size = path.stat().st_size
            text = _to_csv(rows) if size else _HEADER + _to_csv(rows)
            _write_or_restore(file.fileno(), text.encode(), size, path)


def check(path: str | Path) -> None:
    """Checks that rows can be appended, before hours are spent on computing them.

    Raises:
        GeorankError: If the file has other columns or ends within a line.
        OSError: If it may not be written.
    """
    path = Path(path)
    if path.exists():
        with _lock(path), path.open("r+b"):
            _check_content(path)
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
    # Where this process cannot make a lock file nobody can append, unless another user does.
    writable = os.access(path.parent, os.W_OK)
    with _lock(path) if writable else nullcontext():
        _check_content(path)
        data = path.read_bytes()
    try:
        return _parse(data.decode("utf-8"), path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise GeorankError(f"{path} is damaged: {error}.") from error


def _parse(text: str, path: Path) -> list[Row]:
    rows = []
    for number, raw in enumerate(csv.DictReader(io.StringIO(text)), start=2):
        cells = {**_ADDED, **raw}
        try:
            values = {f.name: _value(str(f.type), cells[f.name]) for f in fields(Row)}
        except (ValueError, TypeError) as error:
            raise GeorankError(f"{path}, row {number}: {error}.") from error
        rows.append(Row(**values))
    return rows


def _value(kind: str, text: str) -> Any:
    """A cell as the type that its column has in `Row`."""
    number, _, optional = kind.partition(" | ")
    if optional and not text:
        return None
    return {"int": int, "float": float}.get(number, str)(text)


def _upgrade(path: Path) -> None:
    """Gives a file of an earlier version the columns that it lacks."""
    rows = _parse(path.read_text(encoding="utf-8"), path)
    with new_file(path.resolve()) as beside:
        beside.write_bytes((_HEADER + _to_csv(rows)).encode())


def _lock(path: Path) -> FileLock:
    """One process at a time, on Windows too; a crash gives the lock back.

    The lock is a file beside, which stays there: to delete it would let two processes in.
    """
    path = path.resolve()  # a link and what it names are one file, with one lock
    return FileLock(path.with_name(f".{path.name}.lock"))


def _check_content(path: Path) -> str:
    """The header of a file that rows may be appended to, empty if the file is."""
    with path.open("rb") as file:
        start = file.read(len(_HEADER)).decode(errors="replace")
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL).decode(errors="replace")
    if size == 0:
        return ""
    header = start.partition("\n")[0] + "\n"
    if header not in (_HEADER, _OLD_HEADER):
        raise GeorankError(
            f"{path} is no results file of this version: it begins with {header[:60].rstrip()!r}, "
            f"not {_HEADER[:30]!r}... Choose another file."
        )
    if not tail.endswith("\n"):
        cut = tail.rpartition("\n")[2]
        raise GeorankError(
            f"{path} ends within a line ({cut[:60]!r}...): a program was stopped while it wrote. "
            "Delete that line, or complete it and end it with a line break."
        )
    return header


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
