"""Footprints on the Earth in meters: where no zone, no antimeridian and no pole is a border."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# WGS84
_A = 6_378_137.0
_E2 = 6.694_379_990_141_316e-3

Meters = npt.NDArray[np.float64]


def to_ground(latlon: npt.NDArray[np.float64]) -> Meters:
    """Latitudes and longitudes (..., 2) in degrees as earth-centered meters (..., 3)."""
    lat, lon = np.moveaxis(np.deg2rad(latlon), -1, 0)
    normal = _A / np.sqrt(1 - _E2 * np.sin(lat) ** 2)
    return np.stack(
        (
            normal * np.cos(lat) * np.cos(lon),
            normal * np.cos(lat) * np.sin(lon),
            normal * (1 - _E2) * np.sin(lat),
        ),
        axis=-1,
    )


def squares(latlon: npt.NDArray[np.float64], side: float) -> Meters:
    """North-up squares around positions: their corners (n, 4, 3).

    Args:
        latlon: Centers (n, 2) in degrees.
        side: Side of the squares in meters.
    """
    lat, lon = np.deg2rad(latlon).T
    zero = np.zeros_like(lat)
    east = np.stack((-np.sin(lon), np.cos(lon), zero), axis=-1)
    north = np.stack((-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)), axis=-1)
    steps = np.array([(-1, 1), (1, 1), (1, -1), (-1, -1)]) * side / 2
    axes = np.stack((east, north), axis=1)
    return np.asarray(to_ground(latlon)[:, None] + np.einsum("cs,nsx->ncx", steps, axes))


def sides(ground: Meters) -> npt.NDArray[np.float64]:
    """Side (n,) in meters of the squares that are about as large as footprints (n, 4, 3)."""
    edges = np.linalg.norm(np.roll(ground, -1, axis=1) - ground, axis=-1)
    return np.asarray(np.sqrt((edges[:, 0] + edges[:, 2]) * (edges[:, 1] + edges[:, 3])) / 2)


def overlaps(one: Meters, other: Meters) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """How much of each pair of near footprints is common ground.

    Both are projected to the plane that touches the Earth between them.

    Args:
        one: Corners (n, 4, 3) of convex footprints.
        other: Corners (n, 4, 3) of those that they are compared with.

    Returns:
        Common area as a share of the smaller one (n,), and as a share of their union (n,).
    """
    middle = (one.mean(axis=1) + other.mean(axis=1)) / 2
    up = middle / np.linalg.norm(middle, axis=-1, keepdims=True)
    # Any two directions in the plane will do; the axis that is least upright gives the first.
    axis = np.eye(3)[np.abs(up).argmin(axis=1)]
    first = np.cross(up, axis)
    first /= np.linalg.norm(first, axis=-1, keepdims=True)
    plane = np.stack((first, np.cross(up, first)), axis=-1)
    a, b = ((corners - middle[:, None]) @ plane for corners in (one, other))
    (a, area_a), (b, area_b) = _counterclockwise(a), _counterclockwise(b)
    smaller = np.minimum(area_a, area_b)
    # A hair larger, so that no edges coincide: then the sums of both boundaries are exact.
    center = b.mean(axis=1, keepdims=True)
    b = center + (b - center) * (1 + 1e-7)
    common = np.clip(_within(a, b) + _within(b, a), 0, smaller)
    with np.errstate(invalid="ignore"):  # 0 / 0 of footprints without area
        shares = common / smaller, common / (area_a + area_b - common)
    return np.nan_to_num(shares[0]), np.nan_to_num(shares[1])


def _counterclockwise(
    corners: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Corners (n, 4, 2) in counterclockwise order, and areas (n,)."""
    area = _sectors(corners, np.roll(corners, -1, axis=1)).sum(axis=1)
    return np.where(area[:, None, None] < 0, corners[:, ::-1], corners), np.abs(area)


def _sectors(
    start: npt.NDArray[np.float64], end: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Signed areas of the triangles of edges (n, 4, 2) with the origin (Green's theorem)."""
    return np.asarray((start[..., 0] * end[..., 1] - start[..., 1] * end[..., 0]) / 2)


def _within(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Area (n,) that the parts of a's edges within b bound, seen from the origin.

    What bounds the common area of two convex polygons is that, of each of them.
    """
    edge = np.roll(a, -1, axis=1) - a
    low, high = np.zeros(a.shape[:2]), np.ones(a.shape[:2])
    for corner, following in zip(range(4), (1, 2, 3, 0), strict=True):
        border = b[:, None, following] - b[:, None, corner]
        inward = np.stack((-border[..., 1], border[..., 0]), axis=-1)
        start = ((a - b[:, None, corner]) * inward).sum(axis=-1)
        end = ((a + edge - b[:, None, corner]) * inward).sum(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):  # of edges that do not cross
            crossing = start / (start - end)
        low = np.where((start < 0) & (end >= 0), np.maximum(low, crossing), low)
        high = np.where((start >= 0) & (end < 0), np.minimum(high, crossing), high)
        high = np.where((start < 0) & (end < 0), -1, high)
    sectors = _sectors(a + low[..., None] * edge, a + high[..., None] * edge)
    return np.asarray(np.where(high > low, sectors, 0).sum(axis=1))
