from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from torchgeo.datasets import SSL4EOS12

from georank_zoo.bands import S2_12, S2_13
from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.readers import open_reader
from georank_zoo.data.readers.base import Reader, Reading
from georank_zoo.training.batches import PlaceBatches
from georank_zoo.utils.errors import BadItem, UsageError
from tests.support.trees import SSL4EO_SEASONS, noise, ssl4eo_tree, truncate, write_tif


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Level-2A, to be read only."""
    return ssl4eo_tree(tmp_path_factory.mktemp("ssl4eo"))


@pytest.fixture
def tree(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "tree"))


def season(tree: Path, place: int = 1, number: int = 0) -> Path:
    return tree / "s2a" / f"{place:07}" / SSL4EO_SEASONS[number]


def read_all(reader: Reader) -> Reading:
    readings = [reader.read(item) for item in reader.items()]
    return Reading(
        [patch for reading in readings for patch in reading.patches],
        [skipped for reading in readings for skipped in reading.left_out],
    )


@pytest.mark.parametrize(("level", "bands"), [("s2a", S2_12), ("s2c", S2_13)])
def test_pixels_and_times_are_what_torchgeo_reads(
    tmp_path: Path, level: str, bands: tuple[str, ...]
) -> None:
    """Bands of 20 and 60 m hold one value: torchgeo enlarges them by nearest neighbors."""
    root = ssl4eo_tree(tmp_path, level)
    reader = open_reader("ssl4eo", root, bands=bands, size=264)
    theirs = SSL4EOS12(root, split=level, seasons=2)
    for place, item in enumerate(reader.items()):
        sample = theirs[place]
        images = sample["image"].numpy().reshape(2, len(bands), 264, 264)
        order = np.argsort(sample["t"].numpy())  # torchgeo draws the order of the seasons
        for patch, n in zip(reader.read(item).patches, order, strict=True):
            np.testing.assert_array_equal(patch.pixels, images[n])
            assert patch.time == pytest.approx(float(sample["t"][n]), abs=64)  # float32 seconds
            # torchgeo gives the center of the last band read, which lies a little off.
            assert patch.lon == pytest.approx(float(sample["x"][n]), abs=5e-4)
            assert patch.lat == pytest.approx(float(sample["y"][n]), abs=1e-5)


def test_a_place_is_an_item_and_its_seasons_are_its_patches(published: Path) -> None:
    reader = open_reader("ssl4eo", published)
    items = reader.items()
    assert [item.name for item in items] == ["0000000", "0000001"]
    patches = reader.read(items[1]).patches
    assert len({patch.place for patch in patches}) == 1
    assert [patch.key for patch in patches] == [f"0000001/{name}" for name in SSL4EO_SEASONS]
    moments = [datetime(2020, 6, 4, 5, 46, 39), datetime(2020, 8, 13, 5, 46, 39)]
    assert [patch.time for patch in patches] == [m.replace(tzinfo=UTC).timestamp() for m in moments]


def test_the_center_is_cut(published: Path) -> None:
    whole = read_all(open_reader("ssl4eo", published, size=264)).patches
    center = read_all(open_reader("ssl4eo", published)).patches
    for a, b in zip(whole, center, strict=True):
        np.testing.assert_array_equal(a.pixels[:, 72:192, 72:192], b.pixels)
        assert (a.lat, a.lon) == (b.lat, b.lon)


@pytest.mark.parametrize("size", [266, 119])
def test_sizes_that_have_no_center(published: Path, size: int) -> None:
    with pytest.raises(UsageError, match=f"Size {size} cannot be cut"):
        open_reader("ssl4eo", published, size=size)


@pytest.mark.parametrize(
    ("facts", "removed"),
    [
        ({"PROCESSING_BASELINE": "02.14", "system:id": "COPERNICUS/S2_SR/x"}, 0),
        ({"PROCESSING_BASELINE": "03.01", "system:id": "COPERNICUS/S2_SR/x"}, 0),
        ({"PROCESSING_BASELINE": "04.00", "system:id": "COPERNICUS/S2_SR/x"}, 1000),
        ({"PROCESSING_BASELINE": "05.09", "system:id": "COPERNICUS/S2_SR/x"}, 1000),
        ({"PROCESSING_BASELINE": "05.09", "system:id": "COPERNICUS/S2_SR_HARMONIZED/x"}, 0),
        ({"PROCESSING_BASELINE": "04.00"}, 1000),
    ],
)
def test_offset_of_baseline_4(tree: Path, facts: dict[str, str], removed: int) -> None:
    (season(tree) / "metadata.json").write_text(json.dumps(facts))
    before = read_all(open_reader("ssl4eo", tree.parent / "tree", bands="B02,B05"))
    pixels = next(p for p in before.patches if p.key == f"0000001/{SSL4EO_SEASONS[0]}").pixels
    expected = noise((264, 264), 1000 + 1)[72:192, 72:192].astype(int) - removed
    np.testing.assert_array_equal(pixels[0], expected.clip(0))
    assert (pixels[1] == 1004 - removed).all()


def test_without_metadata_the_date_tells_the_baseline(tree: Path) -> None:
    (season(tree) / "metadata.json").unlink()
    late = tree / "s2a" / "0000001" / "20220301T054639_20220301T054831_T43RCP"
    season(tree, number=1).rename(late)
    (late / "metadata.json").unlink()
    reading = read_all(open_reader("ssl4eo", tree))
    assert len(reading.patches) == 3
    (bad,) = reading.left_out
    assert bad.item == f"0000001/{late.name}"
    assert bad.reason.startswith("unknown processing baseline")


def _tif(band: str, pixels: np.ndarray, **keywords: object) -> Callable[[Path], object]:
    given = {"crs": "EPSG:4326", "bounds": (73.4, 30.45, 73.4268, 30.4732), **keywords}
    return lambda folder: write_tif(folder / f"{band}.tif", pixels, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: truncate(f / "B3.tif"), "unreadable or truncated"),
        (lambda f: (f / "B8A.tif").unlink(), "missing band: B8A"),
        (lambda f: (f / "metadata.json").write_text("{"), "damaged metadata.json"),
        (lambda f: (f / "metadata.json").write_text("[]"), "damaged metadata.json"),
        (lambda f: (f / "metadata.json").write_text("{}"), "damaged metadata.json"),
        (_tif("B3", noise((1, 132, 132))), "mixed sizes: B03 is 132 x 132, not 264 x 264"),
        (_tif("B3", noise((1, 264, 264)) / np.float32(1e4)), "wrong data type"),
        (_tif("B3", noise((1, 264, 264)), bounds=(70, 30, 70.1, 30.1)), "mixed footprints: B03"),
        (_tif("B2", noise((1, 264, 264)), crs=None), "no CRS"),
    ],
)
def test_a_bad_file_costs_its_season_only(
    tree: Path, damage: Callable[[Path], object], reason: str
) -> None:
    damage(season(tree))
    reading = read_all(open_reader("ssl4eo", tree))
    assert len(reading.patches) == 3
    (bad,) = reading.left_out
    assert bad.item == f"0000001/{SSL4EO_SEASONS[0]}"
    assert bad.reason.startswith(reason), bad.reason


def test_void_places(tree: Path) -> None:
    (tree / "s2a" / "0000002").mkdir()
    reader = open_reader("ssl4eo", tree)
    with pytest.raises(BadItem, match="void place"):
        reader.read(reader.items()[2])
    report = prepare_store(reader, tree / "s", max_bad=0.3)
    assert (report.bad, report.units) == (1, 5)
    assert len(report.store) == 4


def test_wrong_folders(published: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no SSL4EO-S12"):
        open_reader("ssl4eo", tmp_path)
    (tmp_path / "s2a").mkdir()
    with pytest.raises(UsageError, match="holds no place"):
        open_reader("ssl4eo", tmp_path)
    (tmp_path / "s2c").mkdir()
    with pytest.raises(UsageError, match=r"holds s2a .Level-2A. and s2c .Level-1C."):
        open_reader("ssl4eo", tmp_path)
    with pytest.raises(UsageError, match=r"Missing band\(s\) B10"):
        open_reader("ssl4eo", published, bands="s2-13")


def test_folder_of_the_level_itself(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(published / "s2a")
    assert len(open_reader("ssl4eo", ".").items()) == 2


def test_a_store_of_it_trains(published: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    reader = open_reader("ssl4eo", published, size=32, on_progress=lambda *d: seen.append(d))
    assert seen == [(1, 2), (2, 2)]
    store = prepare_store(reader, tmp_path / "s").store
    assert store.header.places == 2
    assert (store.header.level, store.target, store.class_names) == ("L2A", "class", ())
    loader = PlaceBatches(store, bands=S2_12, batch_size=2, seed=0, temporal=True, views=2, draws=1)
    assert loader.dates.tolist() == [2, 2]


def test_the_real_place(real_data: Path) -> None:
    root = real_data / "s2_global_samples" / "SSL4EO-S12"
    for level, bands in (("s2a", S2_12), ("s2c", S2_13)):
        reader = open_reader("ssl4eo", root / level, bands=bands, size=264)
        reading = read_all(reader)
        assert len(reading.patches) == 2
        assert reading.left_out == []
        for patch in reading.patches:
            assert (patch.lat, patch.lon) == pytest.approx((30.46396, 73.30593), abs=1e-5)
            folder = root / level / patch.key
            for band, channel in zip(bands, patch.pixels, strict=True):
                with rasterio.open(folder / f"{band.replace('B0', 'B')}.tif") as file:
                    native = torch.from_numpy(file.read().astype(np.float64))[None]
                enlarged = torch.nn.functional.interpolate(native, (264, 264), mode="bilinear")
                assert np.abs(channel - enlarged[0, 0].numpy()).max() <= 0.5 + 1e-9
