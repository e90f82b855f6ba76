from __future__ import annotations

import errno
import logging
import os
import pickle
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from georank_zoo.data import prepare
from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.readers import open_reader
from georank_zoo.data.readers.base import read_or_reason, without_items
from georank_zoo.data.store.header import HEADER_FILE
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.utils import parallel
from georank_zoo.utils.errors import Interrupted, StoreError, UsageError
from georank_zoo.utils.write_errors import DiskFullError
from tests.support import trees
from tests.support.processes import wait_for_end

SMALL_SHARD = 3 * 4 * 32 * 32 * 2  # three patches of the folder tree


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes read from the first item on, however little there is."""
    monkeypatch.setattr(parallel, "_ALONE_S", 0.0)
    monkeypatch.setattr(parallel, "_WORTH_S", 0.0)


def content(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.iterdir()}


def test_report_and_header(folder_tree: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int | None, str]] = []
    report = prepare_store(
        open_reader("folder", folder_tree, labels="parent"), tmp_path / "s",
        on_progress=lambda *call: calls.append(call),
    )  # fmt: skip
    assert (report.items, report.units, report.bad, report.resumed_at) == (12, 12, 0, 0)
    assert calls == [(n, 12, f"{n} patches") for n in range(1, 13)]
    assert report.store.header.places == 6
    np.testing.assert_array_equal(np.bincount(report.store.place), [2] * 6)
    assert report.store.header.spec["files"] == 12
    assert not list(tmp_path.glob("*.partial"))


def test_bad_items_are_skipped_with_their_reasons(eurosat_tree: Path, tmp_path: Path) -> None:
    trees.truncate(eurosat_tree / "Forest" / "Forest_2.tif")
    report = prepare_store(open_reader("eurosat", eurosat_tree), tmp_path / "s", max_bad=0.2)
    (skipped,) = report.skipped
    assert report.bad == 1
    assert skipped.item == "Forest/Forest_2.tif"
    assert skipped.reason.startswith("unreadable or truncated: ")
    assert len(report.store) == 8
    assert PatchStore(tmp_path / "s").header.skipped == report.skipped


def test_too_many_bad_files_fail_and_leave_nothing(eurosat_tree: Path, tmp_path: Path) -> None:
    for n in (1, 2):
        trees.truncate(eurosat_tree / "Forest" / f"Forest_{n}.tif")
    reader = open_reader("eurosat", eurosat_tree)
    with pytest.raises(StoreError, match=r"2 of 9 already, and the limit is 20.0%") as error:
        prepare_store(reader, tmp_path / "out" / "s", max_bad=0.2)
    assert "Forest/Forest_1.tif: unreadable" in str(error.value)
    assert "--max-bad" in str(error.value)
    assert not (tmp_path / "out").exists()
    assert len(prepare_store(reader, tmp_path / "out" / "s", max_bad=2 / 9).store) == 7


def test_windows_without_data_are_not_bad_files(oscd_tree: Path, tmp_path: Path) -> None:
    import rasterio

    for file in (oscd_tree / "pisa" / "imgs_2").glob("*.tif"):
        with rasterio.open(file, "r+") as dataset:
            pixels = dataset.read()
            pixels[:, :, : pixels.shape[2] // 2] = 0
            dataset.write(pixels)
    report = prepare_store(open_reader("oscd", oscd_tree, size=32), tmp_path / "s", max_bad=0)
    assert report.bad == 0
    assert [s.reason.split(":")[0] for s in report.skipped] == ["window without data"] * 4
    assert len(report.store) == 24 - 4
    assert report.store.header.footprints == 12  # pixels are equal, and so places fewer


def test_nothing_usable(folder_tree: Path, tmp_path: Path) -> None:
    reader = open_reader("folder", folder_tree, size=64)
    with pytest.raises(StoreError, match="12 mixed sizes"):
        prepare_store(reader, tmp_path / "s", max_bad=1)
    assert not (tmp_path / "s").exists()
    assert not (tmp_path / "s.partial").exists()


def test_a_folder_is_listed_and_prepared_by_the_reader_named(
    folder_tree: Path, tmp_path: Path
) -> None:
    calls: list[tuple[int, int | None, str]] = []
    report = prepare_store(
        folder_tree, tmp_path / "s", labels="parent", bands=None,
        on_progress=lambda *call: calls.append(call),
    )  # fmt: skip
    opened = open_reader("folder", folder_tree, labels="parent")
    assert report.store.hash == prepare_store(opened, tmp_path / "t").store.hash
    assert {note for _, _, note in calls[:-12]} == {"listed"}
    assert calls[-12:] == [(n, 12, f"{n} patches") for n in range(1, 13)]


def test_what_cannot_end_well_does_not_begin(
    folder_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_reader("folder", folder_tree)
    store = prepare_store(opened, tmp_path / "s").store.path
    monkeypatch.setattr(prepare, "open_reader", lambda *_, **__: pytest.fail("listed"))
    with pytest.raises(UsageError, match="Reader 'folder' does not take"):
        prepare_store(folder_tree, tmp_path / "t", seed=1)
    with pytest.raises(UsageError, match="Unknown reader 'fodler'"):
        prepare_store(folder_tree, tmp_path / "t", reader="fodler")
    with pytest.raises(UsageError, match="Pass --overwrite"):
        prepare_store(folder_tree, store)
    with pytest.raises(UsageError, match="replace its own source"):
        prepare_store(folder_tree, folder_tree)
    with pytest.raises(UsageError, match=r"'folder' is open already .*: size"):
        prepare_store(opened, tmp_path / "t", size=16)


def test_a_report_says_what_was_taken_and_what_was_left_out(
    eurosat_tree: Path, tmp_path: Path
) -> None:
    trees.truncate(eurosat_tree / "Forest" / "Forest_2.tif")
    report = prepare_store(eurosat_tree, tmp_path / "s", reader="eurosat", max_bad=0.2)
    lines = str(report).splitlines()
    assert lines[0].startswith("8 patches of 64 px and 12 bands from 8 places, 1 MiB, in ")
    assert lines[1:7] == [
        "8 patches are labeled with 10 classes.",
        "Resolution on the ground: 10.0 m.",
        "Numbers of the files: EuroSAT, digital numbers of Level-1C (8 patches).",
        "Left out: 1; 1 of 9 sources are bad.",
        "       1  unreadable or truncated",
        "They are:",
    ]
    assert lines[7].startswith("  Forest/Forest_2.tif: unreadable or truncated: ")
    assert lines[8] == f"Store: {tmp_path / 's'}  (hash {report.store.hash[:12]})"
    html = report._repr_html_()
    for text in ("8 of 64 px", "Left out: 1; 1 of 9", "Forest/Forest_2.tif"):
        assert text in html


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_max_bad_is_a_share(folder_tree: Path, tmp_path: Path, share: float) -> None:
    with pytest.raises(UsageError, match="max_bad"):
        prepare_store(open_reader("folder", folder_tree), tmp_path / "s", max_bad=share)


def test_overwrite(folder_tree: Path, tmp_path: Path) -> None:
    prepare_store(open_reader("folder", folder_tree), tmp_path / "s")
    reader = open_reader("folder", folder_tree, bands="B02")
    with pytest.raises(UsageError, match="--overwrite"):
        prepare_store(reader, tmp_path / "s")
    assert prepare_store(reader, tmp_path / "s", overwrite=True).store.bands == ("B02",)


@pytest.mark.parametrize("name", ["folder", "eurosat", "oscd"])
def test_a_store_within_its_source_is_not_read(
    name: str, folder_tree: Path, eurosat_tree: Path, oscd_tree: Path
) -> None:
    source = {"folder": folder_tree, "eurosat": eurosat_tree, "oscd": oscd_tree}[name]
    first = prepare_store(open_reader(name, source), source / "store").store
    again = open_reader(name, source)
    assert prepare_store(again, source / "store", overwrite=True).store.hash == first.hash
    assert prepare_store(again, source / "crop" / "other").store.hash == first.hash


@pytest.mark.parametrize("at", [".", "..", "../folder"])
def test_a_store_in_place_of_its_source_is_refused(folder_tree: Path, at: str) -> None:
    """Even where it looks like a store to be replaced: files lie in it that are not its own."""
    reader = open_reader("folder", folder_tree)
    files = sorted(folder_tree.rglob("*"))
    for folder in (folder_tree, folder_tree.parent):
        (folder / HEADER_FILE).write_text("{}")
    with pytest.raises(UsageError, match="replace its own source"):
        prepare_store(reader, folder_tree / at, overwrite=True)
    (folder_tree / HEADER_FILE).unlink()
    assert sorted(folder_tree.rglob("*")) == files


# As users write them: without a guard of `__main__`, which other processes must not run.
KILLED = """
import os, signal, sys
from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.readers import open_reader
from georank_zoo.utils import parallel
from tests.support.processes import children_of

source, out, kill_at, shard_bytes, jobs = sys.argv[1:]
parallel._ALONE_S = parallel._WORTH_S = 0.0

def stop(done, total, note):
    if done == int(kill_at):
        print(*children_of(os.getpid()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

reader = open_reader("folder", source, labels="parent")
prepare_store(
    reader, out, max_bad=0.1, shard_bytes=int(shard_bytes), jobs=int(jobs), on_progress=stop
)
"""


def kill(source: Path, out: Path, at: int, jobs: int) -> None:
    """Kills a preparation when so many items are done."""
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, source, out, str(at), str(SMALL_SHARD), str(jobs)],
        check=False, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    pids = killed.stdout.split()
    assert len(pids) >= (jobs if jobs > 1 else 0)
    for pid in pids:
        wait_for_end(int(pid))


@pytest.mark.parametrize("kill_at", [1, 4])
def test_resumed_after_sigkill_is_byte_identical(
    folder_tree: Path, tmp_path: Path, kill_at: int
) -> None:
    trees.truncate(folder_tree / "forest" / "p1_20180115.tif")
    reader = open_reader("folder", folder_tree, labels="parent")
    whole = prepare_store(reader, tmp_path / "whole", max_bad=0.1, shard_bytes=SMALL_SHARD).store
    out = tmp_path / "killed"
    kill(folder_tree, out, kill_at, jobs=1)
    assert not out.exists()
    shards = len(list((tmp_path / "killed.partial").glob("shard-*.safetensors")))
    assert shards == {1: 0, 4: 1}[kill_at]
    # A shard caught half written is written again, and no scrap of it stays.
    for scrap in (f"shard-{shards:05d}.safetensors.tmp", ".tmpXyZ"):
        (tmp_path / "killed.partial" / scrap).write_bytes(b"half")

    report = prepare_store(reader, out, max_bad=0.1, shard_bytes=SMALL_SHARD)
    assert (report.resumed_at > 0) == (shards > 0)
    assert report.bad == 1
    assert report.store.hash == whole.hash
    assert content(out) == content(whole.path)


def test_killed_again_and_again_in_parallel(folder_tree: Path, tmp_path: Path) -> None:
    """No kill costs a finished shard, or leaves a process behind, or shows in the store."""
    trees.truncate(folder_tree / "forest" / "p1_20180115.tif")
    reader = open_reader("folder", folder_tree, labels="parent")
    whole = prepare_store(
        reader, tmp_path / "whole", max_bad=0.1, shard_bytes=SMALL_SHARD, jobs=1
    ).store
    out, done, items = tmp_path / "killed", 0, len(reader.items())
    chance = random.Random(0)
    while done < items:
        at = chance.randint(done + 1, items)
        kill(folder_tree, out, at, jobs=2)
        done = at
    report = prepare_store(reader, out, max_bad=0.1, shard_bytes=SMALL_SHARD, jobs=2)
    assert report.resumed_at > 0
    assert content(out) == content(whole.path)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("name", ["folder", "eurosat", "oscd"])
def test_any_number_of_jobs_gives_the_same_store(
    name: str, folder_tree: Path, eurosat_tree: Path, oscd_tree: Path, tmp_path: Path
) -> None:
    source = {"folder": folder_tree, "eurosat": eurosat_tree, "oscd": oscd_tree}[name]
    trees.truncate(sorted(source.rglob("*.tif"))[5])
    made = {
        jobs: prepare_store(
            source, tmp_path / f"s{jobs}", reader=name, max_bad=0.5, jobs=jobs,
            shard_bytes=SMALL_SHARD,
        )
        for jobs in (1, 2, 3)
    }  # fmt: skip
    assert made[1].bad > 0
    for jobs in (2, 3):
        assert content(made[jobs].store.path) == content(made[1].store.path)
        assert str(made[jobs]).splitlines()[1:-1] == str(made[1]).splitlines()[1:-1]


READ = """
import pickle, sys

read, item = pickle.load(sys.stdin.buffer)
print(len(read(item).patches), *{"torch", "timm", "pandas"} & set(sys.modules))
"""


@pytest.mark.parametrize("name", ["folder", "eurosat", "oscd"])
def test_what_reads_does_not_load_torch(
    name: str, folder_tree: Path, eurosat_tree: Path, oscd_tree: Path
) -> None:
    """It takes two seconds and 300 MB, in each process."""
    source = {"folder": folder_tree, "eurosat": eurosat_tree, "oscd": oscd_tree}[name]
    reader = open_reader(name, source)
    item = reader.items()[0]
    sent = pickle.dumps((partial(read_or_reason, without_items(reader)), item))
    # A list of a million files goes to no process.
    assert len(pickle.dumps(without_items(reader))) < len(pickle.dumps(reader))
    done = subprocess.run([sys.executable, "-c", READ], input=sent, capture_output=True, check=True)
    assert done.stdout.decode().split() == [str(len(reader.read(item).patches))]


def test_jobs_are_positive(folder_tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="jobs must be 1 or more, not 0"):
        prepare_store(folder_tree, tmp_path / "s", jobs=0)


INTERRUPTED = """
import os, signal, sys
from georank_cli import main
from georank_cli.progress import Bar
from georank_zoo.utils import parallel

parallel._ALONE_S = parallel._WORTH_S = 0.0
Bar.update = lambda self, done, total, note="": (
    os.killpg(0, int(sys.argv[3])) if done == 4 and "patches" in note else None
)
main(["data", "prepare", "folder", sys.argv[1], "--out", sys.argv[2], "--jobs", "2"])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_ends_a_command_is_its_to_answer(
    number: int, folder_tree: Path, tmp_path: Path
) -> None:
    """Terminals and schedulers send it to all processes; those that read say nothing."""
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, folder_tree, tmp_path / "s", str(int(number))],
        check=False, capture_output=True, text=True, start_new_session=True,
    )  # fmt: skip
    assert ended.returncode == 128 + number
    assert ended.stdout == ""
    assert ended.stderr.splitlines()[-1].startswith("Interrupted at item 4 of ")
    assert [path.name for path in tmp_path.iterdir() if path != folder_tree] == ["s.partial"]
    assert "Traceback" not in ended.stderr


def test_resuming_another_source_is_refused(folder_tree: Path, tmp_path: Path) -> None:
    kill(folder_tree, tmp_path / "s", 4, jobs=1)
    trees.write_tif(
        folder_tree / "crop" / "new.tif", trees.noise((4, 32, 32)), descriptions=trees.FOLDER_BANDS
    )
    reader = open_reader("folder", folder_tree, labels="parent")
    with pytest.raises(UsageError, match="another source"):
        prepare_store(reader, tmp_path / "s", shard_bytes=SMALL_SHARD)
    assert len(prepare_store(reader, tmp_path / "s", overwrite=True).store) == 13


def test_ctrl_c_keeps_the_partial_store(folder_tree: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int | None, note: str) -> None:
        if done == 4:
            raise KeyboardInterrupt

    reader = open_reader("folder", folder_tree, labels="parent")
    with pytest.raises(Interrupted, match=r"item 4 of 12.*s\.partial is kept"):
        prepare_store(reader, tmp_path / "s", shard_bytes=SMALL_SHARD, on_progress=stop)
    report = prepare_store(reader, tmp_path / "s", shard_bytes=SMALL_SHARD)
    assert report.resumed_at == 3  # the shard of three patches is finished, the next one not
    assert len(report.store) == 12


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, on which even one shard does not fit."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder],
        check=False,
        capture_output=True,
    )
    if mount.returncode:
        pytest.skip("cannot mount a small tmpfs here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_full_disk(folder_tree: Path, tiny_disk: Path) -> None:
    reader = open_reader("folder", folder_tree)
    with pytest.raises(DiskFullError, match=r"disk is full at .*Make room and repeat"):
        prepare_store(reader, tiny_disk / "s", shard_bytes=SMALL_SHARD)
    assert not (tiny_disk / "s").exists()
    for waste in (tiny_disk / "s.partial").glob("*.tmp"):
        pytest.fail(f"{waste} is left and takes the missing space")


def test_full_disk_from_python(
    folder_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **keywords: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("georank_zoo.data.store.writer.save_file", full)
        with pytest.raises(DiskFullError, match="disk is full"):
            prepare_store(open_reader("folder", folder_tree), tmp_path / "s")
    assert len(prepare_store(open_reader("folder", folder_tree), tmp_path / "s").store) == 12


def test_misnamed_bands_are_suspected(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pixels = np.full((2, 16, 16), 900, np.uint16)
    pixels[1] = 12
    trees.write_tif(tmp_path / "f" / "a.tif", pixels)
    with caplog.at_level(logging.WARNING):
        prepare_store(open_reader("folder", tmp_path / "f", bands="B09,B10"), tmp_path / "right")
        assert caplog.messages == []
        prepare_store(open_reader("folder", tmp_path / "f", bands="B10,B09"), tmp_path / "wrong")
    assert "wrong order" in caplog.text


def test_real_stores(real_data: Path, tmp_path: Path) -> None:
    report = prepare_store(
        open_reader("eurosat", real_data / "eurosat_ms"), tmp_path / "s", max_bad=0
    )
    store = report.store
    assert (len(store), store.header.places, store.size) == (202, 202, 64)
    # Vegetation is bright in the near infrared; water vapor makes B09 dark at L1C.
    mean = {name: s.mean for name, s in store.header.statistics.items()}
    assert mean["B8A"] > mean["B08"] > mean["B04"] > mean["B09"]
    assert (store.path / HEADER_FILE).is_file()


@pytest.mark.parametrize("name", ["MTD_MSIL2A.xml", "p0_20180115.tif.msk", "x.tif.aux.xml"])
def test_what_lies_beside_the_files_is_part_of_the_source(folder_tree: Path, name: str) -> None:
    before = open_reader("folder", folder_tree).spec
    (folder_tree / "crop" / name).write_text("<a/>")
    after = open_reader("folder", folder_tree).spec
    assert {key for key in before if before[key] != after[key]} == {"listing"}
