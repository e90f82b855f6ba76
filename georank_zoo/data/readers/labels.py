"""Labels of a folder of patches: from parent folders, a CSV table or GeoJSON features."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.warp import transform as transform_points
from rasterio.warp import transform_bounds

from georank_zoo.data.files import georeference
from georank_zoo.data.store.patch import NO_LABEL
from georank_zoo.utils.errors import UsageError

logger = logging.getLogger(__name__)

_WGS84 = "EPSG:4326"
_FORMS = "'parent', a .csv with columns filename,label[,lat,lon] or a .geojson with property label"


@dataclass(frozen=True)
class Labels:
    """Labels as a source gives them.

    Attributes:
        class_names: Names of the labels 0, 1, ..., in alphabetical order.
        by_file: Label by path relative to the source folder.
        positions: Latitude and longitude in degrees by relative path, where the table has them.
        points: Positions (N, 2) in degrees of labels that name no file.
        point_labels: Labels of the points (N,).
        digest: Identifies the label file's content.
    """

    class_names: tuple[str, ...] = ()
    by_file: dict[str, int] = field(default_factory=dict)
    positions: dict[str, tuple[float, float]] = field(default_factory=dict)
    points: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))
    point_labels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    digest: str = ""

    def of_windows(
        self, name: str, dataset: Any, corners: Sequence[tuple[int, int]], size: int
    ) -> list[int]:
        """Labels of a file's windows: the file's own, else the nearest point in the window.

        Args:
            name: The file, relative to the source folder.
            dataset: The open raster.
            corners: Row and column of the windows' corners.
            size: Side of a window in pixels.
        """
        if (
            name in self.by_file
            or not len(self.points)
            or not georeference.is_georeferenced(dataset)
        ):
            return [self.by_file.get(name, NO_LABEL)] * len(corners)
        rows, cols, labels = self._points_on(dataset)
        found = []
        for row, col in corners:
            inside = (rows >= row) & (rows < row + size) & (cols >= col) & (cols < col + size)
            distance = np.hypot(rows - row - size / 2, cols - col - size / 2)
            nearest = np.argmin(np.where(inside, distance, np.inf)) if inside.any() else None
            found.append(NO_LABEL if nearest is None else int(labels[nearest]))
        return found

    def _points_on(self, dataset: Any) -> tuple[npt.NDArray[Any], ...]:
        """Rows, columns and labels of the points near a raster."""
        with georeference.placing(dataset):
            west, south, east, north = transform_bounds(dataset.crs, _WGS84, *dataset.bounds)
        lat, lon = self.points.T
        near = (lat >= south) & (lat <= north)
        # Across the antimeridian the eastern bound is the smaller one.
        near &= (lon >= west) & (lon <= east) if west <= east else (lon >= west) | (lon <= east)
        with georeference.placing(dataset):
            x, y = transform_points(_WGS84, dataset.crs, lon[near].tolist(), lat[near].tolist())
        to = ~dataset.transform
        x, y = np.array(x), np.array(y)
        return to.d * x + to.e * y + to.f, to.a * x + to.b * y + to.c, self.point_labels[near]


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
        return _from_names([(f, Path(f).parent.name) for f in files if Path(f).parent.name], {}, "")
    path = Path(spec)
    if not path.is_file() and (root / spec).is_file():
        path = root / spec
    if path.suffix.lower() not in (".csv", ".geojson", ".json"):
        raise UsageError(f"Labels {spec!r} are of an unknown kind. Valid: {_FORMS}.")
    if not path.is_file():
        raise UsageError(f"There is no label file {spec}. Valid: {_FORMS}.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if path.suffix.lower() == ".csv":
        return _from_csv(path, files, digest)
    return _from_geojson(path, files, digest)


def _from_csv(path: Path, files: Sequence[str], digest: str) -> Labels:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns = [name.strip().lower() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        if not {"filename", "label"} <= set(columns):
            raise UsageError(
                f"{path} has columns {', '.join(columns) or 'none'}; needed are filename and label."
            )
        rows = list(reader)
    names = _match([row["filename"] or "" for row in rows], files, path)
    positions = {}
    if {"lat", "lon"} <= set(columns):
        import torch  # late: the processes that read source files need not load it

        from georank_zoo.geo import check_latlon

        latlon = torch.tensor(
            [[_degrees(row[c], path, n) for c in ("lat", "lon")] for n, row in enumerate(rows)],
            dtype=torch.float64,
        ).reshape(-1, 2)
        check_latlon(latlon, where=str(path))
        positions = {
            name: (float(lat), float(lon))
            for name, (lat, lon) in zip(names, latlon, strict=True)
            if name
        }
    pairs = [(n, (r["label"] or "").strip()) for n, r in zip(names, rows, strict=True) if n]
    return _from_names(pairs, positions, digest, path)


def _from_geojson(path: Path, files: Sequence[str], digest: str) -> Labels:
    try:
        features = json.loads(path.read_text(encoding="utf-8"))["features"]
        properties = [feature["properties"] or {} for feature in features]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a GeoJSON FeatureCollection ({error!r}).") from error
    unlabeled = [n for n, p in enumerate(properties) if "label" not in p]
    if unlabeled or not features:
        raise UsageError(f"{path}: {len(unlabeled)} of {len(features)} features have no 'label'.")
    if all("filename" in p for p in properties):
        names = _match([str(p["filename"]) for p in properties], files, path)
        pairs = [(n, str(p["label"])) for n, p in zip(names, properties, strict=True) if n]
        return _from_names(pairs, {}, digest, path)
    geometries = [feature.get("geometry") or {} for feature in features]
    kinds = sorted({str(g.get("type")) for g in geometries} - {"Point"})
    if kinds:
        raise UsageError(
            f"{path} holds {', '.join(kinds)}. Features without a 'filename' must be points."
        )
    # GeoJSON orders its coordinates longitude, latitude (RFC 7946).
    latlon = np.array([g["coordinates"][1::-1] for g in geometries], np.float64)
    import torch

    from georank_zoo.geo import check_latlon

    check_latlon(torch.from_numpy(latlon), where=str(path))
    class_names = tuple(sorted({str(p["label"]) for p in properties}))
    labels = np.array([class_names.index(str(p["label"])) for p in properties], np.int64)
    return Labels(class_names, points=latlon, point_labels=labels, digest=digest)


def _from_names(
    pairs: Sequence[tuple[str, str]],
    positions: dict[str, tuple[float, float]],
    digest: str,
    path: Path | None = None,
) -> Labels:
    named = {file: label for file, label in pairs if label}
    contradicting = [file for file, label in pairs if named.get(file, label) != label and label]
    if contradicting:
        raise UsageError(f"{path} gives {contradicting[0]} two labels.")
    class_names = tuple(sorted(set(named.values())))
    index = {name: label for label, name in enumerate(class_names)}
    return Labels(
        class_names, {f: index[name] for f, name in named.items()}, positions, digest=digest
    )


def _match(names: Sequence[str], files: Sequence[str], path: Path) -> list[str | None]:
    """The folder's file of each name: a relative path, or a bare name that is unique."""
    relative = set(files)
    bare = {Path(file).name: file for file in files}
    counts = Counter(Path(file).name for file in files)
    matched: list[str | None] = []
    for name in (name.strip().replace("\\", "/") for name in names):
        if name not in relative and counts[name] > 1:
            raise UsageError(f"{path}: {name} stands for {counts[name]} files. Give their paths.")
        matched.append(name if name in relative else bare.get(name))
    unmatched = matched.count(None)
    if unmatched == len(matched):
        first = f" (it begins with {names[0]!r}; the folder with {files[0]!r})" if names else ""
        raise UsageError(f"{path} names no file of the folder{first}.")
    if unmatched:
        logger.warning("%s: %d of %d names are not in the folder.", path, unmatched, len(matched))
    return matched


def _degrees(text: str | None, path: Path, row: int) -> float:
    try:
        return float(text or "nan")
    except ValueError as error:
        raise UsageError(f"{path}, row {row}: {text!r} is not a position in degrees.") from error
