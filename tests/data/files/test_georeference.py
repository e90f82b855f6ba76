"""Where rasters lie: by geotransform and by control points, on all of the globe, in meters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine
from rasterio.warp import transform as transform_points

from georank_zoo.data.files import georeference, raster
from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.readers.labels.points import Points
from georank_zoo.embed.tiles import open_scene
from georank_zoo.utils.errors import BadItem
from tests.support.trees import UTM31, noise, write_tif

SIDE = 32
UTM = Affine(10, 0, 500_000, 0, -10, 5_000_000)


def placed(path: Path, transform: Affine, crs: str = UTM31) -> Path:
    write_tif(path, noise((2, SIDE, SIDE)), crs=crs, descriptions=("B02", "B03"))
    with rasterio.open(path, "r+") as dataset:
        dataset.transform = transform
    return path


def with_gcps(path: Path, points: Sequence[tuple[float, float, float, float]]) -> Path:
    """Points are row, column, x, y."""
    write_tif(path, noise((2, SIDE, SIDE)), crs=None, descriptions=("B02", "B03"))
    with rasterio.open(path, "r+") as dataset:
        dataset.gcps = ([GroundControlPoint(*point) for point in points], UTM31)
    return path


def at(transform: Affine, *pixels: tuple[int, int]) -> list[tuple[float, float, float, float]]:
    return [(row, col, *(transform @ (col, row))) for row, col in pixels]


def center(path: Path) -> npt.NDArray[np.float64]:
    with raster.opened(path) as dataset:
        return georeference.centers(dataset, [(0, 0)], dataset.shape)[0]


@pytest.mark.parametrize(
    "transform",
    [
        UTM,
        Affine(10, 0, 500_000, 0, 10, 4_999_680),  # south-up
        UTM @ Affine.rotation(30),
    ],
)
def test_control_points_do_as_well_as_a_geotransform(tmp_path: Path, transform: Affine) -> None:
    corners = at(transform, (0, 0), (0, SIDE), (SIDE, 0), (SIDE, SIDE))
    x, y = transform @ (SIDE / 2, SIDE / 2)
    lon, lat = transform_points(UTM31, "EPSG:4326", [x], [y])
    plain, gcps = placed(tmp_path / "a.tif", transform), with_gcps(tmp_path / "b.tif", corners)
    np.testing.assert_allclose(center(plain), (lat[0], lon[0]), rtol=0, atol=1e-9)
    np.testing.assert_allclose(center(gcps), (lat[0], lon[0]), rtol=0, atol=1e-9)
    with open_scene(gcps) as scene:
        assert scene.crs == rasterio.CRS.from_user_input(UTM31)
        assert scene.transform.almost_equals(transform, 1e-6)
    with raster.opened(plain) as dataset:
        x, y = zip(*(transform @ p for p in ((0, 0), (0, 32), (32, 0), (32, 32))), strict=True)
        bounds = georeference.grid_of(dataset).bounds
        assert bounds == pytest.approx((min(x), min(y), max(x), max(y)))


def test_files_of_control_points_are_prepared_where_they_lie(tmp_path: Path) -> None:
    corners = ((0, 0), (0, SIDE), (SIDE, 0))
    for n in range(2):
        shifted = Affine.translation(10_000 * n, 0) @ UTM
        with_gcps(tmp_path / "files" / f"{n}.tif", at(shifted, *corners))
    store = prepare_store(tmp_path / "files", tmp_path / "store").store
    assert store.header.footprints == 2  # of the same noise
    assert store.latlon[0] == pytest.approx((45.15, 3.0), abs=0.01)
    assert store.latlon[1, 1] - store.latlon[0, 1] == pytest.approx(0.127, abs=0.001)


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (at(UTM, (0, 0), (0, 32)), "2 of at least 3"),
        (
            [*at(UTM, (0, 0), (0, 32), (32, 0)), (32, 32, 500_380, 4_999_680)],
            r"misses a point by 1\.\d pixels; .*gdalwarp",
        ),
    ],
)
def test_control_points_without_a_grid(
    tmp_path: Path, points: list[tuple[float, float, float, float]], reason: str
) -> None:
    with pytest.raises(BadItem, match=f"^ground control points without a grid: .*{reason}"):
        center(with_gcps(tmp_path / "a.tif", points))


@pytest.mark.parametrize(
    ("crs", "transform", "expected"),
    [
        ("EPSG:4326", Affine(1e-4, 0, 181.2, 0, -1e-4, -16), (-16.0016, -178.7984)),
        ("EPSG:4326", Affine(1e-4, 0, -181.2, 0, -1e-4, -16), (-16.0016, 178.8016)),
        ("EPSG:4326", Affine(0.1, 0, 178.5, 0, -0.1, -16), (-17.6, -179.9)),  # across it
        ("EPSG:3857", Affine(10, 0, 20_137_508.34, 0, -10, -1.8e6), (-15.9605, -179.1002)),
        ("EPSG:4326", Affine(1e-4, 0, 179.9984, 0, -1e-4, 0), (-0.0016, 180)),
    ],
)
def test_longitudes_go_on_beyond_the_antimeridian(
    tmp_path: Path, crs: str, transform: Affine, expected: tuple[float, float]
) -> None:
    path = placed(tmp_path / "a.tif", transform, crs)
    np.testing.assert_allclose(center(path), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("corner", [(500, 10), (10, 95)])
def test_off_the_globe(tmp_path: Path, corner: tuple[float, float]) -> None:
    path = placed(tmp_path / "a.tif", Affine(1e-4, 0, corner[0], 0, -1e-4, corner[1]), "EPSG:4326")
    with pytest.raises(BadItem, match=r"^position off the globe: "):
        center(path)


@pytest.mark.parametrize(
    ("crs", "transform", "expected"),
    [
        (UTM31, UTM, 10.0),
        (UTM31, UTM @ Affine.rotation(30), 10.0),
        ("EPSG:32661", Affine(10, 0, 2e6, 0, -10, 2e6), 10.0),  # at the pole
        # cos(50 degrees) of the 10 that it says; latitudes are of the ellipsoid here.
        ("EPSG:3857", Affine(10, 0, 9e5, 0, -10, 6_446_275), 6.42),
        ("EPSG:4326", Affine(1e-4, 0, 10, 0, -1e-4, 0), 11.12),
        ("EPSG:4326", Affine(2e-4, 0, 10, 0, -1e-4, 60), 11.12),
    ],
)
def test_pixels_are_measured_on_the_ground(
    tmp_path: Path, crs: str, transform: Affine, expected: float
) -> None:
    with raster.opened(placed(tmp_path / "a.tif", transform, crs)) as dataset:
        assert georeference.pixel_size_m(dataset) == pytest.approx(expected, rel=0.01)


def test_a_labeled_point_lies_in_a_raster_of_control_points(tmp_path: Path) -> None:
    path = with_gcps(tmp_path / "a.tif", at(UTM, (0, 0), (0, SIDE), (SIDE, 0)))
    (lon,), (lat,) = transform_points(UTM31, "EPSG:4326", *([v] for v in UTM @ (5.5, 7.5)))
    points = Points(np.array([[lat, lon]]), np.array([3]))
    with raster.opened(path) as dataset:
        rows, cols, labels = points.on(dataset)
    assert (rows[0], cols[0], labels[0]) == pytest.approx((7.5, 5.5, 3), abs=1e-6)
