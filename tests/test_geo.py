from __future__ import annotations

import numpy as np
import pytest
import torch

from georank_zoo.geo import EARTH_RADIUS_KM, check_latlon, great_circle_km, unit_vectors
from georank_zoo.utils.errors import UsageError

QUARTER = np.pi / 2 * EARTH_RADIUS_KM


@pytest.mark.parametrize(
    ("a", "b", "km"),
    [
        ((0, 0), (0, 90), QUARTER),
        ((0, 0), (90, 77), QUARTER),
        ((12, 179.5), (12, 179.5), 0),
        ((10, 20), (-10, -160), 2 * QUARTER),  # antipodes
        ((0, 179.5), (0, -179.5), QUARTER / 90),  # across the antimeridian
        ((48.8566, 2.3522), (51.5074, -0.1278), 343.56),  # Paris, London
    ],
)
def test_great_circle(a: tuple[float, float], b: tuple[float, float], km: float) -> None:
    distance = great_circle_km(torch.tensor([a]), torch.tensor([b]))
    assert distance.shape == (1, 1)
    assert float(distance) == pytest.approx(km, abs=0.05)


def test_great_circle_equals_the_angle_of_unit_vectors() -> None:
    rng = np.random.default_rng(0)
    latlon = torch.from_numpy(rng.uniform((-90, -180), (90, 180), (20, 2)))
    v = unit_vectors(latlon).numpy()
    cross = np.linalg.norm(np.cross(v[:, None], v[None]), axis=2)
    angle = np.arctan2(cross, v @ v.T)
    np.testing.assert_allclose(great_circle_km(latlon, latlon), EARTH_RADIUS_KM * angle, atol=1e-6)


def test_ten_meters_survive() -> None:
    step = np.rad2deg(0.01 / EARTH_RADIUS_KM)
    latlon = torch.tensor([[60.0, 10.0], [60.0 + step, 10.0]], dtype=torch.float64)
    assert float(great_circle_km(latlon, latlon)[0, 1]) == pytest.approx(0.01, rel=1e-6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[91.0, 0.0]], "row 0: lat 91"),
        ([[0.0, 0.0], [0.0, float("nan")]], "1 of 2 positions are invalid; the first is row 1"),
        ([[121.5, 31.2]], "look swapped"),
        ([[0.0, 0.0, 0.0]], "shape"),
    ],
)
def test_check_latlon_refuses(rows: list[list[float]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_latlon(torch.tensor(rows))


def test_check_latlon_accepts_the_borders() -> None:
    check_latlon(torch.tensor([[90.0, -180.0], [-90.0, 180.0]]))
