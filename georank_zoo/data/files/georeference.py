"""Where a raster lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import shorten
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio._err import CPLE_BaseError  # refusals that rasterio passes on untranslated
from rasterio.errors import CRSError
from rasterio.warp import transform as transform_points

from georank_zoo.utils.errors import BadItem

_WGS84 = "EPSG:4326"


@contextmanager
def placing(dataset: Any) -> Iterator[None]:
    """Positions are computed in here.

    Raises:
        BadItem: If nothing leads from the raster's CRS to latitude and longitude.
    """
    try:
        yield
    except (CRSError, CPLE_BaseError) as error:
        crs = shorten(str(dataset.crs), 60, placeholder="...")
        raise BadItem(f"no CRS: {crs} does not lead to latitude and longitude") from error


def require_crs(dataset: Any) -> None:
    """Refuses a raster without a coordinate reference system of the Earth or a geotransform."""
    if not is_georeferenced(dataset):
        raise BadItem("no CRS: the file does not say where it lies")


def is_georeferenced(dataset: Any) -> bool:
    """Whether a raster has a geographic or projected CRS, not a local one, and a geotransform."""
    crs = dataset.crs
    located = crs is not None and (crs.is_geographic or crs.is_projected)
    return located and not dataset.transform.is_identity


def centers(
    dataset: Any, corners: Sequence[tuple[int, int]], size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Positions of the windows' centers.

    Args:
        dataset: An open raster with a CRS.
        corners: Row and column of the windows' corners.
        size: Height and width of a window.

    Returns:
        Latitude and longitude (n, 2), WGS84 degrees.

    Raises:
        BadItem: If the CRS does not lead to a position on the globe.
    """
    rows, cols = np.array(corners, np.float64).reshape(-1, 2).T + np.array(size)[:, None] / 2
    to = dataset.transform
    x, y = to.a * cols + to.b * rows + to.c, to.d * cols + to.e * rows + to.f
    with placing(dataset):
        lon, lat = transform_points(dataset.crs, _WGS84, x.tolist(), y.tolist())
    latlon = np.stack((lat, lon), axis=1)
    # Written so that NaN and infinity are invalid too.
    if not bool((np.abs(latlon) <= (90, 180)).all()):
        raise BadItem(f"position off the globe: lat {lat[0]:g}, lon {lon[0]:g}")
    return latlon


def footprints(
    dataset: Any, corners: Sequence[tuple[int, int]], size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Corners of the windows on the ground, in order around each.

    Args:
        dataset: An open raster with a CRS.
        corners: Row and column of the windows' corners.
        size: Height and width of a window.

    Returns:
        Latitude and longitude (n, 4, 2), WGS84 degrees, longitudes from -180 to 180; NaN where the
        CRS does not lead to a position.

    Raises:
        BadItem: If nothing leads from the CRS to positions.
    """
    around = np.array([(0, 0), (0, 1), (1, 1), (1, 0)]) * np.array(size)
    rows, cols = (np.array(corners).reshape(-1, 1, 2) + around).reshape(-1, 2).T
    to = dataset.transform
    x, y = to.a * cols + to.b * rows + to.c, to.d * cols + to.e * rows + to.f
    with placing(dataset):
        lon, lat = (np.array(v) for v in transform_points(dataset.crs, _WGS84, x, y))
    off = ~(np.isfinite(lon) & (np.abs(lat) <= 90 + 1e-9))
    latlon = np.stack((np.clip(lat, -90, 90), (lon + 180) % 360 - 180), axis=-1)
    latlon[off] = np.nan
    return np.asarray(latlon.reshape(-1, 4, 2))
