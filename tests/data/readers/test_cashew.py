from __future__ import annotations

import ast
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from georank_cli.main import _run
from georank_zoo.data.files.dates import parse_time
from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.readers import open_reader
from georank_zoo.data.store.patch import NO_TIME
from georank_zoo.eval.splits.make import make_split
from georank_zoo.eval.tasks import TASKS, class_names
from georank_zoo.utils.errors import Interrupted, StoreError, UsageError
from tests.support.hdf5_trees import CASHEW_BANDS, cashew_tree, edit, read_all, write_partition
from tests.support.trees import truncate

BLUE = "02 - Blue_2019-11-15"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cashew_tree(tmp_path_factory.mktemp("geobench") / "m-cashew-plant")


@pytest.fixture
def tree(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "m-cashew-plant"))


def test_pixels_masks_and_dates_are_the_files(tree: Path) -> None:
    reader = open_reader("cashew", tree)
    patches = {patch.key: patch for patch in read_all(reader).patches}
    assert len(patches) == 6
    for name, patch in patches.items():
        with h5py.File(tree / name) as file:
            keys = sorted(key for key in file if key not in ("label",))[:12]
            # The order of names is the order of bands: 08A stands between 08 and 09.
            expected = np.stack([file[key][()] for key in keys])
            np.testing.assert_array_equal(patch.pixels, expected)
            np.testing.assert_array_equal(patch.mask, file["label"][()])
            assert patch.time == parse_time(keys[0][-10:]) != NO_TIME
    values = patches["sample_0.hdf5"].pixels[:, 0, 0].tolist()
    assert values == list(range(1000, 1012))
    assert reader.bands[8:10] == ("B8A", "B09")


def test_chosen_bands(tree: Path) -> None:
    patch = read_all(open_reader("cashew", tree, bands="B12,B02")).patches[0]
    assert patch.pixels[:, 0, 0].tolist() == [1011, 1001]
    with pytest.raises(UsageError, match="Missing band"):
        open_reader("cashew", tree, bands="s2-13")


def test_dates_of_a_chip_are_a_place(tree: Path) -> None:
    calls: list[tuple[int, int]] = []
    reader = open_reader("cashew", tree, on_progress=lambda *call: calls.append(call))
    assert [item.units for item in reader.items()] == [
        ("sample_0.hdf5", "sample_1.hdf5"), ("sample_2.hdf5", "sample_3.hdf5"),
        ("sample_4.hdf5", "sample_5.hdf5"),
    ]  # fmt: skip
    assert calls == [(n, 6) for n in range(1, 7)]


def test_store_and_official_split(tree: Path, tmp_path: Path) -> None:
    store = prepare_store(open_reader("cashew", tree), tmp_path / "s", max_bad=0).store
    split = make_split(store, TASKS["cashew"].split)
    assert split.train.tolist() == [0, 1]
    assert split.validation is not None and split.validation.tolist() == [2, 3]
    assert split.test.tolist() == [4, 5]
    assert store.place.tolist() == [0, 0, 1, 1, 2, 2]
    assert store.label.tolist() == [1, 1, 2, 2, 3, 3]
    assert class_names(TASKS["cashew"], store) == TASKS["cashew"].classes
    assert not store.located.any()


def test_a_sample_outside_the_partition_has_no_role(tree: Path) -> None:
    write_partition(tree, {"train": ["sample_0"], "valid": [], "test": ["sample_5"]})
    roles = [dict(patch.roles) for patch in read_all(open_reader("cashew", tree)).patches]
    assert roles == [{"official": "train"}, {}, {}, {}, {}, {"official": "test"}]


def test_samples_without_a_file_are_reported(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tree / "sample_3.hdf5").unlink()
    open_reader("cashew", tree)
    assert "1 samples of the split have no file" in caplog.text


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    """Each sample's attribute and task_specs.pkl make a folder when they are unpickled."""
    tree = cashew_tree(tmp_path / "m-cashew-plant")
    prepare_store(open_reader("cashew", tree), tmp_path / "s")
    assert not (tree / "unpickled").exists()
    with h5py.File(tree / "sample_0.hdf5") as file:
        pickle.loads(ast.literal_eval(file.attrs["pickle"]))
    assert (tree / "unpickled").is_dir()  # the trap works
    (tree / "unpickled").rmdir()
    pickle.loads((tree / "task_specs.pkl").read_bytes())
    assert (tree / "unpickled").is_dir()


def rename(old: str, new: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file.move(old, new)

    return change


def misname(path: Path) -> None:
    """As an early conversion did: 13 bands of L1C for the 12 of L2A and the cloud probability."""
    with h5py.File(path, "r+") as file:
        file.move("11 - SWIR_2019-11-15", "10 - SWIR - Cirrus_2019-11-15")


def probability_as_band(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["12 - SWIR_2019-11-15"][()] = file["Cloud Probability_2019-11-15"][()] % 101


def spoil(name: str, at: tuple[object, ...], value: float) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file[name][at] = value

    return change


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, "unreadable or truncated"),
        (lambda p: p.write_bytes(b""), "unreadable or truncated"),
        (lambda p: edit(p, BLUE, None), "missing band: B02"),
        (lambda p: edit(p, "label", None), "missing dataset: label"),
        (lambda p: edit(p, BLUE, np.ones((128, 128))), "mixed sizes: 02 - Blue_2019-11-15 is 128"),
        (lambda p: edit(p, "label", np.ones((256, 255))), "mixed sizes: label is 256 x 255"),
        (lambda p: edit(p, BLUE, np.full((256, 256), b"x")), "wrong data type"),
        (spoil(BLUE, (3, 3), np.nan), "NaN or infinite pixels"),
        (spoil(BLUE, (3, 3), -9999), "values contradict the unit: -9999 to"),
        (spoil(BLUE, (3, 3), 70_000), "values contradict the unit: "),
        (spoil(BLUE, (), 0.3), "values contradict the band's name: B02 is 0.3 at most"),
        (spoil("label", (3, 3), 7), "labels out of range: not all are 0 to 6"),
        (spoil("label", (3, 3), -1), "labels out of range"),
        (rename(BLUE, "02 - Blue_2019-11-20"), "several dates"),
        (misname, "misnamed bands: '10 - SWIR - Cirrus_2019-11-15' cannot be in Level-2A"),
        (probability_as_band, "values contradict the band's name: B12 is 100 at most"),
    ],
)
def test_a_bad_sample_is_left_out(
    tree: Path, tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    damage(tree / "sample_0.hdf5")
    report = prepare_store(open_reader("cashew", tree), tmp_path / "s", max_bad=0.2)
    (skipped,) = report.skipped
    assert skipped.item == "sample_0.hdf5"
    assert skipped.reason.startswith(reason)
    assert (report.bad, report.units, len(report.store)) == (1, 6, 5)


def test_all_zero_samples(tree: Path, tmp_path: Path) -> None:
    for name in CASHEW_BANDS:
        spoil(f"{name}_2019-11-15", (), 0)(tree / "sample_0.hdf5")
    report = prepare_store(open_reader("cashew", tree), tmp_path / "s", max_bad=0.2)
    assert [s.reason for s in report.skipped] == ["all zero"]


def test_too_many_bad_samples_leave_nothing(tree: Path, tmp_path: Path) -> None:
    truncate(tree / "sample_0.hdf5")
    with pytest.raises(StoreError, match=r"1 of 6 already, and the limit is 5.0%"):
        prepare_store(open_reader("cashew", tree), tmp_path / "out" / "s")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (None, "default_partition.json is missing"),
        ({"train": ["a"], "valid": ["b"], "test": ["a"]}, "1 samples such as a have two parts"),
        ({"train": ["a"], "test": ["b"]}, "must list train, valid, test"),
        ({"train": ["a"], "valid": "b", "test": []}, "must list train, valid, test"),
        (["a"], "must list train, valid, test"),
        ("half", "is not a JSON file"),
    ],
)
def test_a_partition_that_is_none(tree: Path, parts: object, message: str) -> None:
    path = tree / "default_partition.json"
    path.unlink()
    if parts == "half":
        path.write_text(json.dumps({"train": ["a"]})[:-4])
    elif parts is not None:
        write_partition(tree, parts)
    with pytest.raises(UsageError, match=message):
        open_reader("cashew", tree)


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Give the folder segmentation_v1.0/m-cashew-plant"):
        open_reader("cashew", tmp_path)


def test_resumed_after_an_interruption(tree: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int | None, note: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    reader = open_reader("cashew", tree)
    whole = prepare_store(reader, tmp_path / "whole", shard_bytes=1_000_000).store
    with pytest.raises(Interrupted):
        prepare_store(reader, tmp_path / "s", shard_bytes=1_000_000, on_progress=stop)
    report = prepare_store(reader, tmp_path / "s", shard_bytes=1_000_000)
    assert report.resumed_at == 2
    assert report.store.hash == whole.hash


def test_from_the_command_line(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(["data", "prepare", "cashew", str(tree), "--out", str(tmp_path / "s")], False) == 0
    shown = capsys.readouterr().out
    assert "6 patches of 256 px and 12 bands from 3 places" in shown
    assert "6 patches are labeled with 7 classes" in shown
