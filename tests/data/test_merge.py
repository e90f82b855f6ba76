from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from georank_zoo.data.files.radiometry import uniform
from georank_zoo.data.merge import merge_stores
from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.readers import open_reader
from georank_zoo.data.store.describe import describe, facts_table
from georank_zoo.data.store.header import Skipped
from georank_zoo.data.store.patch import Target
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.data.store.share import parse_share
from georank_zoo.data.store.writer import StoreWriter
from georank_zoo.utils.errors import Interrupted, StoreError, UsageError
from georank_zoo.utils.write_errors import DiskFullError
from tests.data.test_targets import BANDS, CLASSES, SPLITS, patch
from tests.support import trees

SMALL_SHARD = 3 * 4 * 32 * 32 * 2  # three patches of the folder tree


def content(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.iterdir()}


def shares_of(source: Path, out: Path, of: int, reader: str = "folder") -> list[Path]:
    for number in range(1, of + 1):
        prepare_store(
            source, out / str(number), reader=reader, max_bad=1, shard_bytes=SMALL_SHARD,
            share=f"{number}/{of}",
        )  # fmt: skip
    return [out / str(number) for number in range(1, of + 1)]


@pytest.mark.parametrize(("name", "of"), [("folder", 5), ("eurosat", 2), ("oscd", 2)])
def test_shares_make_the_store_of_one_preparation(
    name: str, of: int, folder_tree: Path, eurosat_tree: Path, oscd_tree: Path, tmp_path: Path
) -> None:
    source = {"folder": folder_tree, "eurosat": eurosat_tree, "oscd": oscd_tree}[name]
    trees.truncate(sorted(source.rglob("*.tif"))[1])
    whole = prepare_store(
        source, tmp_path / "whole", reader=name, max_bad=1, shard_bytes=SMALL_SHARD
    ).store
    shares = shares_of(source, tmp_path, of, name)
    assert sum(len(PatchStore(share)) for share in shares) == len(whole)
    merged = merge_stores(shares[::-1], tmp_path / "merged", shard_bytes=SMALL_SHARD)
    assert merged.hash == whole.hash
    assert content(merged.path) == content(whole.path)
    assert not merged.header.share


def test_what_only_the_whole_shows_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, left in enumerate((500_000, 600_000)):
        trees.write_tif(
            tmp_path / "f" / f"{number}.tif", trees.noise((4, 32, 32)), left=left,
            descriptions=trees.FOLDER_BANDS,
        )  # fmt: skip
    shares = shares_of(tmp_path / "f", tmp_path, 2)
    assert "pixels of an earlier one" not in caplog.text
    merge_stores(shares, tmp_path / "merged")
    assert "1.tif those of 0.tif" in caplog.text


@pytest.mark.parametrize("target", get_args(Target))
def test_all_that_a_patch_may_hold_comes_along(target: Target, tmp_path: Path) -> None:
    """Two places and three patches an item, parts left out, and what only some patches have."""

    def write(path: Path, numbers: range, spec: dict[str, Any]) -> PatchStore:
        writer = StoreWriter(
            path, bands=BANDS, size=8, spec=spec, target=target, class_names=CLASSES,
            splits=SPLITS, shard_bytes=5 * 2 * 8 * 8 * 2,
        )  # fmt: skip
        for n in numbers:
            applied = uniform(2, offset=-0.1 * (n % 2), source="test") if n % 3 else None
            square = np.array([(n, 0), (n, 1), (n + 1, 1), (n + 1, 0)], np.float64)
            patches = [
                patch(
                    3 * n + k, target, place=f"p{k % 2}", time=n, radiometry=applied,
                    footprint=square if k else None,
                )
                for k in range(n % 4)
            ]  # fmt: skip
            writer.add(patches, [Skipped(f"f{n}@{k}", "empty: all") for k in range(n % 3)])
        return writer.finish(reader="test", level="L2A", source="here", license="MIT")

    whole = write(tmp_path / "whole", range(20), {"of": 7})
    parts = {1: range(6), 2: range(6, 13), 3: range(13, 20)}
    for k, part in parts.items():
        write(tmp_path / str(k), part, {"of": 7, "share": f"{k}/3"})
    shares = [tmp_path / str(k) for k in parts]
    merge_stores(shares, tmp_path / "merged", shard_bytes=5 * 2 * 8 * 8 * 2)
    assert content(tmp_path / "merged") == content(whole.path)


def test_a_share_says_that_it_is_one(folder_tree: Path, tmp_path: Path) -> None:
    report = prepare_store(folder_tree, tmp_path / "s", share="2/3")
    names = [item.name for item in open_reader("folder", folder_tree).items()]
    assert report.items == report.units == 4
    assert report.store.keys == names[4:8]
    assert report.store.header.share == "2/3"
    assert repr(report.store).endswith("4 bands, share 2/3)")
    assert ("Share", "2/3 of the source's items") in facts_table(describe(report.store)).rows


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "3/0", "-1/4", "1/4/2", "a/b", "1.5/4"])
def test_what_is_no_share(text: str, folder_tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a share.*such as 3/16"):
        prepare_store(folder_tree, tmp_path / "s", share=text)


def test_shares_cover_all_once() -> None:
    for count, of in ((12, 1), (12, 5), (16, 16), (1000, 7)):
        parts = [list(parse_share(f"{n}/{of}").take(range(count))) for n in range(1, of + 1)]
        assert [item for part in parts for item in part] == list(range(count))
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
    with pytest.raises(UsageError, match=r"has 12 items.*into 12 shares or fewer"):
        parse_share("1/13").take(range(12))


def test_the_limit_of_bad_files_counts_in_a_share(folder_tree: Path, tmp_path: Path) -> None:
    for file in sorted(folder_tree.rglob("*.tif"))[:2]:
        trees.truncate(file)
    with pytest.raises(StoreError, match="1 of 3 already"):
        prepare_store(folder_tree, tmp_path / "s", share="1/4", max_bad=0.2)
    assert prepare_store(folder_tree, tmp_path / "s", share="2/4", max_bad=0.2).bad == 0


def test_a_share_of_nothing_is_merged_too(folder_tree: Path, tmp_path: Path) -> None:
    for file in sorted(folder_tree.rglob("*.tif"))[:3]:
        trees.truncate(file)
    first, *others = shares_of(folder_tree, tmp_path, 4)
    empty = PatchStore(first)
    assert len(empty) == 0
    assert describe(empty)["patches"] == 0
    with pytest.raises(StoreError, match="one value everywhere"):
        empty.mean_std(empty.bands)
    merged = merge_stores([first, *others], tmp_path / "merged")
    assert (len(merged), len(merged.header.skipped)) == (9, 3)


def test_what_does_not_belong_together(folder_tree: Path, tmp_path: Path) -> None:
    one, two, three = shares_of(folder_tree, tmp_path, 3)
    out = tmp_path / "merged"
    for given, message in (
        ([], "None given.*Give all shares"),
        ([one, three], "All 3 shares are needed, each once; missing: 2/3"),
        ([one, three, one], r"missing: 2/3; given more than once: 1/3 \(.*1, .*1\)"),
    ):
        with pytest.raises(UsageError, match=message):
            merge_stores(given, out)
    whole = prepare_store(folder_tree, tmp_path / "whole").store.path
    with pytest.raises(UsageError, match="whole holds no share but all of its source"):
        merge_stores([one, two, whole], out)
    half = prepare_store(folder_tree, tmp_path / "half", share="1/2").store.path
    with pytest.raises(UsageError, match="differ in number of shares"):
        merge_stores([half, two, three], out)
    other = prepare_store(folder_tree, tmp_path / "other", share="1/3", labels="parent").store.path
    with pytest.raises(UsageError, match="differ in class_names, labels"):
        merge_stores([other, two, three], out)
    with pytest.raises(StoreError, match="No store at"):
        merge_stores([one, two, tmp_path / "none"], out)
    with pytest.raises(UsageError, match="replace its own source"):
        merge_stores([one, two, three], one, overwrite=True)
    assert not list(tmp_path.glob("merged*"))


def test_a_damaged_share_is_named(folder_tree: Path, tmp_path: Path) -> None:
    shares = shares_of(folder_tree, tmp_path, 2)
    file = next(shares[1].glob("shard-*"))
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(StoreError, match=rf"{file.name} does not match .* share 2/2, again"):
        merge_stores(shares, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_an_interrupted_merge_is_resumed(
    folder_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = shares_of(folder_tree, tmp_path, 2)
    whole = merge_stores(shares, tmp_path / "whole", shard_bytes=SMALL_SHARD)

    def stop(done: int, total: int | None, note: str) -> None:
        if done == 8:
            raise KeyboardInterrupt

    out = tmp_path / "merged"
    with pytest.raises(Interrupted, match=r"item 8 of 12.*merged\.partial is kept"):
        merge_stores(shares, out, shard_bytes=SMALL_SHARD, on_progress=stop)

    def full(*args: object, **keywords: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as replaced:
        replaced.setattr("georank_zoo.data.store.writer.save_file", full)
        with pytest.raises(DiskFullError, match="disk is full"):
            merge_stores(shares, out, shard_bytes=SMALL_SHARD)
    done: list[int] = []
    merge_stores(shares, out, shard_bytes=SMALL_SHARD, on_progress=lambda n, *_: done.append(n))
    assert done[0] > 6  # a share that is merged is not read again
    assert content(out) == content(whole.path)
