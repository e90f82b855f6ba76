"""Labels as GeoJSON features: points, or features that name their file."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rasterio._err import CPLE_BaseError  # refusals that rasterio passes on untranslated
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform as transform_points

from georank_zoo.data.files.text import read_json
from georank_zoo.data.readers.labels.rows import FILE, LABEL, LabelRow, find_column, quoted
from georank_zoo.data.readers.labels.values import class_of
from georank_zoo.utils.errors import UsageError, brief, plain

_WGS84 = "EPSG:4326"
# EPSG:32632, urn:ogc:def:crs:EPSG::32632, http://www.opengis.net/def/crs/EPSG/0/32632, ...
_CODE = re.compile(
    r"(?:urn:(?:x-)?ogc:def:crs:|https?://www\.opengis\.net/def/crs/)?"
    r"(EPSG|ESRI|OGC)[:/](?:[\w.]*[:/])?(\w+)",
    re.ASCII | re.IGNORECASE,
)


def read_geojson(path: Path) -> list[LabelRow]:
    """Reads the features of a collection; those that name no file have a position.

    Args:
        path: A FeatureCollection (RFC 7946), whose `crs` of the older GeoJSON 2008 counts.

    Raises:
        UsageError: If it is no FeatureCollection, no feature has a label, a feature without a
            file's name is no point, or the CRS does not lead to latitude and longitude.
    """
    collection = read_json(path)
    features = _features(collection, path)
    properties = [_properties(f, path, n) for n, f in enumerate(features, 1)]
    columns = list(dict.fromkeys(name for held in properties for name in held))
    label, file = (find_column(columns, names, path) for names in (LABEL, FILE))
    if label is None:
        raise UsageError(
            f"{path}: {len(features)} of {len(features)} features have no 'label'; their "
            f"properties are {quoted(columns)}."
        )
    rows = []
    for number, (feature, held) in enumerate(zip(features, properties, strict=True), 1):
        where = f"feature {number}"
        text = _text(held.get(label), path, where, label)
        name = "" if file is None else _text(held.get(file), path, where, file).strip()
        # NaN in a column of names is how pandas writes that there is none.
        if class_of(name) is not None:
            rows.append(LabelRow(where, name, text))
        elif class_of(text) is not None:
            lon, lat = _point(feature, path, where, named=file is not None)
            rows.append(LabelRow(where, "", text, (lat, lon)))
    return _in_degrees(rows, collection.get("crs"), path)


def _features(collection: Any, path: Path) -> Sequence[Any]:
    kind = collection.get("type") if isinstance(collection, dict) else None
    features = collection.get("features") if isinstance(collection, dict) else None
    if kind != "FeatureCollection" or not isinstance(features, list):
        what = f"its type is {brief(kind)}" if kind != "FeatureCollection" else "no list 'features'"
        raise UsageError(f"{path} is not a GeoJSON FeatureCollection: {what}.")
    if not features:
        raise UsageError(f"{path} holds 0 features.")
    return features


def _properties(feature: Any, path: Path, number: int) -> dict[str, Any]:
    held = feature.get("properties") if isinstance(feature, dict) else feature
    if not isinstance(held, dict | None) or not isinstance(feature, dict):
        raise UsageError(f"{path}, feature {number} is not a GeoJSON feature: {brief(feature)}.")
    geometry = feature.get("geometry")
    if feature.get("crs") or (isinstance(geometry, dict) and geometry.get("crs")):
        raise UsageError(f"{path}, feature {number} has a 'crs'; only the collection may have one.")
    return held or {}


def _text(value: Any, path: Path, where: str, column: str) -> str:
    if isinstance(value, list | dict):
        raise UsageError(
            f"{path}, {where}: {plain(column)} must be one text or number, not {brief(value)}."
        )
    return "" if value is None else str(value)


def _point(feature: Any, path: Path, where: str, *, named: bool) -> tuple[float, float]:
    """Coordinates x, y of a feature without a file's name."""
    geometry = feature.get("geometry")
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind != "Point":
        what = "has no geometry" if geometry is None else f"is {brief(kind)}"
        raise UsageError(
            f"{path}, {where} {what}{' and no filename' if named else ''}. Features without a "
            "'filename' must be points."
        )
    coordinates = geometry.get("coordinates")
    numbers = coordinates[:2] if isinstance(coordinates, list) else []
    valid = [n for n in numbers if isinstance(n, int | float) and not isinstance(n, bool)]
    if len(valid) != 2 or not all(map(math.isfinite, valid)):
        raise UsageError(
            f"{path}, {where}: a point's coordinates are [longitude, latitude], not "
            f"{brief(coordinates)}."
        )
    return float(valid[0]), float(valid[1])


def _in_degrees(rows: list[LabelRow], stated: Any, path: Path) -> list[LabelRow]:
    """The rows with positions in WGS84, which GeoJSON has where it states no other CRS."""
    points = [row.position for row in rows if row.position is not None]
    if stated is None or not points:
        return rows
    crs = _crs(stated, path)
    try:
        lon, lat = transform_points(crs, _WGS84, [x for _, x in points], [y for y, _ in points])
    except (CRSError, CPLE_BaseError) as error:
        raise UsageError(
            f"{path}: its CRS {brief(stated)} does not lead to latitude and longitude."
        ) from error
    degrees = zip(lat, lon, strict=True)
    return [row if row.position is None else replace(row, position=next(degrees)) for row in rows]


def _crs(stated: Any, path: Path) -> CRS:
    """The CRS of GeoJSON 2008: `{"type": "name", "properties": {"name": "urn:..."}}`."""
    properties = stated.get("properties") if isinstance(stated, dict) else None
    held = properties if isinstance(properties, dict) else {}
    name = f"EPSG:{held['code']}" if "code" in held else held.get("name")
    try:
        # Codes only: GDAL would take the name of a file or an address as well.
        code = _CODE.fullmatch(str(name))
        if code is None:
            raise CRSError("no code of EPSG, ESRI or OGC")
        return CRS.from_string(f"{code[1].upper()}:{code[2]}")
    except (CRSError, CPLE_BaseError, ValueError) as error:
        raise UsageError(
            f"{path}: its 'crs' {brief(stated)} is not understood ({plain(error)}). Write it in "
            "longitude and latitude (RFC 7946), without a 'crs'."
        ) from error
