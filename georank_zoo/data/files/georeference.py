"""Where a raster lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio._err import CPLE_BaseError  # refusals that rasterio passes on untranslated
from rasterio.errors import CRSError
from rasterio.transform import Affine, from_gcps
from rasterio.warp import transform as transform_points

from georank_zoo.data.store.ground import to_ground
from georank_zoo.utils.errors import BadItem

_WGS84 = "EPSG:4326"

# Ground control points say where pixels lie as well as a geotransform does if it meets all of
# them this closely, in pixels.
_MAX_GCP_ERROR = 0.5


@dataclass(frozen=True)
class Grid:
    """Pixels of a raster on the Earth.

    Attributes:
        crs: Coordinate reference system, geographic or projected.
        transform: Geotransform: (column, row) of a pixel's upper left corner to x, y.
        shape: Height and width in pixels.
    """

    crs: Any
    transform: Affine
    shape: tuple[int, int]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Least x and y and largest x and y of the corners, however the grid is turned."""
        height, width = self.shape
        x, y = apply(self.transform, np.array((0, 0, width, width)), np.array((0, height) * 2))
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def grid_of(dataset: Any) -> Grid:
    """Where the pixels of a raster lie: by its geotransform, else by its ground control points.

    `dataset.crs`, `transform` and `bounds` are empty, or in pixels, for a raster that has only
    ground control points, so all ask here.

    Raises:
        BadItem: If it has no coordinate reference system of the Earth, neither geotransform nor
            ground control points, or points that no geotransform meets within half a pixel.
    """
    if _is_of_earth(dataset.crs) and not dataset.transform.is_identity:
        return Grid(dataset.crs, dataset.transform, dataset.shape)
    gcps, crs = dataset.gcps
    if not gcps or not _is_of_earth(crs):
        raise BadItem("no CRS: the file does not say where it lies")
    return Grid(crs, _through(gcps), dataset.shape)


def require_crs(dataset: Any) -> None:
    """Refuses a raster that does not say where its pixels lie (see `grid_of`)."""
    grid_of(dataset)


def is_georeferenced(dataset: Any) -> bool:
    """Whether a raster says where its pixels lie (see `grid_of`)."""
    try:
        grid_of(dataset)
    except BadItem:
        return False
    return True


def apply(
    transform: Affine, cols: npt.NDArray[Any], rows: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points (n,) in pixels to x and y (n,) by a geotransform; the other way by its inverse."""
    to = transform
    return to.a * cols + to.b * rows + to.c, to.d * cols + to.e * rows + to.f


def _is_of_earth(crs: Any) -> bool:
    """Whether a CRS is geographic or projected, not a local one."""
    return crs is not None and bool(crs.is_geographic or crs.is_projected)


def _through(gcps: Sequence[Any]) -> Affine:
    points = np.array([(g.col, g.row, g.x, g.y) for g in gcps], np.float64)
    flat = "ground control points without a grid"
    advice = "warp the file onto one with gdalwarp"
    if len(points) < 3:
        raise BadItem(f"{flat}: {len(points)} of at least 3; {advice}")
    transform = from_gcps(gcps)
    if not transform.determinant:
        raise BadItem(f"{flat}: they lie on a line; {advice}")
    cols, rows = apply(~transform, points[:, 2], points[:, 3])
    error = float(np.hypot(cols - points[:, 0], rows - points[:, 1]).max())
    if not error <= _MAX_GCP_ERROR:
        raise BadItem(f"{flat}: the best one misses a point by {error:.1f} pixels; {advice}")
    return transform


@contextmanager
def placing(dataset: Any) -> Iterator[None]:
    """Positions are computed in here.

    Raises:
        BadItem: If nothing leads from the raster's CRS to latitude and longitude.
    """
    try:
        yield
    except (CRSError, CPLE_BaseError) as error:
        crs = shorten(str(grid_of(dataset).crs), 60, placeholder="...")
        raise BadItem(f"no CRS: {crs} does not lead to latitude and longitude") from error


def centers(
    dataset: Any, corners: Sequence[tuple[int, int]], size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Positions of the windows' centers.

    Args:
        dataset: An open raster with a CRS.
        corners: Row and column of the windows' corners.
        size: Height and width of a window.

    Returns:
        Latitude and longitude (n, 2), WGS84 degrees, longitude in [-180, 180].

    Raises:
        BadItem: If the raster does not say where it lies, or not on the globe.
    """
    rows, cols = np.array(corners, np.float64).reshape(-1, 2).T + np.array(size)[:, None] / 2
    return latlon_at(dataset, rows, cols)


def latlon_at(
    dataset: Any, rows: npt.NDArray[np.float64], cols: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Positions of points in a raster.

    Args:
        dataset: An open raster with a CRS.
        rows: Rows (n,) of the points; 0.5 is the middle of the first.
        cols: Columns (n,).

    Returns:
        Latitude and longitude (n, 2), WGS84 degrees, longitude in [-180, 180].

    Raises:
        BadItem: If the raster does not say where it lies, or not on the globe.
    """
    grid = grid_of(dataset)
    x, y = apply(grid.transform, cols, rows)
    with placing(dataset):
        lon, lat = transform_points(grid.crs, _WGS84, x.tolist(), y.tolist())
    latlon = np.stack((lat, lon), axis=1)
    # A raster of degrees may go on beyond the antimeridian, or count from 0 to 360.
    beyond = (np.abs(latlon[:, 1]) > 180) & (np.abs(latlon[:, 1]) <= 360)
    latlon[beyond, 1] -= np.copysign(360, latlon[beyond, 1])
    # Written so that NaN and infinity are invalid too.
    on_globe = (np.abs(latlon) <= (90, 180)).all(axis=1)
    if not bool(on_globe.all()):
        lat, lon = latlon[~on_globe][0]
        raise BadItem(f"position off the globe: lat {lat:g}, lon {lon:g}")
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
        BadItem: If the raster does not say where it lies, or nothing leads to positions.
    """
    around = np.array([(0, 0), (0, 1), (1, 1), (1, 0)]) * np.array(size)
    rows, cols = (np.array(corners).reshape(-1, 1, 2) + around).reshape(-1, 2).T
    grid = grid_of(dataset)
    to = grid.transform
    x, y = to.a * cols + to.b * rows + to.c, to.d * cols + to.e * rows + to.f
    with placing(dataset):
        lon, lat = (np.array(v) for v in transform_points(grid.crs, _WGS84, x, y))
    off = ~(np.isfinite(lon) & (np.abs(lat) <= 90 + 1e-9))
    latlon = np.stack((np.clip(lat, -90, 90), (lon + 180) % 360 - 180), axis=-1)
    latlon[off] = np.nan
    return np.asarray(latlon.reshape(-1, 4, 2))


def pixel_size_m(dataset: Any) -> float:
    """Side in meters, on the ground, of a square as large as the raster's central pixel.

    The unit of a CRS is not it: in EPSG:3857, 10 "m" at 50 degrees north are 6.4 m on the
    ground, and degrees are none at all.

    Raises:
        BadItem: If the raster does not say where it lies, or not on the globe.
    """
    down, across = pixel_sides_m(dataset)
    return float(np.sqrt(down * across))


def pixel_sides_m(dataset: Any) -> tuple[float, float]:
    """Height and width in meters, on the ground, of the raster's central pixel.

    Raises:
        BadItem: If the raster does not say where it lies, or not on the globe.
    """
    row, col = (side // 2 for side in dataset.shape)
    latlon = latlon_at(dataset, np.array([row, row + 1.0, row]), np.array([col, col, col + 1.0]))
    pixel = to_ground(latlon)
    down, across = np.linalg.norm(pixel[1:] - pixel[0], axis=-1).tolist()
    return down, across
