"""Labels of points: which of them lie in a raster, and where in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.warp import transform as transform_points
from scipy.spatial import KDTree

from georank_zoo.data.files import georeference
from georank_zoo.data.store.patch import NO_LABEL

_WGS84 = "EPSG:4326"
_EDGE_STEPS = 8  # positions along each edge of a raster: edges are curved on the globe
_MARGIN = 1.05  # of a raster's radius; what lies outside is told apart in pixels


@dataclass(frozen=True)
class Points:
    """Labels with positions.

    Attributes:
        latlon: Latitude and longitude (P, 2) in degrees.
        labels: Class of each (P,).
    """

    latlon: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))
    labels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(_on_sphere(*self.latlon.T))

    def on(
        self, dataset: Any
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Rows, columns and labels of the points near a raster.

        A raster may be south-up, rotated, at a pole, and across the antimeridian or beyond 180
        degrees; its pixel (0, 0) lies at rows and columns from 0 to 1.

        Args:
            dataset: An open raster with a CRS.

        Raises:
            BadItem: If nothing leads from its CRS to latitude and longitude.
        """
        grid = georeference.grid_of(dataset)
        to = grid.transform
        rows, cols = _outline(grid.shape)
        x, y = to.a * cols + to.b * rows + to.c, to.d * cols + to.e * rows + to.f
        with georeference.placing(dataset):
            lon, lat = transform_points(grid.crs, _WGS84, x.tolist(), y.tolist())
        # The last position is the center.
        outline = _on_sphere(np.array(lat), np.array(lon))
        outline = outline[np.isfinite(outline).all(axis=1)]
        if not len(outline):
            return np.zeros(0), np.zeros(0), np.zeros(0, np.int64)
        radius = float(np.linalg.norm(outline - outline[-1], axis=1).max())
        near = np.array(sorted(self._tree.query_ball_point(outline[-1], _MARGIN * radius)), np.intp)
        lat, lon = self.latlon[near].T
        with georeference.placing(dataset):
            px, py = map(np.array, transform_points(_WGS84, grid.crs, lon.tolist(), lat.tolist()))
            turn = _full_turn(grid.crs, float(np.mean(self.latlon[near, 0]))) if len(near) else 0
        if turn:
            px = px + turn * np.round((x[-1] - px) / turn)
        back = ~to
        found_rows, found_cols = (
            back.d * px + back.e * py + back.f,
            back.a * px + back.b * py + back.c,
        )
        return found_rows, found_cols, self.labels[near]

    def of_windows(self, dataset: Any, corners: Sequence[tuple[int, int]], size: int) -> list[int]:
        """The label of the point in each window that is nearest to its center, or `NO_LABEL`.

        Args:
            dataset: An open raster with a CRS.
            corners: Row and column of the windows' corners.
            size: Side of a window in pixels.
        """
        rows, cols, labels = self.on(dataset)
        found = []
        for row, col in corners:
            inside = (rows >= row) & (rows < row + size) & (cols >= col) & (cols < col + size)
            distance = np.hypot(rows - row - size / 2, cols - col - size / 2)
            nearest = np.argmin(np.where(inside, distance, np.inf)) if inside.any() else None
            found.append(NO_LABEL if nearest is None else int(labels[nearest]))
        return found


def _outline(shape: tuple[int, int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rows and columns along the edges of a raster, and at last of its center."""
    height, width = shape
    steps = np.linspace(0, 1, _EDGE_STEPS)
    zeros, ones = np.zeros(_EDGE_STEPS), np.ones(_EDGE_STEPS)
    rows = np.concatenate((zeros, ones, steps, steps, [0.5]))
    cols = np.concatenate((steps, steps, zeros, ones, [0.5]))
    return rows * height, cols * width


def _on_sphere(
    lat: npt.NDArray[np.float64], lon: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Points (n, 3) on the unit sphere, where there is no antimeridian."""
    lat, lon = np.deg2rad(lat), np.deg2rad(lon)
    return np.stack((np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)), axis=1)


def _full_turn(crs: Any, lat: float) -> float:
    """How far x grows in 360 degrees of longitude; 0 where x does not measure longitude."""
    for west in (-10.0, 90.0):  # the map may be cut in one of the ranges, not in both
        x, y = transform_points(_WGS84, crs, [west, west + 10, west + 20], [lat] * 3)
        first, second = np.diff(x)
        if np.isfinite(x).all() and np.isclose(first, second, rtol=1e-6) and np.ptp(y) == 0:
            return float(36 * first)
    return 0.0
