from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pytest
import rasterio
from rasterio.warp import transform

from georank_cli.main import _run
from georank_zoo.data.datasets.s4a import S4A, TEST_TILES, TILES
from georank_zoo.data.files import raster
from georank_zoo.data.files.dates import parse_time
from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.readers import open_reader
from georank_zoo.eval.splits.make import make_split
from georank_zoo.eval.tasks import TASKS, class_names
from georank_zoo.utils.errors import Interrupted, StoreError, UsageError
from tests.support.hdf5_trees import S4A_CORNER, edit, read_all, s4a_file, s4a_labels
from tests.support.trees import noise, truncate, write_tif

CEREALS, LEGUMES, OTHER = S4A.classes.index("Cereals"), S4A.classes.index("Leguminous crops"), 8


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("s4a")
    s4a_file(root)
    return root


@pytest.fixture
def tree(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "s4a"))


@pytest.fixture
def path(tree: Path) -> Path:
    return next(tree.rglob("*.nc"))


def test_pixels_are_those_that_netcdf4_reads(tree: Path, path: Path) -> None:
    reader = open_reader("s4a", tree)
    patches = read_all(reader).patches
    last = [patch for patch in patches if patch.place == "244,244"]
    assert len(last) == 3
    with netCDF4.Dataset(path) as file:
        dates = netCDF4.num2date(file["B02/time"][:], file["B02/time"].units)
        for t, patch in enumerate(last):
            assert patch.time == parse_time(dates[t].isoformat())
            for band in ("B02", "B03", "B04", "B08"):
                np.testing.assert_array_equal(
                    patch.pixels[reader.bands.index(band)], file[band][band][t, 244:, 244:]
                )


def test_bands_of_20_m_are_enlarged_as_gdal_does(tree: Path, path: Path, tmp_path: Path) -> None:
    reader = open_reader("s4a", tree)
    patch = next(p for p in read_all(reader).patches if p.place == "0,0")
    for band in ("B05", "B06", "B07", "B8A", "B11", "B12"):
        with netCDF4.Dataset(path) as file:
            native = np.asarray(file[band][band][:1])
        with rasterio.open(write_tif(tmp_path / f"{band}.tif", native)) as dataset:
            oracle = raster.read_on_grid(dataset, (366, 366))[:122, :122]
        ours = patch.pixels[reader.bands.index(band)]
        assert np.abs(ours.astype(int) - oracle).max() <= 1  # rounding of halves


def test_labels_above_25_pixels(tree: Path) -> None:
    reading = read_all(open_reader("s4a", tree))
    found = {p.place: np.flatnonzero(p.labels).tolist() for p in reading.patches}
    assert found == {"0,0": [CEREALS, LEGUMES], "244,244": [OTHER]}
    assert len(reading.patches) == 2 * 3
    assert len(reading.left_out) == 7
    assert {s.reason for s in reading.left_out} == {
        "window without labels: no crop above 25 pixels"
    }


def test_positions_are_the_windows_centers(tmp_path: Path) -> None:
    s4a_file(tmp_path, days=(0,), labels=np.full((366, 366), 110, np.uint32))
    patches = read_all(open_reader("s4a", tmp_path)).patches
    assert len(patches) == 9
    left, top = S4A_CORNER
    for patch in patches:
        row, col = map(int, patch.place.split(","))
        x, y = left + 10 * (col + 61), top - 10 * (row + 61)
        lon, lat = transform("EPSG:32631", "EPSG:4326", [x], [y])
        assert (patch.lat, patch.lon) == pytest.approx((lat[0], lon[0]), abs=1e-9)


@pytest.mark.parametrize("damage", ["missing", "pixels"])
def test_without_coordinates_there_is_no_position(tree: Path, path: Path, damage: str) -> None:
    edit(path, "B02/x", None if damage == "missing" else np.arange(366.0))
    patches = read_all(open_reader("s4a", tree)).patches
    assert len(patches) == 6
    assert all(np.isnan(p.lat) and np.isnan(p.lon) for p in patches)


def test_years_of_a_patch_are_one_place(tree: Path, tmp_path: Path) -> None:
    s4a_file(tree, year=2019, days=(1, 2))
    s4a_file(tree, patch="patch_14_15")
    reader = open_reader("s4a", tree)
    assert [item.name for item in reader.items()] == ["31TCG_patch_14_14", "31TCG_patch_14_15"]
    store = prepare_store(reader, tmp_path / "s", max_bad=0).store
    assert np.bincount(store.place).tolist() == [5, 5, 3, 3]


def test_a_number_of_dates(tree: Path) -> None:
    s4a_file(tree, patch="patch_00_01", days=range(0, 100, 10))
    counts = {}
    for dates in (1, 2, 4, 20):
        patches = read_all(open_reader("s4a", tree, dates=dates)).patches
        of_one = [p for p in patches if "patch_00_01" in p.key and p.place == "0,0"]
        counts[dates] = [int(p.key[-2:]) for p in of_one]
    assert {dates: len(days) for dates, days in counts.items()} == {1: 1, 2: 2, 4: 4, 20: 10}
    patches = read_all(open_reader("s4a", tree, dates=2)).patches
    assert [p.key[-10:] for p in patches[:2]] == ["2020-01-23", "2020-03-13"]
    with pytest.raises(UsageError, match="1 or more"):
        open_reader("s4a", tree, dates=0)


def test_only_dates_that_all_bands_have(tree: Path, path: Path) -> None:
    edit(path, "B05/time", np.array([10, 0]))
    with h5py.File(path, "r+") as file:
        values = file["B05/B05"][()]
        del file["B05/B05"]
        file["B05/B05"] = values[[2, 0]]
    reader = open_reader("s4a", tree)
    patches = read_all(reader).patches
    assert [p.key[-10:] for p in patches] == ["2020-01-03", "2020-01-13"] * 2
    s4a_file(tree)
    whole = read_all(open_reader("s4a", tree)).patches
    b05 = reader.bands.index("B05")
    for ours, theirs in ((patches[0], whole[0]), (patches[1], whole[2])):
        np.testing.assert_array_equal(ours.pixels[b05], theirs.pixels[b05])


def test_test_tiles_are_the_seeded_draw() -> None:
    random = np.random.default_rng(0)
    assert tuple(random.permutation(tiles)[0] for tiles in TILES.values()) == TEST_TILES


def test_splits(tmp_path: Path) -> None:
    root = tmp_path / "s4a"
    for n, tile in enumerate((*TILES["ES"], *TILES["FR"], "30TUL")):
        s4a_file(root, tile=tile, patch=f"patch_{n:02d}_00", days=(0,))
    store = prepare_store(open_reader("s4a", root, dates=1), tmp_path / "s", max_bad=0).store
    tasks = [TASKS["s4a-rand"], TASKS["s4a-tiles"]]
    for task in tasks:
        assert class_names(task, store) == S4A.classes
        assert task.official == {}  # neither of the paper's splits is public
    tiles = np.array([key.split("/")[1] for key in store.keys])
    split = make_split(store, tasks[1].split)
    assert split.name == "tiles-seed0"
    assert set(tiles[split.samples[split.test]]) == set(TEST_TILES)
    assert len(set(tiles[split.samples[split.train]])) == 9
    assert split.dropped == 2  # of the tile that is none of the published
    assert make_split(store, tasks[0].split).name == "random80-seed0"


def test_windows_without_data(tree: Path, path: Path, tmp_path: Path) -> None:
    with h5py.File(path, "r+") as file:
        for band in open_reader("s4a", tree).bands:
            side = file[band][band].shape[1]
            file[band][band][1, : side // 3] = 0
    report = prepare_store(open_reader("s4a", tree), tmp_path / "s", max_bad=0)
    assert len(report.store) == 5
    (skipped,) = (s for s in report.skipped if "@2020" in s.item)
    assert skipped.item == "2020/31TCG/2020_31TCG_patch_14_14.nc@0,0@2020-01-08"
    assert skipped.reason.startswith("window without data: ")


def set_attribute(where: str, name: str, value: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file[where].attrs[name] = value

    return change


def wrong_code(code: int) -> Callable[[Path], None]:
    labels = s4a_labels()
    labels[5, 5] = code
    return lambda path: edit(path, "labels/labels", labels)


def fill(value: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            for band, group in file.items():
                if band.startswith("B"):
                    group[band][()] = value

    return change


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, "unreadable or truncated"),
        (lambda p: p.write_bytes(b"CDF\x01 a netCDF-3 file"), "unreadable or truncated"),
        (lambda p: edit(p, "B11", None), "missing band: B11"),
        (lambda p: edit(p, "B11/B11", None), "missing dataset: B11/B11"),
        (lambda p: edit(p, "labels/labels", None), "missing dataset: labels/labels"),
        (lambda p: edit(p, "B11/B11", noise((3, 366, 366))), "mixed sizes: B11/B11 is 3 x 366"),
        (lambda p: edit(p, "B11/B11", noise((2, 183, 183))), "mixed sizes: B11/B11 is 2 x 183"),
        (lambda p: edit(p, "labels/labels", np.zeros((122, 122))), "mixed sizes: labels/labels"),
        (lambda p: edit(p, "B11/B11", np.ones((3, 183, 183))), "wrong data type: B11 is float64"),
        (lambda p: edit(p, "B11/time", np.array([7, 8, 9])), "no date that all bands have"),
        (set_attribute("B02/time", "units", "fortnights since 2020"), "no dates: the time of B02"),
        (set_attribute("B02/time", "units", "days since never"), "no dates"),
        (set_attribute("/", "patch_full_name", "2020_31TCF_patch_1_1"), "name and content differ"),
        (wrong_code(99), "labels out of range: a crop code is none of 100 to 999"),
        (wrong_code(1000), "labels out of range"),
        (fill(1), "values contradict the unit: 1 to 1 is not a digital number"),
        (fill(0), "all zero"),
    ],
)
def test_a_bad_file_is_left_out(
    tree: Path, path: Path, tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    s4a_file(tree, year=2019, days=(0,))
    damage(path)
    report = prepare_store(open_reader("s4a", tree), tmp_path / "s", max_bad=0.5)
    bad = [s for s in report.skipped if s.item.endswith(".nc")]
    assert [s.item for s in bad] == ["2020/31TCG/2020_31TCG_patch_14_14.nc"]
    assert bad[0].reason.startswith(reason)
    assert (report.bad, report.units, len(report.store)) == (1, 2, 2)


def test_nothing_is_left_of_a_bad_source(tree: Path, path: Path, tmp_path: Path) -> None:
    truncate(path)
    with pytest.raises(StoreError, match=r"1 of 1 already.*unreadable or truncated"):
        prepare_store(open_reader("s4a", tree), tmp_path / "out" / "s")
    assert not (tmp_path / "out").exists()


def test_other_folders(tmp_path: Path) -> None:
    (tmp_path / "other.nc").write_bytes(b"")
    with pytest.raises(UsageError, match="holds no Sen4AgriNet file"):
        open_reader("s4a", tmp_path)
    with pytest.raises(UsageError, match=r"Missing band\(s\) B01, B09"):
        s4a_file(tmp_path)
        open_reader("s4a", tmp_path, bands="s2-12")


def test_resumed_after_an_interruption(tree: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int | None, note: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    for n in (1, 2):
        s4a_file(tree, patch=f"patch_00_{n:02d}", days=(0,))
    reader = open_reader("s4a", tree)
    whole = prepare_store(reader, tmp_path / "whole", shard_bytes=500_000).store
    with pytest.raises(Interrupted):
        prepare_store(reader, tmp_path / "s", shard_bytes=500_000, on_progress=stop)
    with pytest.raises(UsageError, match="begun with other settings"):
        prepare_store(open_reader("s4a", tree, dates=1), tmp_path / "s")
    report = prepare_store(reader, tmp_path / "s", shard_bytes=500_000)
    assert report.resumed_at == 2
    assert report.store.hash == whole.hash


def test_from_the_command_line(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["data", "prepare", "s4a", str(tree), "--out", str(tmp_path / "s")]
    assert _run([*arguments, "--dates", "2"], False) == 0
    shown = capsys.readouterr().out
    assert "4 patches of 122 px and 10 bands from 2 places" in shown
    assert "7  window without labels" in shown
    assert _run(["data", "info", str(tmp_path / "s")], False) == 0
    assert "Split tiles-seed0" in capsys.readouterr().out
