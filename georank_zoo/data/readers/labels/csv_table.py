"""Tables of labels as CSV: separators, quotes and decimal commas as spreadsheets write them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from georank_zoo.data.files.text import read_text
from georank_zoo.data.readers.labels.rows import (
    FILE,
    LABEL,
    LATITUDE,
    LONGITUDE,
    LabelRow,
    find_column,
    quoted,
)
from georank_zoo.data.readers.labels.values import class_of
from georank_zoo.utils.errors import UsageError, plain

_SEPARATORS = ",;\t|"
_SEPARATOR_LINE = re.compile(r"\"?sep=(.)\"?[,;\t ]*", re.IGNORECASE)  # Excel's first line
_WHOLE_NUMBER = re.compile(r"[+-]?\d+,0+", re.ASCII)  # with a decimal comma
_NEEDED = "needed are filename and label (or file, path; class), and lat and lon for positions"


@dataclass(frozen=True)
class CsvTable:
    """A table of labels.

    Attributes:
        rows: Its rows with a file's name.
        columns: All its columns.
        has_positions: Whether it has columns of positions.
    """

    rows: tuple[LabelRow, ...]
    columns: tuple[str, ...]
    has_positions: bool


@dataclass(frozen=True)
class _Line:
    number: int  # as an editor counts
    cells: list[str]


def read_csv_table(path: Path) -> CsvTable:
    """Reads a table of labels.

    Args:
        path: File with a line of column names; comma, semicolon, tab or | separates.

    Raises:
        UsageError: If it is no text, lacks a column, has two of one meaning, a row of more cells
            than columns, a label without a file, or a position that is none.
    """
    lines, separator = _split(read_text(path), path)
    columns = lines[0].cells
    file, label, lat, lon = (
        find_column(columns, names, path) for names in (FILE, LABEL, LATITUDE, LONGITUDE)
    )
    if file is None or label is None:
        raise UsageError(f"{path} has columns {quoted(columns)}; {_NEEDED}.")
    if (lat is None) != (lon is None):
        raise UsageError(f"{path} has a column {lat or lon}, but not the other coordinate.")
    places = [columns.index(name) for name in (file, label)]
    degrees = [columns.index(name) for name in (lat, lon) if name is not None]
    rows = []
    for line in lines[1:]:
        _require_width(line, columns, separator, path)
        # Rows that end early lack their last cells.
        cells = line.cells + [""] * (len(columns) - len(line.cells))
        name, text = (cells[place] for place in places)
        # Where a comma does not separate, it may be the decimal one.
        text = text.replace(",", ".") if _WHOLE_NUMBER.fullmatch(text) else text
        where = f"line {line.number}"
        if not name:
            if class_of(text) is not None:
                raise UsageError(f"{path}, {where}: label '{plain(text)}' has no {file}.")
            continue
        rows.append(
            LabelRow(where, name, text, _position([cells[d] for d in degrees], path, where))
        )
    return CsvTable(tuple(rows), tuple(columns), lat is not None)


def _split(text: str, path: Path) -> tuple[list[_Line], str]:
    """The lines that hold anything, and what separates their cells."""
    first, _, rest = text.partition("\n")
    skipped, separators = 0, _SEPARATORS
    if stated := _SEPARATOR_LINE.fullmatch(first.strip(' "')) or _SEPARATOR_LINE.fullmatch(first):
        skipped, separators, text = 1, stated[1], rest
    head = next((line for line in text.split("\n") if line.strip()), "")

    def fitness(separator: str) -> tuple[bool, int]:
        columns = _lines(head, separator, path)[0].cells if head else []
        known = all(find_column(columns, names, path) for names in (FILE, LABEL))
        return known, len(columns)

    separator = max(separators, key=fitness)
    lines = _lines(text, separator, path)
    if not lines:
        raise UsageError(f"{path} is empty; {_NEEDED}.")
    return [_Line(line.number + skipped, line.cells) for line in lines], separator


def _lines(text: str, separator: str, path: Path) -> list[_Line]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    lines, number = [], 1
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                lines.append(_Line(number, stripped))
            spans = reader.line_num - number
            if spans and text.count('"') % 2:
                raise UsageError(f"{path}, line {number}: a quotation mark is not closed.")
            number = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{path}, line {number}: {error}. Is a quotation mark open?") from error
    return lines


def _require_width(line: _Line, columns: Sequence[str], separator: str, path: Path) -> None:
    more = line.cells[len(columns) :]
    if any(more):
        raise UsageError(
            f"{path}, line {line.number} has {len(line.cells)} cells, and there are "
            f"{len(columns)} columns: {quoted(line.cells)}. Put a text that holds "
            f"{separator!r} in quotation marks."
        )


def _position(cells: Sequence[str], path: Path, where: str) -> tuple[float, float] | None:
    """Latitude and longitude, or None where both are missing."""
    if all(class_of(cell) is None for cell in cells):
        return None
    degrees = []
    for cell in cells:
        try:
            # Python would read 4_8 as a number.
            degrees.append(float(cell.replace(",", ".").replace("_", "x") or "nan"))
        except ValueError as error:
            raise UsageError(
                f"{path}, {where}: '{plain(cell)}' is not a position in decimal degrees."
            ) from error
    return degrees[0], degrees[1]
