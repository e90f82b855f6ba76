"""Features as a GeoParquet table, which QGIS and geopandas show as places.

Columns: `key` (the patch's source file and window), `lat`, `lon`, `geometry` (the point, WKB),
`place`, `time`, in a store of classes `label` (the class's index, 0, 1, ...) and `class` (what it
is called, as text, or as a number where all classes are whole numbers), in one of several labels a
patch `labels` and `classes` (lists of those that it has), and `embedding`, a list of D float32.
What is unknown is null. The schema's metadata holds the JSON document that a safetensors file of
features has, under `georank`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from georank_zoo.data.store.patch import NO_LABEL, NO_TIME, UNKNOWN
from georank_zoo.utils.files import new_file

# 16 MB of ResNet18 features: what is in memory at a time, and what a reader can skip.
_GROUP = 8192

# https://geoparquet.org/releases/v1.1.0: without a CRS, coordinates are WGS84 lon, lat.
_GEO = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Point"]}},
}
# A point in well-known binary: byte order (1 is little endian), type (1 is a point), x, y.
_WKB = np.dtype([("order", "u1"), ("type", "<u4"), ("x", "<f8"), ("y", "<f8")])


def write_parquet(
    path: Path,
    columns: Mapping[str, npt.NDArray[Any]],
    keys: Sequence[str],
    facts: Mapping[str, Any],
) -> None:
    """Writes the columns of a feature file, a group of rows at a time.

    Args:
        path: File to write.
        columns: `features` (N, D), `lat`, `lon`, `place`, `time` and maybe `label` (N,) or
            `labels` (N, C), and the numbers that the classes are in `class_numbers` (C,).
        keys: Name of each patch (N,).
        facts: JSON values for the metadata; `class_names` are the names of the classes.
    """
    rest = dict(columns)
    numbers = rest.pop("class_numbers", None)
    names = facts.get("class_names", [])
    classes = pa.array(names, pa.string()) if numbers is None else pa.array(numbers)
    schema = _schema(rest, facts, classes.type)
    with (
        new_file(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        for start in range(0, len(keys), _GROUP):
            rows = slice(start, start + _GROUP)
            part = {name: np.asarray(column[rows]) for name, column in rest.items()}
            writer.write_table(_table(part, keys[rows], classes, schema))


def _schema(
    columns: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any], kind: pa.DataType
) -> pa.Schema:
    annotations = {
        "label": [pa.field("label", pa.int64()), pa.field("class", kind)],
        "labels": [pa.field("labels", pa.list_(pa.int64())), pa.field("classes", pa.list_(kind))],
    }
    fields = [
        pa.field("key", pa.string(), nullable=False),
        pa.field("lat", pa.float64()),
        pa.field("lon", pa.float64()),
        pa.field("geometry", pa.binary()),
        pa.field("place", pa.int64(), nullable=False),
        # Parquet has no seconds.
        pa.field("time", pa.timestamp("ms", tz="UTC")),
        *(field for name, held in annotations.items() if name in columns for field in held),
        pa.field("embedding", pa.list_(pa.float32(), columns["features"].shape[1])),
    ]
    return pa.schema(fields, {"georank": json.dumps(facts), "geo": json.dumps(_GEO)})


def _table(
    part: Mapping[str, npt.NDArray[Any]], keys: Sequence[str], classes: pa.Array, schema: pa.Schema
) -> pa.Table:
    features, time = part["features"], part["time"]
    unknown = time == NO_TIME
    arrays: dict[str, Any] = {
        "key": keys,
        "lat": pa.array(part["lat"], from_pandas=True),
        "lon": pa.array(part["lon"], from_pandas=True),
        "geometry": _points(part["lat"], part["lon"]),
        "place": part["place"],
        "time": pa.array(np.where(unknown, 0, time) * 1000, mask=unknown),
        "embedding": pa.FixedSizeListArray.from_arrays(features.reshape(-1), features.shape[1]),
    }
    if "label" in part:
        arrays["label"] = pa.array(part["label"], mask=part["label"] == NO_LABEL)
        arrays["class"] = classes.take(arrays["label"])
    if "labels" in part:
        arrays["labels"] = [
            None if row[0] == UNKNOWN else np.flatnonzero(row) for row in part["labels"]
        ]
        arrays["classes"] = [
            None if row is None else classes.take(pa.array(row)).to_pylist()
            for row in arrays["labels"]
        ]
    return pa.table([pa.array(arrays[f.name]).cast(f.type) for f in schema], schema=schema)


def _points(lat: npt.NDArray[np.float64], lon: npt.NDArray[np.float64]) -> list[bytes | None]:
    points = np.empty(len(lat), _WKB)
    points["order"], points["type"], points["x"], points["y"] = 1, 1, lon, lat
    known = ~np.isnan(lat)
    return [p.tobytes() if is_known else None for p, is_known in zip(points, known, strict=True)]
