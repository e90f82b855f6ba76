from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from torchgeo.datasets import So2Sat as TorchgeoSo2Sat

from georank_cli.main import _run
from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.readers import open_reader, so2sat
from georank_zoo.eval.splits.make import make_split
from georank_zoo.eval.tasks import TASKS
from georank_zoo.utils.errors import StoreError, UsageError
from tests.support.hdf5_trees import edit, read_all, so2sat_file, so2sat_tree
from tests.support.trees import truncate


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return so2sat_tree(tmp_path / "so2sat")


def test_same_pixels_and_labels_as_torchgeo(tree: Path) -> None:
    reader = open_reader("so2sat", tree)
    patches = read_all(reader).patches
    for split, part in (("train", patches[:20]), ("test", patches[20:])):
        oracle = TorchgeoSo2Sat(
            tree.parent, "3_random", split, bands=TorchgeoSo2Sat.BAND_SETS["s2"]
        )
        assert len(oracle) == len(part)
        assert [f"S2_{band}" for band in reader.bands] == list(oracle.bands)
        for sample, patch in zip(oracle, part, strict=True):
            assert patch.label == int(sample["label"])
            # Equal as float32: the DN of the files are kept, not rounded away.
            np.testing.assert_array_equal(
                (patch.pixels / 10_000).astype(np.float32), sample["image"].numpy()
            )
    assert reader.class_names == TorchgeoSo2Sat.classes


def test_bands_are_chosen_by_name(tree: Path) -> None:
    whole = read_all(open_reader("so2sat", tree)).patches[3].pixels
    two = read_all(open_reader("so2sat", tree, bands="B12,B02")).patches[3].pixels
    np.testing.assert_array_equal(two, whole[[9, 0]])
    with pytest.raises(UsageError, match=r"Missing band\(s\) B01, B09"):
        open_reader("so2sat", tree, bands="s2-12")


@pytest.mark.parametrize("folder", ["random", "block", "culture_10"])
def test_the_split_is_the_folders(folder: str, tmp_path: Path) -> None:
    tree = so2sat_tree(tmp_path / "so2sat", folder)
    if folder == "culture_10":
        so2sat_file(tree / "validation.h5", 7, seed=3)
    task = TASKS[f"so2sat-{folder.replace('_', '')}"]
    store = prepare_store(open_reader("so2sat", tree), tmp_path / "s", max_bad=0).store
    split = make_split(store, task.split)
    assert (len(split.train), len(split.test)) == (20, 9)
    assert (split.validation is None) == (folder != "culture_10")
    assert store.class_names == task.classes
    assert list(store.roles) == list(task.official)
    assert not store.located.any()
    assert store.header.places == len(store)
    others = {name for name in TASKS if name.startswith("so2sat")} - {task.name}
    for name in others:
        with pytest.raises(UsageError, match=f"Unknown split '{TASKS[name].split}'"):
            make_split(store, TASKS[name].split)


def test_the_folder_may_be_the_current_one(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert open_reader("so2sat", ".").splits == ("official-random",)


def test_runs_of_rows_give_the_same_patches(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_all(open_reader("so2sat", tree)).patches
    monkeypatch.setattr(so2sat, "_ROWS", 8)
    reader = open_reader("so2sat", tree)
    assert [item.name for item in reader.items()] == [
        "training.h5[0:8]", "training.h5[8:16]", "training.h5[16:20]", "testing.h5[0:8]",
        "testing.h5[8:9]",
    ]  # fmt: skip
    pieces = read_all(reader).patches
    assert [p.key for p in pieces] == [p.key for p in whole]
    for piece, patch in zip(pieces, whole, strict=True):
        assert (piece.label, piece.roles) == (patch.label, patch.roles)
        np.testing.assert_array_equal(piece.pixels, patch.pixels)


def spoil(name: str, at: tuple[object, ...], value: float) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file[name][at] = value

    return change


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (spoil("sen2", (5, 3, 3, 2), np.nan), "NaN or infinite pixels"),
        (spoil("sen2", (5, 3, 3, 2), np.inf), "NaN or infinite pixels"),
        (spoil("sen2", (5, 3, 3, 2), 7.0), "values contradict the unit: 0.0"),
        (spoil("sen2", (5,), 0.0), "all zero"),
        (spoil("label", (5, 0), 1.0), "label is not one-hot"),
        (spoil("label", (5,), 0.0), "label is not one-hot"),
        (spoil("label", (5, 5), 0.5), "label is not one-hot"),
    ],
)
def test_a_bad_sample_is_left_out(
    tree: Path, tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    damage(tree / "training.h5")
    report = prepare_store(open_reader("so2sat", tree), tmp_path / "s")
    (skipped,) = report.skipped
    assert skipped.item == "training.h5[5]"
    assert skipped.reason.startswith(reason)
    assert (report.bad, report.units, len(report.store)) == (1, 29, 28)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "training.h5 cannot be used: unreadable or truncated"),
        (lambda p: p.write_bytes(b""), "unreadable or truncated"),
        (lambda p: edit(p, "sen2", None), "missing dataset: sen2"),
        (lambda p: edit(p, "label", None), "missing dataset: label"),
        (lambda p: edit(p, "sen2", np.zeros((20, 32, 32, 9))), "mixed sizes: sen2 is 20 x 32"),
        (lambda p: edit(p, "sen2", np.zeros((20, 64, 64, 10))), "mixed sizes"),
        (lambda p: edit(p, "label", np.zeros((19, 17))), "mixed sizes: label is 19 x 17, not 20"),
        (lambda p: edit(p, "label", np.zeros((20, 10))), "mixed sizes: label"),
        (lambda p: edit(p, "sen2", np.ones((20, 32, 32, 10), np.uint16)), "contradict the unit"),
        (lambda p: edit(p, "sen2", np.zeros((0, 32, 32, 10))), "mixed sizes: label is 20"),
    ],
)
def test_a_damaged_file_is_named(
    tree: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(tree / "training.h5")
    with pytest.raises(UsageError, match=message):
        open_reader("so2sat", tree)


def test_digital_numbers_are_no_reflectance(tree: Path, tmp_path: Path) -> None:
    with h5py.File(tree / "training.h5", "r+") as file:
        file["sen2"][()] = file["sen2"][()] * 10_000
    with pytest.raises(StoreError, match=r"20 of 29 already.*values contradict the unit"):
        prepare_store(open_reader("so2sat", tree), tmp_path / "out" / "s")
    assert not (tmp_path / "out").exists()


def test_a_damaged_part_of_a_file_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(so2sat, "_ROWS", 4)
    tree = so2sat_tree(tmp_path / "so2sat")
    path = tree / "training.h5"
    with h5py.File(path, "r+") as file:
        values = file["sen2"][()]
        del file["sen2"]
        data = file.create_dataset("sen2", data=values, chunks=(4, 32, 32, 10), compression="gzip")
        chunk = data.id.get_chunk_info(2)
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset + chunk.size // 2)
        raw.write(b"\0" * 1000)
    report = prepare_store(open_reader("so2sat", tree), tmp_path / "s", max_bad=0.2)
    assert [s.item for s in report.skipped] == [f"training.h5[{row}]" for row in range(8, 12)]
    assert all(s.reason.startswith("unreadable or truncated") for s in report.skipped)


def test_two_files_of_the_same_samples_are_refused(tree: Path) -> None:
    shutil.copy(tree / "training.h5", tree / "testing.h5")
    with pytest.raises(UsageError, match="hold the same samples: the split overlaps"):
        open_reader("so2sat", tree)


def test_other_folders(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Give the folder of one split: .*random"):
        open_reader("so2sat", tree.parent)
    renamed = tree.rename(tree.with_name("mine"))
    with pytest.raises(UsageError, match="its name says the split"):
        open_reader("so2sat", renamed)
    packed = tmp_path / "block"
    packed.mkdir()
    (packed / "training.h5.gz").write_bytes(b"")
    with pytest.raises(UsageError, match="gunzip"):
        open_reader("so2sat", packed)


def test_data_outside_the_file_is_refused(tree: Path, tmp_path: Path) -> None:
    elsewhere = so2sat_file(tmp_path / "elsewhere.h5", 20)
    with h5py.File(tree / "training.h5", "r+") as file:
        del file["sen2"]
        file["sen2"] = h5py.ExternalLink(elsewhere, "sen2")
    with pytest.raises(UsageError, match="dataset outside the file: sen2"):
        open_reader("so2sat", tree)


KILLED = """
import os, signal, sys
from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.readers import open_reader, so2sat

def stop(done, total, note):
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)

so2sat._ROWS = 4
reader = open_reader("so2sat", sys.argv[1])
prepare_store(reader, sys.argv[2], shard_bytes=100_000, on_progress=stop)
"""


def test_resumed_after_sigkill_is_byte_identical(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(so2sat, "_ROWS", 4)
    reader = open_reader("so2sat", tree)
    whole = prepare_store(reader, tmp_path / "whole", shard_bytes=100_000).store
    process = subprocess.run([sys.executable, "-c", KILLED, tree, tmp_path / "s"], check=False)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "s").exists()
    report = prepare_store(reader, tmp_path / "s", shard_bytes=100_000)
    assert report.resumed_at == 2
    assert report.store.hash == whole.hash


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = so2sat_tree(tmp_path / "so2sat", "block")
    out = str(tmp_path / "s")
    assert _run(["data", "prepare", "so2sat", str(tree), "--out", out], False) == 0
    shown = capsys.readouterr().out
    assert "29 patches of 32 px and 10 bands from 29 places" in shown
    assert "eval MODEL --task so2sat-block" in shown
    assert _run(["data", "info", out], False) == 0
    shown = capsys.readouterr().out
    for text in ("Split official-block", "20 train", "9 test", "Compact high rise"):
        assert text in shown
    truncate(tree / "training.h5")
    arguments = ["data", "prepare", "so2sat", str(tree), "--out", f"{out}2"]
    assert _run(arguments, False) == 2
    assert "Download it again" in capsys.readouterr().err
    assert not list(tmp_path.glob("s2*"))
