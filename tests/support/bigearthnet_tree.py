"""A miniature BigEarthNet in the exact published layouts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from georank_zoo.bands import BY_NAME, S2_12
from tests.support.trees import noise, write_tif

EARLY = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
LATE = "S2B_MSIL2A_20170808T094029_N9999_R036_T33UUP"

# Patch, labels, part and the name in version 1. The first two are dates of one place.
ROWS = [
    (f"{EARLY}_26_57", ["Mixed forest", "Arable land"], "train",
     "S2A_MSIL2A_20170613T101031_26_57"),
    (f"{LATE}_26_57", ["Arable land"], "train", "S2B_MSIL2A_20170808T94029_26_57"),
    (f"{EARLY}_27_55", ["Marine waters"], "validation", "S2A_MSIL2A_20170613T101031_27_55"),
    (f"{LATE}_28_56", ["Pastures", "Urban fabric"], "test", "S2B_MSIL2A_20170808T94029_28_56"),
]  # fmt: skip
SNOWY = (f"{LATE}_30_30", ["Pastures"], "train", "S2B_MSIL2A_20170808T94029_30_30")
UNKNOWN_PATCH = f"{EARLY}_31_31"
CORINE_LABELS = {
    ROWS[0][3]: ["Non-irrigated arable land", "Rice fields", "Mixed forest"],
    ROWS[1][3]: ["Non-irrigated arable land", "Airports"],
    ROWS[2][3]: ["Sea and ocean"],
    ROWS[3][3]: ["Pastures", "Discontinuous urban fabric"],
}


def write_patch(folder: Path, seed: int) -> None:
    """Files of 120, 60 and 20 px at the place that the patch's name tells: column and row."""
    column, row = map(int, folder.name.split("_")[-2:])
    left, top = 300_000 + 1200 * column, 5_400_000 - 1200 * row
    for n, band in enumerate(S2_12):
        side = 1200 // BY_NAME[band].native_m
        write_tif(
            folder / f"{folder.name}_{band}.tif", noise((1, side, side), 100 * seed + n),
            crs="EPSG:32633", bounds=(left, top - 1200, left + 1200, top),
        )  # fmt: skip


def write_metadata(
    path: Path, rows: Sequence[tuple[str, list[str], str, str]], snow: bool = False
) -> None:
    columns = list(zip(*rows, strict=True))
    table = {
        "patch_id": columns[0], "labels": columns[1], "split": columns[2],
        "country": ["Austria"] * len(rows), "s1_name": ["S1"] * len(rows),
        "s2v1_name": columns[3], "contains_seasonal_snow": [snow] * len(rows),
        "contains_cloud_or_shadow": [False] * len(rows),
    }  # fmt: skip
    pq.write_table(pa.table(table), path)


def version_2(root: Path) -> Path:
    for seed, name in enumerate([*(row[0] for row in ROWS), SNOWY[0], UNKNOWN_PATCH]):
        write_patch(root / "BigEarthNet-S2" / name.rsplit("_", 2)[0] / name, seed)
    write_metadata(root / "metadata.parquet", ROWS)
    return root


def version_1(root: Path) -> Path:
    for seed, (_, _, _, name) in enumerate(ROWS):
        folder = root / "BigEarthNet-v1.0" / name
        write_patch(folder, seed)
        text = json.dumps({"labels": CORINE_LABELS[name], "projection": "..."})
        (folder / f"{name}_labels_metadata.json").write_text(text)
    return root


def for_torchgeo(root: Path) -> None:
    """What torchgeo wants beside the patches that are read here."""
    (root / "BigEarthNet-S1").mkdir()
    for name, *_ in ROWS:
        folder = root / "Reference_Maps" / name.rsplit("_", 2)[0] / name
        write_tif(folder / f"{name}_reference_map.tif", np.full((1, 120, 120), 211, np.uint16))
    for part in ("train", "val", "test"):
        lines = [f"{row[3]},S1" for row in ROWS if row[2].startswith(part)]
        (root / f"bigearthnet-{part}.csv").write_text("\n".join(lines))
