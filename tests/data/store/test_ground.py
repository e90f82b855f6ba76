"""Areas, sides and squares on the Earth, against shapely and pyproj."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from pyproj import Geod

from georank_zoo.data.store.ground import overlaps, sides, squares, to_ground

CORNERS = np.array([(0, 0), (0, 1), (-1, 1), (-1, 0)])  # latitude, longitude


def test_overlaps_are_those_of_shapely() -> None:
    rng = np.random.default_rng(0)
    one = 0.01 * CORNERS + rng.normal(0, 1e-3, (500, 1, 2)) + rng.normal(0, 3e-4, (500, 4, 2))
    other = 0.006 * CORNERS[::-1] + rng.normal(0, 4e-3, (500, 1, 2))
    of_smaller, of_union = overlaps(to_ground(one), to_ground(other))
    a, b = shapely.polygons(one), shapely.polygons(other)
    common = shapely.area(shapely.intersection(a, b))
    smaller = np.minimum(shapely.area(a), shapely.area(b))
    np.testing.assert_allclose(of_smaller, common / smaller, atol=1e-5)
    np.testing.assert_allclose(of_union, common / shapely.area(shapely.union(a, b)), atol=1e-5)


def test_equal_touching_inner_and_empty_footprints() -> None:
    one = np.repeat(0.01 * CORNERS[None], 4, axis=0)
    other = one.copy()
    other[1, :, 1] += 0.01  # shares an edge
    other[2] /= 2  # shares a corner, within
    other[3] = 0
    of_smaller, of_union = overlaps(to_ground(one), to_ground(other))
    np.testing.assert_allclose(of_smaller, [1, 0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(of_union, [1, 0, 0.25, 0], atol=1e-6)


@pytest.mark.parametrize("center", [(0, 0), (50, 9), (-16, 180), (89.9999, -30)])
def test_squares_have_their_side_anywhere(center: tuple[float, float]) -> None:
    ground = squares(np.array([center]), 640)
    np.testing.assert_allclose(sides(ground), 640, rtol=1e-9)
    np.testing.assert_allclose(ground.mean(axis=1), to_ground(np.array([center])), atol=1e-6)


def test_sides_are_true_meters() -> None:
    lat, lon = 50 + 0.005 * CORNERS[:, 0], 9 + 0.008 * CORNERS[:, 1]
    geod = Geod(ellps="WGS84")
    _, _, meters = geod.inv(lon, lat, np.roll(lon, -1), np.roll(lat, -1))
    side = np.sqrt((meters[0] + meters[2]) / 2 * (meters[1] + meters[3]) / 2)
    np.testing.assert_allclose(sides(to_ground(np.stack((lat, lon), -1)[None])), side, rtol=1e-6)
