"""Labels of files and points, checked against the folder and against each other."""

from __future__ import annotations

import hashlib
import logging
import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from georank_zoo.data.files import georeference
from georank_zoo.data.files.text import MAX_TEXT_BYTES
from georank_zoo.data.readers.labels.csv_table import read_csv_table
from georank_zoo.data.readers.labels.geojson import read_geojson
from georank_zoo.data.readers.labels.match import FileNames
from georank_zoo.data.readers.labels.points import Points
from georank_zoo.data.readers.labels.rows import LabelRow, quoted
from georank_zoo.data.readers.labels.values import class_of, class_order, folder_class, look_alikes
from georank_zoo.data.store.patch import NO_LABEL
from georank_zoo.utils.degrees import check_degrees
from georank_zoo.utils.errors import UsageError, plain
from georank_zoo.utils.regular_files import read_regular

logger = logging.getLogger(__name__)

_FORMS = "'parent', a .csv with columns filename,label[,lat,lon] or a .geojson with property label"
_SUFFIXES = (".csv", ".tsv", ".txt", ".geojson", ".json")
_SAME_DEGREES = 1e-7  # a centimeter; what rounding in a spreadsheet does


@dataclass(frozen=True)
class Labels:
    """Labels as a source gives them.

    Attributes:
        class_names: Names of the labels 0, 1, ...: whole numbers by value, then names by alphabet.
        by_file: Label by path relative to the source folder.
        positions: Latitude and longitude in degrees by relative path, where the table has them.
        points: Labels that name no file.
        digest: Identifies the label file's content.
        no_position: What a table without positions has instead, for messages.
    """

    class_names: tuple[str, ...] = ()
    by_file: dict[str, int] = field(default_factory=dict)
    positions: dict[str, tuple[float, float]] = field(default_factory=dict)
    points: Points = field(default_factory=Points)
    digest: str = ""
    no_position: str = ""

    def of_windows(
        self, name: str, dataset: Any, corners: Sequence[tuple[int, int]], size: int
    ) -> list[int]:
        """Labels of a file's windows: the file's own, else the nearest point in the window.

        Args:
            name: The file, relative to the source folder.
            dataset: The open raster.
            corners: Row and column of the windows' corners.
            size: Side of a window in pixels.

        Raises:
            BadItem: If points are to be placed and the raster's CRS leads nowhere.
        """
        by_point = name not in self.by_file and len(self.points) > 0
        if by_point and georeference.is_georeferenced(dataset):
            return self.points.of_windows(dataset, corners, size)
        return [self.by_file.get(name, NO_LABEL)] * len(corners)


def read_labels(spec: str | None, root: Path, files: Sequence[str]) -> Labels:
    """Reads the labels of a folder.

    Args:
        spec: `parent`, a CSV or GeoJSON file, or None for no labels.
        root: The source folder.
        files: Its rasters, as paths relative to it.

    Raises:
        UsageError: If the file is missing, malformed, contradicts itself, names no file of the
            folder or holds invalid positions.
    """
    if spec is None:
        return Labels()
    if spec == "parent":
        parents = {file: posixpath.basename(posixpath.dirname(file)) for file in files}
        return _labels({f: folder_class(name) for f, name in parents.items() if name}, [])
    path = Path(spec)
    if not path.is_file() and (root / spec).is_file():
        path = root / spec
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"Labels {spec!r} are of an unknown kind. Valid: {_FORMS}.")
    if not path.is_file():
        raise UsageError(f"There is no label file {spec}. Valid: {_FORMS}.")
    digest = hashlib.sha256(read_regular(path, MAX_TEXT_BYTES)).hexdigest()
    if path.suffix.lower() in (".geojson", ".json"):
        return _of_rows(read_geojson(path), root, files, path, digest)
    table = read_csv_table(path)
    if not table.rows:
        raise UsageError(f"{path} holds no row that names a file.")
    columns = "" if table.has_positions else f"the table's columns are {quoted(table.columns)}"
    return _of_rows(table.rows, root, files, path, digest, columns)


def _of_rows(
    rows: Sequence[LabelRow],
    root: Path,
    files: Sequence[str],
    path: Path,
    digest: str,
    no_position: str = "",
) -> Labels:
    placed = [row for row in rows if row.position is not None]
    check_degrees(
        np.array([row.position for row in placed]).reshape(-1, 2), where=str(path),
        rows=[row.where for row in placed],
    )  # fmt: skip
    _tell_missing(rows, path)
    named = _matched([row for row in rows if row.file], root, files, path)
    by_file: dict[str, tuple[str, LabelRow]] = {}
    positions: dict[str, tuple[tuple[float, float], LabelRow]] = {}
    for file, row in named:
        name = class_of(row.label)
        if name is not None:
            other, first = by_file.setdefault(file, (name, row))
            if other != name:
                raise _contradiction(path, first, row, file, "labels", other, name)
        if row.position is not None:
            at, first = positions.setdefault(file, (row.position, row))
            if not np.allclose(at, row.position, rtol=0, atol=_SAME_DEGREES):
                raise _contradiction(path, first, row, file, "positions", at, row.position)
    return _labels(
        {file: name for file, (name, _) in by_file.items()},
        _distinct([row for row in rows if not row.file], path),
        {file: at for file, (at, _) in positions.items()},
        digest=digest, no_position=no_position,
    )  # fmt: skip


def _labels(
    by_file: dict[str, str],
    points: Sequence[tuple[tuple[float, float], str]],
    positions: dict[str, tuple[float, float]] | None = None,
    **facts: str,
) -> Labels:
    class_names = class_order([*by_file.values(), *(name for _, name in points)])
    for group in look_alikes(class_names):
        logger.warning("%s are %d classes, though they look alike.", quoted(group), len(group))
    index = {name: label for label, name in enumerate(class_names)}
    return Labels(
        class_names,
        {file: index[name] for file, name in by_file.items()},
        positions or {},
        Points(
            np.array([at for at, _ in points], np.float64).reshape(-1, 2),
            np.array([index[name] for _, name in points], np.int64),
        ),
        **facts,
    )


def _matched(
    rows: Sequence[LabelRow], root: Path, files: Sequence[str], path: Path
) -> list[tuple[str, LabelRow]]:
    """The rows with the folder's file that each names; how many name none is said."""
    names = FileNames(root, files)
    found = []
    for row in rows:
        try:
            found.append((names.find(row.file), row))
        except UsageError as error:
            raise UsageError(f"{path}, {row.where}: {error}") from error
    lost = [row for file, row in found if file is None]
    if lost and len(lost) == len(rows):
        raise UsageError(
            f"{path} names no file of the folder (it begins with '{plain(lost[0].file)}'; the "
            f"folder with '{plain(files[0])}')."
        )
    if lost:
        logger.warning(
            "%s: %d of %d names are not in the folder; the first is '%s' (%s).",
            path, len(lost), len(rows), plain(lost[0].file), lost[0].where,
        )  # fmt: skip
    return [(file, row) for file, row in found if file is not None]


def _distinct(rows: Iterable[LabelRow], path: Path) -> list[tuple[tuple[float, float], str]]:
    """Positions and classes of points; two classes at one position are an error."""
    found: dict[tuple[float, float], tuple[str, LabelRow]] = {}
    for row in rows:
        name = class_of(row.label)
        if row.position is None or name is None:
            continue
        other, first = found.setdefault(row.position, (name, row))
        if other != name:
            raise _contradiction(path, first, row, "one point", "labels", other, name)
    return [(at, name) for at, (name, _) in found.items()]


def _contradiction(
    path: Path, first: LabelRow, second: LabelRow, what: str, kind: str, one: object, other: object
) -> UsageError:
    return UsageError(
        f"{path} gives {plain(what)} two {kind}: {plain(one)} in {first.where} and {plain(other)} "
        f"in {second.where}."
    )


def _tell_missing(rows: Sequence[LabelRow], path: Path) -> None:
    words = Counter(row.label.strip() for row in rows if class_of(row.label) is None)
    if not words.keys() - {""} and words.total() < len(rows):
        return  # empty cells are meant, unless all are
    shown = ", ".join(f"{count} of '{plain(word)}'" for word, count in words.most_common())
    logger.warning(
        "%s: %d of %d labels are missing (%s). If one of these words is a class, rename it.",
        path, words.total(), len(rows), shown,
    )  # fmt: skip
