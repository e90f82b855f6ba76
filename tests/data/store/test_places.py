"""Places: which patches show the same ground."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from rasterio.warp import transform

from georank_zoo.data.files.radiometry import uniform
from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.store.describe import describe, facts_table, remarks, warnings
from georank_zoo.data.store.ground import squares, to_ground
from georank_zoo.data.store.patch import NO_POSITION, Patch
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.data.store.places import Places, find_places
from georank_zoo.data.store.writer import StoreWriter
from tests.support.trees import FOLDER_BANDS, noise, write_tif

Footprint = npt.NDArray[np.float64]


def square(
    x: float, y: float, side: float = 640, crs: str = "EPSG:32632", turn: float = 0
) -> Footprint:
    """Corners of a square whose center lies at x, y."""
    angle = np.deg2rad(turn + np.array([135, 45, -45, -135]))
    xs, ys = x + side / 2**0.5 * np.cos(angle), y + side / 2**0.5 * np.sin(angle)
    lon, lat = transform(crs, "EPSG:4326", xs, ys)
    return np.stack((lat, lon), axis=-1)


def at(lat: float, lon: float, crs: str, side: float = 640) -> Footprint:
    (x,), (y,) = transform("EPSG:4326", crs, [lon], [lat])
    return square(x, y, side, crs)


def found(*corners: Footprint, group: list[int] | None = None) -> tuple[list[int], list[int]]:
    count = len(corners)
    places = find_places(
        to_ground(np.array(corners)),
        np.arange(count) if group is None else np.array(group),
        np.zeros(count, np.int64),
    )
    return places.place.tolist(), places.footprint.tolist()


X, Y = 500_000, 5_000_000


@pytest.mark.parametrize(
    ("corners", "place", "footprint"),
    [
        ([square(X, Y), square(X, Y)], [0, 0], [0, 0]),
        ([square(X, Y), square(X, Y)[::-1], square(X, Y)[[2, 3, 0, 1]]], [0] * 3, [0] * 3),
        # 20 m of 640 off: 0.94 of the union; 40 m: 0.88
        ([square(X, Y), square(X + 20, Y)], [0, 0], [0, 0]),
        ([square(X, Y), square(X + 40, Y)], [0, 0], [0, 1]),
        # Neighbors touch, or overlap by the jitter of positions, or by 9 % and 11 %.
        ([square(X, Y), square(X + 640, Y), square(X, Y + 639.6)], [0, 1, 2], [0, 1, 2]),
        ([square(X, Y), square(X + 582, Y)], [0, 1], [0, 1]),
        ([square(X, Y), square(X + 570, Y)], [0, 0], [0, 1]),
        # A chain: first and last share nothing.
        ([square(X + 320 * n, Y) for n in range(5)], [0] * 5, [0, 1, 2, 3, 4]),
        ([square(X, Y), square(X + 320, Y), square(X + 5000, Y)], [0, 0, 1], [0, 1, 2]),
        # Turned by 45 degrees: 0.83 are common, 0.71 of the union; its corners reach a neighbor.
        ([square(X, Y), square(X, Y, turn=45)], [0, 0], [0, 1]),
        ([square(X, Y), square(X + 790, Y, turn=45)], [0, 1], [0, 1]),
        # A small patch within a large one of 60 m pixels, and one outside.
        ([square(X, Y, 3840), square(X + 900, Y), square(X + 2300, Y)], [0, 0, 1], [0, 1, 2]),
        ([square(X + 900, Y), square(X, Y, 100_000), square(X, Y)], [0, 0, 0], [0, 1, 2]),
    ],
)  # fmt: skip
def test_common_ground(corners: list[Footprint], place: list[int], footprint: list[int]) -> None:
    assert found(*corners) == (place, footprint)


@pytest.mark.parametrize(
    ("lat", "lon", "one", "other"),
    [
        (48, 6, "EPSG:32631", "EPSG:32632"),  # two zones, 4 degrees turned
        (48, 9, "EPSG:32632", "EPSG:4326"),
        (-16.2, 180, "EPSG:32760", "EPSG:32701"),
        (-16.2, 179.999, "EPSG:32760", "EPSG:32701"),
        (90, 0, "EPSG:5041", "EPSG:3413"),  # the pole within the patch
        (-89.999, 100, "EPSG:3031", "EPSG:5042"),
    ],
)
def test_no_projection_is_a_border(lat: float, lon: float, one: str, other: str) -> None:
    degrees = 640 / 111_200
    corners = [at(lat, lon, crs, degrees if crs == "EPSG:4326" else 640) for crs in (one, other)]
    assert found(*corners)[0] == [0, 0]


def test_jittered_dates_are_one_footprint_and_neighbors_are_not() -> None:
    rng = np.random.default_rng(0)
    corners = [
        square(X + 660 * place + dx, Y + dy)
        for place in range(8)
        for dx, dy in rng.uniform(-5, 5, (25, 2))
    ]
    place, footprint = found(*corners)
    assert place == footprint == np.repeat(np.arange(8), 25).tolist()


def test_the_readers_word_counts_too() -> None:
    far = [square(X + 5000 * n, Y) for n in range(4)]
    assert found(*far, group=[7, 3, 7, 5]) == ([0, 1, 0, 2], [0, 1, 0, 2])
    # Ground and the reader's word make a chain.
    assert found(far[0], far[1], far[1], far[3], group=[0, 1, 2, 0])[0] == [0, 1, 1, 0]


def test_patches_without_position_are_places_of_their_own() -> None:
    nowhere = np.full((4, 2), np.nan)
    assert found(nowhere, square(X, Y), nowhere, square(X, Y))[0] == [0, 1, 2, 1]
    assert found(nowhere, nowhere, group=[0, 0])[0] == [0, 0]
    assert found(nowhere)[0] == [0]


def test_equal_pixels_join_places_but_not_footprints() -> None:
    ground = to_ground(np.array([square(X + 5000 * n, Y) for n in (0, 1, 2, 0, 3)]))
    places: Places = find_places(ground, np.arange(5), np.array([9, 8, 9, 9, 0]))
    assert places.place.tolist() == [0, 1, 0, 0, 2]
    assert places.footprint.tolist() == [0, 1, 2, 0, 3]
    assert places.copies.tolist() == [[2, 0]]  # 3 lies where 0 does


def brute_force(ground: npt.NDArray[np.float64], share: float) -> list[int]:
    import shapely

    flat = ground[..., :2] - ground[..., :2].mean(axis=(0, 1))
    shapes = shapely.polygons(flat)
    label = list(range(len(shapes)))
    for i in range(len(shapes)):
        for j in range(i):
            common = shapely.area(shapely.intersection(shapes[i], shapes[j]))
            if common > share * min(shapely.area(shapes[i]), shapely.area(shapes[j])):
                label = [label[j] if x == label[i] else x for x in label]
    return np.unique(label, return_inverse=True)[1].tolist()


def test_random_footprints_of_mixed_sizes_equal_brute_force() -> None:
    rng = np.random.default_rng(3)
    # At the pole the first two axes of the Earth's center are a plane.
    ground = np.concatenate(
        [squares(90 - np.abs(rng.normal(0, 0.03, (60, 2))) * (1, 0), side) for side in (640, 3840)]
    )
    ground[:, :, :2] += rng.uniform(-15_000, 15_000, (120, 1, 2))
    places = find_places(ground, np.arange(120), np.zeros(120, np.int64))
    expected = brute_force(ground, 0.1)
    first = {label: n for n, label in reversed(list(enumerate(expected)))}
    order = sorted(first, key=first.__getitem__)
    assert places.place.tolist() == [order.index(label) for label in expected]
    assert 10 < places.place.max() < 100


def patch(number: int, pixels: npt.NDArray[np.uint16] | None = None, **facts: object) -> Patch:
    pixels = noise((2, 8, 8), number) if pixels is None else pixels
    facts = {"lat": 10.0, "lon": float(number), "place": "", **facts}
    return Patch(pixels, key=f"p{number}", **facts)  # type: ignore[arg-type]


def store_of(path: Path, items: list[list[Patch]], shard_bytes: int = 600) -> PatchStore:
    writer = StoreWriter(path, bands=("B02", "B03"), size=8, spec={}, shard_bytes=shard_bytes)
    for item in items:
        writer.add(item)
    return writer.finish(reader="test")


def test_a_store_keeps_places_corners_and_radiometry(tmp_path: Path) -> None:
    stored = uniform(2, source="as stored")
    offset = uniform(2, offset=-0.1, source="processing baseline 05.09 in the name")
    corners = square(X, Y, 80)
    items = [
        [patch(0, place="a", radiometry=stored), patch(1, place="b"), patch(2, place="a")],
        [patch(3, place="a", footprint=corners, radiometry=offset)],
        [patch(4, footprint=corners + 1e-6, radiometry=offset)],
    ]
    for shard_bytes in (100, 10_000):  # the places do not depend on the shards
        store = store_of(tmp_path / str(shard_bytes), items, shard_bytes)
        assert store.place.tolist() == store.footprint.tolist() == [0, 1, 0, 2, 2]
        assert (store.header.places, store.header.footprints) == (3, 3)
        np.testing.assert_array_equal(store.corners[3], corners)
        assert np.isnan(store.corners[:3]).all()
        assert store.radiometry == [stored, None, None, offset, offset]
        assert [(a.radiometry, a.patches) for a in store.header.radiometry] == [
            (stored, 1), (offset, 2),
        ]  # fmt: skip
        assert remarks(describe(store)) == [
            "Resolution on the ground: 10.0 m.",
            "Numbers of the files: as stored 1; processing baseline 05.09 in the name: offset "
            "-0.1 in 2.",
        ]
        assert store.verify() == []
    places = store.path / "places.safetensors"
    places.write_bytes(places.read_bytes()[:-1] + b"\1")
    assert store.verify() == ["places.safetensors does not match its recorded SHA-256"]


def test_equal_pixels_at_other_positions_are_said_and_constant_ones_are_not(
    tmp_path: Path,
) -> None:
    water = np.full((2, 8, 8), 300, np.uint16)
    same = noise((2, 8, 8), 7)
    store = store_of(
        tmp_path / "s",
        [[patch(0, same)], [patch(1, water)], [patch(2, water)], [patch(3, same)], [patch(4)]],
    )
    assert store.place.tolist() == [0, 1, 2, 0, 3]
    assert store.header.places == 4
    assert warnings(describe(store)) == [
        "1 patch shows exactly the pixels of an earlier one at another position (e.g. p3 those of "
        "p0): counted as one place."
    ]
    assert "5 footprints, which overlap or are equal, make 4 places." in remarks(describe(store))
    without = {"lat": NO_POSITION, "lon": NO_POSITION}
    assert store_of(
        tmp_path / "n", [[patch(0, same, **without)], [patch(1, same, **without)]]
    ).place.tolist() == [0, 0]


def test_centers_alone_stand_for_squares_of_10_m(tmp_path: Path) -> None:
    # 40 m and 100 m apart, of 80 m.
    lats = (0, 40 / 110_574, 140 / 110_574)
    store = store_of(tmp_path / "s", [[patch(n, lat=lat, lon=180.0)] for n, lat in enumerate(lats)])
    assert store.place.tolist() == [0, 0, 1]
    assert store.header.resolution is None


def test_mixed_resolution_is_said(tmp_path: Path) -> None:
    sides = [80, 80, 83, 160]
    items = [[patch(n, footprint=square(X + 5000 * n, Y, side))] for n, side in enumerate(sides)]
    facts = describe(store_of(tmp_path / "s", items))
    assert [group["patches"] for group in facts["resolution_m"]["groups"]] == [3, 1]
    (warning,) = warnings(facts)
    assert "resolution (mixed: 10 m (3), 20 m (1))" in warning


@pytest.mark.parametrize(
    ("longitudes", "expected", "shown"),
    [
        ([179.2, -179.5, 179.9], (179.2, -179.5), "179.2000 to -179.5000 (across the"),
        ([-10, 20, 5], (-10, 20), "-10.0000 to 20.0000"),
        ([7], (7, 7), "7.0000 to 7.0000"),
        ([-100, 0, 100], (-100, 100), "-100.0000 to 100.0000"),
    ],
)  # fmt: skip
def test_extent_is_the_smallest(
    tmp_path: Path, longitudes: list[float], expected: tuple[float, float], shown: str
) -> None:
    store = store_of(tmp_path / "s", [[patch(n, lon=x)] for n, x in enumerate(longitudes)])
    facts = describe(store)
    assert (facts["extent"]["west"], facts["extent"]["east"]) == expected
    assert str(dict(facts_table(facts).rows)["Longitude"]).startswith(shown)


def test_files_of_a_folder_at_jittered_origins_and_in_two_zones(tmp_path: Path) -> None:
    root = tmp_path / "f"
    for n, (crs, x, y) in enumerate(
        [("EPSG:32631", 500_000, Y), ("EPSG:32631", 500_000.4, Y), ("EPSG:32631", 500_640, Y)]
    ):
        write_tif(root / f"{n}_2020061{n}.tif", noise((4, 64, 64), n), crs=crs, left=x, top=y,
                  descriptions=FOLDER_BANDS)  # fmt: skip
    store = prepare_store(root, tmp_path / "s", progress=False).store
    assert store.place.tolist() == [0, 0, 1]
    assert store.keys == ["0_20200610.tif", "1_20200611.tif", "2_20200612.tif"]
    assert store.header.resolution is not None
    assert store.header.resolution.median == pytest.approx(9.996, abs=0.01)
