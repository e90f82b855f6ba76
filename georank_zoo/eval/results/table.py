"""Results files: one line per metric, appended whole or not at all."""

from __future__ import annotations

import csv
import errno
import io
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from georank_zoo.eval.results.ranges import check_numbers
from georank_zoo.eval.results.settings import (
    protocol_with_settings,
    settings_from_json,
    shown_value,
)
from georank_zoo.utils import regular_files
from georank_zoo.utils.documents import read_limited
from georank_zoo.utils.environment import device_name, versions
from georank_zoo.utils.errors import GeorankError, brief, plain
from georank_zoo.utils.files import new_file
from georank_zoo.utils.locks import MOMENT, output_lock
from georank_zoo.utils.untrusted_text import csv_original, csv_text
from georank_zoo.utils.write_errors import explain_write_errors

Kind = Literal["model", "image-statistics", "random-init", "scratch"]
"""A model, or one of the floors: statistics of the images as features, a network as it is
initialized, a network that is trained from there on the labels alone."""

# Rows are comparable where all of these are equal.
SETTING: tuple[str, ...] = (
    "task", "protocol", "k", "temperature", "split", "image_size", "store_hash", "seed", "n_train",
    "n_test", "settings",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One metric of one model on one task.

    Attributes:
        when: UTC, ISO 8601.
        model: Name in the model's config, its Hub id, or the floor's name.
        origin: Text that tells it from others of its name in the evaluation: the model's source,
            or the model whose input a floor takes; empty if it shared its name with none.
        kind: One of `Kind`.
        baseline: Name of the model that this one is a variant of, as its recipe states it; empty
            if it is of none.
        model_hash: SHA-256 of model.safetensors, `none` for floors.
        architecture: Name of the timm model; empty where there is none or it is not known.
        input_hash: Hash of the bands, means and standard deviations that images were prepared by.
        recipe: Name and hash of the recipe, as far as the model tells.
        task: Name of the task.
        store_hash: Content of the store.
        protocol: Name of the protocol.
        k: Number of neighbors that voted; None, an empty cell, where the protocol has none.
        temperature: Temperature of the neighbors' weights; None where the protocol has none.
        settings: Other settings of the protocol as they were given, a JSON object; empty if there
            are none.
        chosen: Settings that the protocol chose by itself, such as the strength or the epoch that
            validation chose, a JSON object; empty if there is nothing.
        split: Split, with its seed.
        image_size: Side in pixels that the network saw.
        bands: Bands that the network was given, separated by blanks.
        seed: Seed of split, random floor and bootstrap.
        n_train: Number of training samples.
        n_test: Number of test samples.
        metric: Name of the metric.
        value: Value as a fraction.
        ci_low: Lower end of the 95 % interval, from resampled places.
        ci_high: Upper end.
        versions: Packages and device that it was computed with.

    Raises:
        UsageError: If a number is one that no evaluation gives; see `check_numbers`.
    """

    when: str
    model: str
    origin: str
    kind: Kind
    baseline: str
    model_hash: str
    architecture: str
    input_hash: str
    recipe: str
    task: str
    store_hash: str
    protocol: str
    k: int | None
    temperature: float | None
    settings: str
    chosen: str
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

    def __post_init__(self) -> None:
        check_numbers(vars(self))

    @property
    def title(self) -> str:
        """Name with its origin."""
        return shown_name(self.model, self.origin)

    @property
    def identity(self) -> tuple[str, ...]:
        """What is equal in two rows of one model or floor."""
        if self.kind != "model":
            return (self.kind, self.architecture, self.input_hash)
        nameless = self.model_hash == "none"
        return (self.kind, self.model_hash, *((self.model, self.origin) if nameless else ()))

    @property
    def setting(self) -> tuple[object, ...]:
        """What must be equal in comparable rows; see `SETTING`."""
        return tuple(getattr(self, name) for name in SETTING)

    @property
    def variant(self) -> tuple[str, str]:
        """What tells the rows of a protocol apart: `("k", "10")`, or what validation chose."""
        if self.k is not None:
            return "k", str(self.k)
        values = settings_from_json(self.chosen) or settings_from_json(self.settings)
        return next(((name, shown_value(value)) for name, value in values.items()), ("", ""))

    @property
    def protocol_text(self) -> str:
        """Protocol with all that was given to it."""
        return protocol_with_settings(self.protocol, self.k, self.temperature, self.settings)

    @property
    def percent(self) -> str:
        """Value with its interval, in percent."""
        return as_percent(self.value, self.ci_low, self.ci_high)


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(Row))
_HEADER = ",".join(COLUMNS) + "\n"
# What a cell is, by its column or its type.
_VALID = {
    "int": r"-?\d{1,18}",
    "float": r"-?(\d+(\.\d+)?(e[+-]\d+)?|nan|inf)",
    "when": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+\d\d:\d\d|Z)?",
    **dict.fromkeys(("model", "task", "protocol", "split", "metric", "store_hash"), r"(?s).+"),
}
_REMEDY = "Delete the damaged rows, or put back a copy of the file."
_TAIL = 4096  # bytes that surely hold the end of the last line


def now() -> str:
    """The time for `Row.when`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def made_with(device: str | torch.device) -> str:
    """The text for `Row.versions`."""
    packages = (f"{name} {version}" for name, version in versions().items())
    return "; ".join([*packages, f"device {device_name(device)}"])


def shown_name(name: str, origin: str) -> str:
    """A name with what tells it from others of that name."""
    return f"{name} ({origin})" if origin else name


def as_percent(value: float, low: float, high: float) -> str:
    """Fractions as a value with its interval, in percent."""
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def append_rows(path: str | Path, rows: Sequence[Row]) -> None:
    """Appends rows to a CSV file; a new one gets its header.

    Several processes may append at once. After a failure no row is lost, and none half added.

    Raises:
        GeorankError: If the file has other columns or ends within a line, or the disk is full.
    """
    path = Path(path).resolve()
    with (
        output_lock(path, wait=MOMENT),
        explain_write_errors(path, "Nothing was added: make room and repeat the command."),
    ):
        before = b""
        if path.exists():
            _check_content(path)
            before = path.read_bytes()
        with new_file(path) as temporary:
            temporary.write_bytes((before or _HEADER.encode()) + _to_csv(rows).encode())


def check_results_file(path: str | Path) -> None:
    """Checks that rows can be appended, before hours are spent on computing them.

    Raises:
        GeorankError: If the file has other columns or ends within a line.
        OSError: If it may not be written.
    """
    path = Path(path)
    if path.exists():
        with path.open("r+b"):
            _check_content(path)
        return
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(parent))
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(parent))


def read_rows(path: str | Path) -> list[Row]:
    """All rows of a file.

    Raises:
        GeorankError: If the file has other columns, ends within a line, or holds a value of
            a kind that its column does not have.
    """
    path = Path(path)
    # Without a lock: the file is replaced whole.
    text = read_limited(path, error=GeorankError, remedy=_REMEDY)
    if not text:
        raise GeorankError(f"{path} is empty: it holds not even the names of the columns.")
    _check_content(path)
    try:
        return _parse(text, path)
    except csv.Error as error:
        raise GeorankError(f"{path} is damaged: {plain(error)}. {_REMEDY}") from error


def _parse(text: str, path: Path) -> list[Row]:
    rows = []
    table = csv.reader(io.StringIO(text), strict=True)
    next(table, None)  # the names of the columns, which were compared
    for number, cells in enumerate(table, start=2):
        try:
            if len(cells) != len(COLUMNS):
                raise ValueError(f"it has {len(cells)} cells instead of {len(COLUMNS)}")
            values = {
                f.name: _value(f.name, str(f.type), cell)
                for f, cell in zip(fields(Row), cells, strict=True)
            }
            if values["kind"] not in get_args(Kind):
                raise ValueError(f"unknown kind {values['kind']!r}")
            for name in ("settings", "chosen"):
                settings_from_json(values[name])
            rows.append(Row(**values))
        except (ValueError, TypeError) as error:
            reason = str(error).rstrip(".")
            raise GeorankError(f"{path}, row {number}: {reason}.") from error
    return rows


def _value(name: str, kind: str, text: str) -> Any:
    """A cell as the type that its column has in `Row`."""
    number, _, optional = kind.partition(" | ")
    if optional and not text:
        return None
    valid = _VALID.get(name) or _VALID.get(number)
    # Python reads more as a number than anybody writes, such as "1_0" and " 7".
    if valid and not re.fullmatch(valid, text, re.ASCII):
        raise ValueError(f"{name} cannot be {brief(text)}")
    return {"int": int, "float": float}.get(number, csv_original)(text)


def _check_content(path: Path) -> None:
    """Refuses a file that rows may not be appended to."""
    regular_files.require_regular(path)
    with path.open("rb") as file:
        start = file.read(len(_HEADER)).decode(errors="replace")
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL).decode(errors="replace")
    if size == 0:
        return
    header = start.partition("\n")[0] + "\n"
    if header != _HEADER:
        raise GeorankError(
            f"{path} is not a results file of this version: it begins with "
            f"{header[:60].rstrip()!r}, not {_HEADER[:30]!r}... Choose another file."
        )
    if not tail.endswith("\n"):
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
            {
                k: csv_text(v) if isinstance(v, str) else round(v, 6) if isinstance(v, float) else v
                for k, v in asdict(row).items()
            }
        )
    return text.getvalue()
