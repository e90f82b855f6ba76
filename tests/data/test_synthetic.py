from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from georank_zoo import bands as s2
from georank_zoo.data.readers import open_reader
from georank_zoo.data.store.patch import NO_TIME
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.data.synthetic.landscape import GROUND_CLASSES
from georank_zoo.data.synthetic.world import generate_world, read_world
from georank_zoo.utils.errors import UsageError


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def test_layout(world_folder: Path) -> None:
    tifs = sorted(world_folder.rglob("*.tif"))
    assert len(tifs) == 192
    with rasterio.open(tifs[0]) as dataset:
        assert dataset.descriptions == s2.S2_12
        assert dataset.dtypes[0] == "uint16"
        assert dataset.shape == (32, 32)
        assert 32601 <= dataset.crs.to_epsg() <= 32760
        assert dataset.res == (10.0, 10.0)
        date = dataset.tags()["ACQUISITION_DATE"].replace("-", "")
    assert tifs[0].stem.endswith(f"_{date}")


def test_same_seed_same_files(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        generate_world(tmp_path / name, places=6, size=16, seed=seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a") != files(tmp_path / "c")


def test_store(world_store: PatchStore) -> None:
    assert len(world_store) == 192
    assert world_store.class_names == tuple(GROUND_CLASSES)
    np.testing.assert_array_equal(np.bincount(world_store.place), [2] * 96)
    assert (world_store.time != NO_TIME).all()
    for place in range(96):
        rows = world_store.place == place
        assert len(set(world_store.time[rows])) == 2
        assert len({tuple(p) for p in world_store.latlon[rows]}) == 1
        assert len(set(world_store.label[rows])) == 1
    assert set(world_store.label) == set(range(8))


def test_places_spread_over_the_globe_in_clusters(world_store: PatchStore) -> None:
    import torch

    from georank_zoo.geo import great_circle_km

    lat, lon = world_store.latlon.T
    assert lat.min() < -5 < 40 < lat.max()
    assert np.ptp(lon) > 150
    km = great_circle_km(*[torch.from_numpy(world_store.latlon[::2].copy())] * 2).fill_diagonal_(
        1e9
    )
    assert float(km.min(dim=1).values.median()) < 300


def test_spectra_are_plausible(world_store: PatchStore) -> None:
    pixels = world_store.read(np.arange(len(world_store))).mean(axis=(2, 3)) / 10_000
    by_class = {
        name: dict(zip(world_store.bands, pixels[world_store.label == n].mean(0), strict=True))
        for n, name in enumerate(world_store.class_names)
    }
    for name, mean in by_class.items():
        assert all(0.01 < value < 0.6 for value in mean.values()), name
    forest, water, bare = (by_class[n] for n in ("Forest", "Water", "BareLand"))
    assert forest["B08"] > 3 * forest["B04"]
    assert bare["B11"] > bare["B04"] > bare["B02"]
    assert water["B11"] < 0.6 * bare["B11"]


def test_the_task_is_neither_trivial_nor_impossible(tmp_path: Path) -> None:
    """Band statistics with k-NN on held-out places; 480 places give 0.60, chance is 0.125."""
    from georank_zoo.data.prepare import prepare_store

    generate_world(tmp_path / "w", places=480, size=32, seed=0)
    store = prepare_store(open_reader("synthetic", tmp_path / "w"), tmp_path / "s").store
    accuracy = statistics_knn(store)
    assert 0.45 < accuracy < 0.85


def statistics_knn(store: PatchStore) -> float:
    mean, std = (np.array(v)[:, None, None] for v in store.mean_std(store.bands))
    z = (store.read(np.arange(len(store))) / 10_000 - mean) / std
    features = np.concatenate((z.mean(axis=(2, 3)), z.std(axis=(2, 3))), axis=1)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    test = store.place % 4 == 0
    nearest = np.argsort(-features[test] @ features[~test].T, axis=1)[:, :10]
    votes = store.label[~test][nearest]
    predicted = np.array([np.bincount(v, minlength=8).argmax() for v in votes])
    truth = store.label[test]
    return float(np.mean([(predicted[truth == c] == c).mean() for c in np.unique(truth)]))


def test_seasons_differ_more_far_from_the_equator(world_store: PatchStore) -> None:
    bands = world_store.read(np.arange(len(world_store)), ("B04", "B08")).mean(axis=(2, 3))
    ndvi = (bands[:, 1] - bands[:, 0]) / bands.sum(axis=1)
    plants = np.isin(world_store.label, [3, 4])  # forest and grassland
    change = np.array([np.ptp(ndvi[world_store.place == p]) for p in range(96)])
    north = np.array(
        [abs(world_store.latlon[world_store.place == p][0, 0]) > 40 for p in range(96)]
    )
    green = np.array([plants[world_store.place == p].any() for p in range(96)])
    assert change[green & north].mean() > 1.3 * change[green & ~north].mean()


@pytest.mark.parametrize(
    "numbers", [{"places": 0}, {"seasons": 0}, {"seasons": 13}, {"size": 8}, {"seed": -1}]
)
def test_refuses_numbers(tmp_path: Path, numbers: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="A world needs"):
        generate_world(tmp_path / "w", **numbers)
    assert not (tmp_path / "w").exists()


def test_does_not_touch_other_folders(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="not empty"):
        generate_world(tmp_path, places=2)
    with pytest.raises(UsageError, match="does not hold a synthetic world"):
        open_reader("synthetic", tmp_path)


def test_interrupted_generation_begins_again(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_world(tmp_path / "w", places=4, size=16, on_progress=stop)
    assert not (tmp_path / "w").exists()
    generate_world(tmp_path / "w", places=4, size=16)
    assert len(list((tmp_path / "w").rglob("*.tif"))) == 8
    assert [p.name for p in tmp_path.iterdir()] == ["w"]


def test_reader_generates_once_and_refuses_other_numbers(tmp_path: Path) -> None:
    first = open_reader("synthetic", tmp_path / "w", places=4, size=16, seed=5)
    assert len(first.items()) == 4 * 2
    again = open_reader("synthetic", tmp_path / "w")
    assert again.spec == first.spec
    world = read_world(tmp_path / "w")
    assert world is not None
    assert (world.places, world.size, world.seed) == (4, 16, 5)
    with pytest.raises(UsageError, match="holds a world of places 4"):
        open_reader("synthetic", tmp_path / "w", places=5)


def test_number_of_places_does_not_change_a_place_of_equal_position() -> None:
    """Each place draws from its own stream: what one looks like does not depend on the others."""
    from georank_zoo.data.synthetic.landscape import Climate, draw_ground, render

    climate = Climate(0.5, 0.5, 0.2, np.ones(12))
    images = []
    for _ in range(2):
        ground = draw_ground("Forest", climate, 32, np.random.default_rng([0, 3, 7]))
        np.testing.assert_allclose(ground.cover.sum(axis=0), 1)
        images.append(render(ground, climate, 0.5, np.random.default_rng([0, 4, 7, 0])))
    np.testing.assert_array_equal(*images)
