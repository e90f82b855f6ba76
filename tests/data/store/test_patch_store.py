from __future__ import annotations

import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from georank_zoo.data.store.header import HEADER_FILE, Skipped
from georank_zoo.data.store.patch import NO_LABEL, NO_TIME, Patch
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.data.store.writer import StoreWriter
from georank_zoo.utils.errors import StoreError, UsageError
from georank_zoo.utils.files import new_folder, replace_folder, write_text
from tests.support.trees import noise

BANDS = ("B02", "B8A", "B12")


def patch(n: int, place: str = "a", **keywords: object) -> Patch:
    return Patch(noise((3, 8, 8), n), lat=n / 10, lon=-n, key=f"f{n}.tif", place=place, **keywords)  # type: ignore[arg-type]


def write(path: Path, items: int = 10, shard_bytes: int = 3 * 8 * 8 * 2 * 4) -> PatchStore:
    """Two patches an item, item 3 left out."""
    writer = StoreWriter(path, bands=BANDS, size=8, spec={"x": 1}, class_names=("even", "odd"),
                         shard_bytes=shard_bytes)  # fmt: skip
    for item in range(items):
        if item == 3:
            writer.skip([Skipped("item 3", "all zero")])
        else:
            writer.add([patch(2 * item, label=item % 2), patch(2 * item + 1, time=item)])
    return writer.finish(reader="test", level="L1C", license="CC0")


def test_round_trip(tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    numbers = [n for n in range(20) if n not in (6, 7)]
    assert len(store) == 18
    assert len(store.header.shards) > 2
    np.testing.assert_array_equal(
        store.read(np.arange(18)), np.stack([noise((3, 8, 8), n) for n in numbers])
    )
    np.testing.assert_allclose(store.latlon, [(n / 10, -n) for n in numbers])
    np.testing.assert_array_equal(store.place, np.repeat(np.arange(9), 2))
    assert store.header.places == 9
    assert store.keys == [f"f{n}.tif" for n in numbers]
    assert store.label[:3].tolist() == [0, NO_LABEL, 1]
    assert store.time[:4].tolist() == [NO_TIME, 0, NO_TIME, 1]
    assert store.header.skipped == (Skipped("item 3", "all zero"),)
    assert not (tmp_path / "s" / "spec.json").exists()


def test_reading_any_order_and_bands(tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    every = store.read(np.arange(18))
    order = np.array([17, 0, 9, 0])
    np.testing.assert_array_equal(store.read(order, ("B12", "B02")), every[order][:, [2, 0]])
    joined = np.concatenate([part for _, part in store.chunks(5)])
    np.testing.assert_array_equal(joined, every)


def test_statistics_equal_numpy(tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    pixels = store.read(np.arange(18)).astype(np.float64) / 10_000
    mean, std = store.mean_std(("B8A", "B02"))
    np.testing.assert_allclose(mean, pixels.mean(axis=(0, 2, 3))[[1, 0]], rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(axis=(0, 2, 3))[[1, 0]], rtol=1e-9)
    assert store.header.statistics["B12"].max == pixels[:, 2].max()


def test_same_content_same_hash_whatever_the_folder(tmp_path: Path) -> None:
    one, other = write(tmp_path / "a"), write(tmp_path / "b")
    assert one.hash == other.hash
    assert (one.path / HEADER_FILE).read_bytes() == (other.path / HEADER_FILE).read_bytes()
    assert write(tmp_path / "c", items=9).hash != one.hash


def test_constant_band_cannot_be_standardized(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "s", bands=("B02",), size=8, spec={})
    writer.add([Patch(np.full((1, 8, 8), 7, np.uint16), 0, 0, "f", "a")])
    with pytest.raises(StoreError, match="B02 have one value"):
        writer.finish(reader="t").mean_std(("B02",))


def test_missing_band_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is missing band\(s\) B01"):
        write(tmp_path / "s").require_bands(("B02", "B01"))


def test_absent_and_unfinished_stores_say_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="georank data prepare"):
        PatchStore(tmp_path / "s")
    StoreWriter(tmp_path / "s", bands=BANDS, size=8, spec={})
    with pytest.raises(StoreError, match="has not finished"):
        PatchStore(tmp_path / "s")


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "header"])
def test_damaged_shard_is_refused(tmp_path: Path, damage: str) -> None:
    store = write(tmp_path / "s")
    shard = store.path / store.header.shards[1].file
    content = shard.read_bytes()
    if damage == "gone":
        shard.unlink()
    else:
        shard.write_bytes({"cut": content[:-9], "empty": b"", "header": b"\xff" * 99}[damage])
    with pytest.raises(StoreError, match=f"{shard.name} is (damaged|missing)"):
        PatchStore(store.path)


def test_verify_finds_a_flipped_bit(tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    assert store.verify() == []
    shard = store.path / store.header.shards[1].file
    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(content)
    assert store.verify() == [f"{shard.name} does not match its recorded SHA-256"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "georank-store/3"}'])
def test_damaged_header_is_refused(tmp_path: Path, text: str) -> None:
    store = write(tmp_path / "s")
    (store.path / HEADER_FILE).write_text(text)
    with pytest.raises(StoreError, match=r"store\.json is damaged"):
        PatchStore(store.path)


@pytest.mark.parametrize("other", ["georank-store/1", "georank-store/9"])
def test_other_format_is_refused(tmp_path: Path, other: str) -> None:
    store = write(tmp_path / "s")
    text = (store.path / HEADER_FILE).read_text().replace("georank-store/3", other)
    (store.path / HEADER_FILE).write_text(text)
    with pytest.raises(StoreError, match=rf"{other}.*Prepare the store again"):
        PatchStore(store.path)


def test_wrong_shape_is_refused(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "s", bands=BANDS, size=16, spec={})
    with pytest.raises(ValueError, match=r"f0\.tif"):
        writer.add([patch(0)])


def test_pickled_store_opens_again(tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    blob = pickle.dumps(store)
    assert len(blob) < 2000
    np.testing.assert_array_equal(pickle.loads(blob).read(np.array([4])), store.read(np.array([4])))


def test_overwrite_replaces_stores_only(tmp_path: Path) -> None:
    write(tmp_path / "s")
    with pytest.raises(UsageError, match="Pass --overwrite"):
        StoreWriter(tmp_path / "s", bands=BANDS, size=8, spec={})
    precious = tmp_path / "photos"
    precious.mkdir()
    (precious / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="is not a store"):
        StoreWriter(precious, bands=BANDS, size=8, spec={}, overwrite=True)
    with pytest.raises(UsageError, match="is not a store"):
        precious.rename(tmp_path / "new.partial")
        StoreWriter(tmp_path / "new", bands=BANDS, size=8, spec={}, overwrite=True)
    assert (tmp_path / "new.partial" / "holiday.jpg").exists()


def test_partial_of_another_spec_is_refused(tmp_path: Path) -> None:
    StoreWriter(tmp_path / "s", bands=BANDS, size=8, spec={"seed": 1})
    with pytest.raises(UsageError, match="other settings"):
        StoreWriter(tmp_path / "s", bands=BANDS, size=8, spec={"seed": 2})
    StoreWriter(tmp_path / "s", bands=BANDS, size=8, spec={"seed": 2}, overwrite=True)


def test_a_folder_in_a_partial_store_is_named_and_kept(tmp_path: Path) -> None:
    def begin() -> None:
        StoreWriter(tmp_path / "s", bands=BANDS, size=8, spec={})

    begin()
    (tmp_path / "s.partial" / ".ipynb_checkpoints").mkdir()
    with pytest.raises(UsageError, match="ipynb_checkpoints is no part of a store"):
        begin()
    (tmp_path / "s.partial" / ".ipynb_checkpoints").rmdir()
    begin()


FEW_FILES = """
import resource, sys
import numpy as np
from georank_zoo.data.store.patch import Patch
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.data.store.writer import StoreWriter

resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))

def writer():
    return StoreWriter(sys.argv[1], bands=("B02",), size=8, spec={}, shard_bytes=1)

one = writer()
for n in range(300):
    if n == 200:
        one = writer()
        assert one.next_item == 200
    one.add([Patch(np.full((1, 8, 8), n, np.uint16), 0, 0, f"f{n}", "a")])
store = one.finish(reader="t")
assert len(store.header.shards) == 300
order = np.random.default_rng(0).permutation(300)
for opened in (store, PatchStore(sys.argv[1])):
    assert (opened.read(order)[:, 0, 0, 0] == order).all()
"""


def test_more_shards_than_files_may_be_open(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FEW_FILES, tmp_path / "s"], check=True)


def test_mapped_patches_are_read_only(tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    with pytest.raises(ValueError, match="read-only"):
        store._patches[0][0] = 0


def test_files_have_the_mode_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        store = write(tmp_path / "s")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in store.path.iterdir()}
    assert set(modes.values()) == {0o640}, modes


class Killed(BaseException):
    """Stands for a kill: nothing after it runs."""


@pytest.mark.parametrize("step", range(4))
def test_a_kill_while_a_store_is_replaced_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """One of the two stores lies complete at the name or next to it, whatever was done last."""
    one, other = write(tmp_path / "s"), write(tmp_path / "other", items=5)
    done = 0

    def killed_at(function: object) -> object:
        def call(*arguments: object, **keywords: object) -> object:
            nonlocal done
            if done >= step:
                raise Killed
            done += 1
            return function(*arguments, **keywords)  # type: ignore[operator]

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed_at(Path.rename))
        patch.setattr(
            "georank_zoo.utils.files.shutil.rmtree", killed_at(__import__("shutil").rmtree)
        )
        if step < 3:
            with pytest.raises(Killed):
                replace_folder(tmp_path / "other", tmp_path / "s")
        else:
            replace_folder(tmp_path / "other", tmp_path / "s")
    hashes = {PatchStore(folder).hash for folder in tmp_path.iterdir()}
    assert other.hash in hashes
    assert (one.hash in hashes) == (step < 3)
    # The next one replaces and leaves nothing behind.
    if (tmp_path / "other").exists():
        replace_folder(tmp_path / "other", tmp_path / "s")
    else:
        replace_folder(write(tmp_path / "other", items=5).path, tmp_path / "s")
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert PatchStore(tmp_path / "s").hash == other.hash


def test_a_folder_that_cannot_come_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "none", tmp_path / "old")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_content_reaches_the_disk_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    def fsync(descriptor: int) -> None:
        assert not (tmp_path / "f").exists()
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr("georank_zoo.utils.files.os.fsync", fsync)
    with new_folder(tmp_path / "f") as temporary:
        (temporary / "in").mkdir()
        (temporary / "in" / "a").write_text("four")
        (temporary / "b").write_text("eleven more")
    assert sorted(synced) == [4, 11]
    assert (tmp_path / "f" / "in" / "a").read_text() == "four"


def test_a_kill_while_the_spec_is_written_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.write_text

    def killed(self: Path, text: str, **keywords: str) -> int:
        real(self, text[: len(text) // 2], **keywords)
        os._exit(9)

    monkeypatch.setattr(Path, "write_text", killed)
    child = os.fork()
    if child == 0:
        StoreWriter(tmp_path / "s", bands=BANDS, size=8, spec={"x": 1})
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    monkeypatch.undo()
    assert len(write(tmp_path / "s")) == 18


def test_write_text_replaces_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["cut", "removed"])
def test_a_shard_that_is_cut_while_it_is_read(damage: str, tmp_path: Path) -> None:
    """In another process: where it is not seen in time the system ends that one (SIGBUS)."""
    path = write(tmp_path / "s", shard_bytes=2**20).path
    code = f"""
import os, sys, numpy as np
from georank_zoo import open_store
from georank_zoo.utils.errors import StoreError
store = open_store({str(path)!r})
shard = store.path / store.header.shards[0].file
if {damage!r} == "cut":
    os.truncate(shard, 8)
else:
    shard.unlink()
for read in (lambda: store[3], lambda: store.read(np.arange(4)), lambda: store.corners,
             lambda: store.radiometry, lambda: next(store.chunks(2))):
    try:
        read()
    except StoreError as error:
        assert "shard-00000.safetensors has" in str(error) and "prepare it again" in str(error)
    else:
        sys.exit("read")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
