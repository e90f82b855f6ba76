"""Patches whose bands are files of their own, each at its native resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georank_zoo import bands as s2
from georank_zoo.data.files import convert, georeference, radiometry, raster, validity
from georank_zoo.data.files.listing import THE_FOLDER, has_suffix, list_level
from georank_zoo.data.files.radiometry import Radiometry
from georank_zoo.data.files.values import judge
from georank_zoo.utils.errors import BadItem

_GRID_BAND = "B02"  # 10 m; its grid is the patch's
_GRID_M = 10


def find(folder: Path, names: Mapping[str, str]) -> dict[str, Path]:
    """The files of a patch by band.

    Args:
        folder: The patch's folder.
        names: File names by band.

    Raises:
        BadItem: If one is missing.
    """
    level = list_level(folder, lambda name: has_suffix(name, raster.TIFF_SUFFIXES))
    present = {_plain_name(name): name for name in level.files}
    found = {band: present.get(_plain_name(name)) for band, name in names.items()}
    if missing := [band for band, name in found.items() if name is None]:
        # A band that is a dangling link is there, in a way.
        reasons = {_plain_name(entry): reason for entry, reason in level.bad}
        why = reasons.get(THE_FOLDER) or reasons.get(_plain_name(names[missing[0]]), "missing band")
        raise BadItem(why if THE_FOLDER in reasons else f"{why}: {', '.join(missing)}")
    return {band: folder / name for band, name in found.items() if name is not None}


def _plain_name(name: str) -> str:
    """The name as published: `B02.TIF` and `B02.tiff` are `b02.tif`."""
    return name.lower().removesuffix("f") if name.lower().endswith(".tiff") else name.lower()


def read_bands(
    files: Mapping[str, Path],
    bands: Sequence[str],
    *,
    side: int,
    size: int,
    root: Path,
    default: str,
    claims: Sequence[radiometry.Claim] = (),
) -> tuple[npt.NDArray[np.uint16], float, float, npt.NDArray[np.float64], Radiometry]:
    """Reads a patch on the grid of its 10 m bands.

    Bands of 20 and 60 m are enlarged bilinearly, as torchgeo does for BigEarthNet and the
    authors do for SSL4EO-S12: nearest neighbors would leave blocks of 2 and 6 pixels, whose
    edges are the strongest ones that a network sees.

    Args:
        files: Files by band, B02 among them.
        bands: Bands wanted, in channel order.
        side: Side of the 10 m files in pixels; that of the others follows.
        size: Side of the center to take, in pixels of 10 m.
        root: The source folder.
        default: What the data set holds, in words.
        claims: What the data set's own metadata says of the numbers.

    Returns:
        Digital numbers (bands, size, size), the center's latitude and longitude in degrees, and
        those of the corners (4, 2), and what was applied.

    Raises:
        BadItem: If a file is damaged, not of the published form or off the others' place, its
            numbers contradict what is said of them, or there is no data.
    """
    with raster.opened(files[_GRID_BAND]) as grid:
        _require_form(grid, _GRID_BAND, side)
        ((lat, lon),) = georeference.centers(grid, [(0, 0)], (side, side))
        margin = (side - size) // 2
        (footprint,) = georeference.footprints(grid, [(margin, margin)], (size, size))
        read = [_read_band(files[band], band, grid) for band in bands]
    meaning = radiometry.find_radiometry(
        [band.source for band in read], bands, root=root, claims=claims, default=default
    )
    center = (slice(margin, margin + size),) * 2
    values = np.stack([band.values[center] for band in read])
    convert.require_some_data(values)
    missing = validity.fill(values, meaning) | np.any([b.hidden[center] for b in read], axis=0)
    missing |= validity.nothing(
        np.stack([band.zero[center] for band in read]),
        [s2.BY_NAME[band].native_m > _GRID_M for band in bands],
    )
    judge(values[:, ~missing], meaning)
    pixels, missing = convert.harmonize(values, missing, meaning)
    if (share := float(missing.mean())) > convert.MAX_NODATA:
        raise BadItem(f"pixels without data: {share:.0%}")
    return pixels, float(lat), float(lon), footprint, meaning


@dataclass(frozen=True)
class BandFile:
    """What one file gives on a grid.

    Attributes:
        values: Its numbers (H, W).
        hidden: Where it declares no data, or a pixel that was mixed does (H, W).
        zero: Where it is zero, or a pixel that was mixed is (H, W).
        source: What it says of its numbers.
    """

    values: npt.NDArray[np.uint16]
    hidden: npt.NDArray[np.bool_]
    zero: npt.NDArray[np.bool_]
    source: radiometry.Source


def on_grid(dataset: Any, shape: tuple[int, int]) -> BandFile:
    """Reads a one-band raster on another grid of the same bounds, bilinearly."""
    native = dataset.read(1)
    hidden = validity.declared(dataset, [1], None, native[None], [1.0])
    (source,) = radiometry.sources_of(dataset, [1])
    if dataset.shape == shape:
        return BandFile(native, hidden, native == 0, source)
    values = raster.read_on_grid(dataset, shape)
    zero = native == 0
    if not (hidden.any() or zero.any()):
        none = np.zeros(shape, bool)
        return BandFile(values, none, none, source)
    return BandFile(values, validity.onto(hidden, shape), validity.onto(zero, shape), source)


def _read_band(file: Path, band: str, grid: Any) -> BandFile:
    if band == _GRID_BAND:
        return on_grid(grid, grid.shape)
    with raster.opened(file) as dataset:
        _require_form(dataset, band, grid.width)
        # SSL4EO-S12 was cut band by band, each to whole pixels of its own.
        own, other = georeference.grid_of(dataset), georeference.grid_of(grid)
        slack = abs(own.transform.a)
        if own.crs != other.crs or not np.allclose(own.bounds, other.bounds, rtol=0, atol=slack):
            raise BadItem(f"mixed footprints: {band}")
        return on_grid(dataset, grid.shape)


def _require_form(dataset: Any, band: str, side: int) -> None:
    raster.require_band_count(dataset, 1)
    raster.require_uint16(dataset)
    georeference.require_crs(dataset)
    native = side * _GRID_M // s2.BY_NAME[band].native_m
    if dataset.shape != (native, native):
        raise BadItem(
            f"mixed sizes: {band} is {dataset.height} x {dataset.width}, not {native} x {native}"
        )
