"""Miniature HDF5 and netCDF data sets in the exact published layouts."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np

from georank_zoo.data.readers.base import Reader, Reading
from tests.support.trees import noise


def read_all(reader: Reader) -> Reading:
    whole = Reading([])
    for item in reader.items():
        reading = reader.read(item)
        whole.patches.extend(reading.patches)
        whole.left_out.extend(reading.left_out)
    return whole


def edit(path: Path, name: str, value: Any) -> None:
    """Replaces a dataset of a file, or deletes it where the value is None."""
    with h5py.File(path, "r+") as file:
        attributes = dict(file[name].attrs) if name in file else {}
        if name in file:
            del file[name]
        if value is not None:
            file.create_dataset(name, data=value)
            if "units" in attributes:
                file[name].attrs["units"] = attributes["units"]


def so2sat_file(path: Path, count: int, seed: int = 0) -> Path:
    """`sen1`, `sen2` and `label` as float64; sample k is of class k modulo 17."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    dn = random.integers(1, 28_000, (count, 32, 32, 10))
    with h5py.File(path, "w") as file:
        file["sen1"] = random.normal(size=(count, 32, 32, 8))
        file["sen2"] = dn / 10_000
        file["label"] = np.eye(17)[np.arange(count) % 17]
    return path


def so2sat_tree(root: Path, split: str = "random", train: int = 20, test: int = 9) -> Path:
    so2sat_file(root / split / "training.h5", train, seed=1)
    so2sat_file(root / split / "testing.h5", test, seed=2)
    return root / split


S4A_SIDE = {
    "B01": 61, "B02": 366, "B03": 366, "B04": 366, "B05": 183, "B06": 183, "B07": 183,
    "B08": 366, "B09": 61, "B10": 61, "B11": 183, "B12": 183, "B8A": 183,
}  # fmt: skip
S4A_CORNER = (400_000.0, 4_600_000.0)  # of the file, in UTM zone 31


def s4a_labels() -> np.ndarray:
    """Crop codes: wheat and peas in the first window, too few pixels of rapeseed, else nothing.

    The last window has tobacco, of the last group.
    """
    codes = np.zeros((366, 366), np.uint32)
    codes[0:10, 0:10] = 110
    codes[20:22, 0:13] = 770  # 26 pixels: just enough
    codes[30, 0:25] = 435  # 25 pixels: one too few
    codes[250:300, 250:300] = 960
    return codes


def s4a_file(
    root: Path,
    *,
    year: int = 2020,
    tile: str = "31TCG",
    patch: str = "patch_14_14",
    days: Sequence[int] = (0, 5, 10),
    labels: np.ndarray | None = None,
) -> Path:
    """A file as xarray 0.17 writes it: a group a band, integer days since the first date."""
    row, col = (int(number) - 14 for number in patch.split("_")[1:])  # of the patches of a tile
    name = f"{year}_{tile}_{patch}"
    path = root / str(year) / tile / f"{name}.nc"
    path.parent.mkdir(parents=True, exist_ok=True)
    with netCDF4.Dataset(path, "w", format="NETCDF4") as file:
        file.title = "S4A Patch Dataset"
        file.patch_full_name, file.patch_year, file.patch_name = name, str(year), patch
        file.patch_country_code, file.patch_tile = "ES", tile
        for seed, (band, side) in enumerate(S4A_SIDE.items()):
            group = file.createGroup(band)
            _grid(group, side, row, col)
            group.createDimension("time", len(days))
            time = group.createVariable("time", "i8", ("time",))
            time.units = f"days since {year}-01-03 00:00:00"
            time.calendar = "proleptic_gregorian"
            time[:] = days
            variable = group.createVariable(band, "u2", ("time", "y", "x"), zlib=True)
            variable.crs = "+init=epsg:32631"
            variable[:] = noise((len(days), side, side), [seed, year, row + 14, col + 14])
        for layer, values in {
            "labels": s4a_labels() if labels is None else labels,
            "parcels": np.ones((366, 366), np.uint32),
        }.items():
            group = file.createGroup(layer)
            _grid(group, 366, row, col)
            group.createVariable(layer, "u4", ("y", "x"), zlib=True)[:] = values
    return path


def _grid(group: netCDF4.Group, side: int, row: int, col: int) -> None:
    pixel = 3660 / side
    left, top = S4A_CORNER[0] + 3660 * col, S4A_CORNER[1] - 3660 * row
    group.createVariable("band", "i8", ())[...] = 1
    for axis, start, step in (("y", top - pixel / 2, -pixel), ("x", left + pixel / 2, pixel)):
        group.createDimension(axis, side)
        group.createVariable(axis, "f8", (axis,))[:] = start + step * np.arange(side)


CASHEW_BANDS = (
    "01 - Coastal aerosol", "02 - Blue", "03 - Green", "04 - Red", "05 - Vegetation Red Edge",
    "06 - Vegetation Red Edge", "07 - Vegetation Red Edge", "08 - NIR",
    "08A - Vegetation Red Edge", "09 - Water vapour", "11 - SWIR", "12 - SWIR",
    "Cloud Probability",
)  # fmt: skip


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.mkdir, (str(self.path),)


def cashew_tree(root: Path) -> Path:
    """Three chips at two dates each: chip k has class k + 1 all over but for the first row.

    Band k of a file, counted from 0, holds 1000 + k in its first row. Samples 0 and 1 are of one
    chip and for training, 2 and 3 for validation, 4 and 5 for testing.
    """
    root.mkdir(parents=True)
    bomb = str(pickle.dumps(Bomb(root / "unpickled")))
    for sample in range(6):
        date = ("2019-11-15", "2019-11-20")[sample % 2]
        with h5py.File(root / f"sample_{sample}.hdf5", "w") as file:
            for k, name in enumerate(CASHEW_BANDS):
                pixels = noise((256, 256), 100 * sample + k).astype(np.float32)
                pixels[0] = 1000 + k
                if name == "Cloud Probability":
                    pixels = pixels % 101
                file.create_dataset(f"{name}_{date}", data=pixels)
            mask = np.full((256, 256), sample // 2 + 1, np.int64)
            mask[0] = 6
            file.create_dataset("label", data=mask)
            file.attrs["pickle"] = bomb
    (root / "task_specs.pkl").write_bytes(pickle.dumps(Bomb(root / "unpickled")))
    parts = {"train": [0, 1], "valid": [2, 3], "test": [4, 5]}
    write_partition(root, {part: [f"sample_{k}" for k in ks] for part, ks in parts.items()})
    return root


def write_partition(root: Path, parts: Any) -> None:
    (root / "default_partition.json").write_text(json.dumps(parts, indent=2))
