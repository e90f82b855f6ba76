"""Patches whose bands are files of their own, each at its native resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georank_zoo import bands as s2
from georank_zoo.data.files import convert, georeference, raster
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
    present = {path.name for path in folder.iterdir()}
    missing = [band for band, name in names.items() if name not in present]
    if missing:
        raise BadItem(f"missing band: {', '.join(missing)}")
    return {band: folder / name for band, name in names.items()}


def read_bands(
    files: Mapping[str, Path], bands: Sequence[str], *, side: int, size: int, offset: int = 0
) -> tuple[npt.NDArray[np.uint16], float, float, npt.NDArray[np.float64]]:
    """Reads a patch on the grid of its 10 m bands.

    Bands of 20 and 60 m are enlarged bilinearly, as torchgeo does for BigEarthNet and the
    authors do for SSL4EO-S12: nearest neighbors would leave blocks of 2 and 6 pixels, whose
    edges are the strongest ones that a network sees.

    Args:
        files: Files by band, B02 among them.
        bands: Bands wanted, in channel order.
        side: Side of the 10 m files in pixels; that of the others follows.
        size: Side of the center to take, in pixels of 10 m.
        offset: DN to subtract: 1000 for processing baseline >= 04.00.

    Returns:
        Digital numbers (bands, size, size), the center's latitude and longitude in degrees, and
        those of the corners (4, 2).

    Raises:
        BadItem: If a file is damaged, not of the published form or off the others' place, or
            there is no data.
    """
    with raster.opened(files[_GRID_BAND]) as grid:
        _require_form(grid, _GRID_BAND, side)
        ((lat, lon),) = georeference.centers(grid, [(0, 0)], (side, side))
        margin = (side - size) // 2
        (footprint,) = georeference.footprints(grid, [(margin, margin)], (size, size))
        whole = np.stack([_read_band(files[band], band, grid) for band in bands])
    center = whole[:, margin : margin + size, margin : margin + size]
    convert.require_some_data(center)
    pixels, missing = convert.harmonize(center, "dn", offset=offset)
    if (share := float(missing.mean())) > convert.MAX_NODATA:
        raise BadItem(f"pixels without data: {share:.0%}")
    return pixels, float(lat), float(lon), footprint


def _read_band(file: Path, band: str, grid: Any) -> npt.NDArray[np.uint16]:
    if band == _GRID_BAND:
        pixels: npt.NDArray[np.uint16] = grid.read(1)
        return pixels
    with raster.opened(file) as dataset:
        _require_form(dataset, band, grid.width)
        # SSL4EO-S12 was cut band by band, each to whole pixels of its own.
        slack = abs(dataset.transform.a)
        if dataset.crs != grid.crs or not np.allclose(
            dataset.bounds, grid.bounds, rtol=0, atol=slack
        ):
            raise BadItem(f"mixed footprints: {band}")
        return raster.read_on_grid(dataset, grid.shape)


def _require_form(dataset: Any, band: str, side: int) -> None:
    raster.require_band_count(dataset, 1)
    raster.require_uint16(dataset)
    georeference.require_crs(dataset)
    native = side * _GRID_M // s2.BY_NAME[band].native_m
    if dataset.shape != (native, native):
        raise BadItem(
            f"mixed sizes: {band} is {dataset.height} x {dataset.width}, not {native} x {native}"
        )
