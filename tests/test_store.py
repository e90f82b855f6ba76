from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from georank_zoo.data.manifest import MANIFEST, Skipped
from georank_zoo.data.store import NO_LABEL, NO_TIME, PatchStore
from georank_zoo.data.writer import Patch, StoreWriter
from georank_zoo.errors import StoreError, UsageError
from tests.trees import noise

BANDS = ("B02", "B8A", "B12")


def patch(n: int, place: str = "a", **keywords: object) -> Patch:
    return Patch(noise((3, 8, 8), n), lat=n / 10, lon=-n, key=f"f{n}.tif", place=place, **keywords)  # type: ignore[arg-type]


def write(path: Path, items: int = 10, shard_bytes: int = 3 * 8 * 8 * 2 * 4) -> PatchStore:
    """Two patches an item, item 3 left out."""
    writer = StoreWriter(path, bands=BANDS, size=8, spec={"x": 1}, shard_bytes=shard_bytes)
    for item in range(items):
        if item == 3:
            writer.skip([Skipped("item 3", "all zero")])
        else:
            writer.add([patch(2 * item, label=item % 2), patch(2 * item + 1, time=item)])
    return writer.finish(reader="test", class_names=("even", "odd"), level="L1C", licence="CC0")


def test_round_trip(tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    numbers = [n for n in range(20) if n not in (6, 7)]
    assert len(store) == 18
    assert len(store.manifest.shards) > 2
    np.testing.assert_array_equal(
        store.read(np.arange(18)), np.stack([noise((3, 8, 8), n) for n in numbers])
    )
    np.testing.assert_allclose(store.latlon, [(n / 10, -n) for n in numbers])
    np.testing.assert_array_equal(store.place, np.repeat(np.arange(9), 2))
    assert store.manifest.places == 9
    assert store.keys == [f"f{n}.tif" for n in numbers]
    assert store.label[:3].tolist() == [0, NO_LABEL, 1]
    assert store.time[:4].tolist() == [NO_TIME, 0, NO_TIME, 1]
    assert store.manifest.skipped == (Skipped("item 3", "all zero"),)
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
    assert store.manifest.statistics["B12"].max == pixels[:, 2].max()


def test_same_content_same_hash_whatever_the_folder(tmp_path: Path) -> None:
    one, other = write(tmp_path / "a"), write(tmp_path / "b")
    assert one.hash == other.hash
    assert (one.path / MANIFEST).read_bytes() == (other.path / MANIFEST).read_bytes()
    assert write(tmp_path / "c", items=9).hash != one.hash


def test_constant_band_cannot_be_standardised(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "s", bands=("B02",), size=8, spec={})
    writer.add([Patch(np.full((1, 8, 8), 7, np.uint16), 0, 0, "f", "a")])
    with pytest.raises(StoreError, match="B02 have one value"):
        writer.finish(reader="t").mean_std(("B02",))


def test_missing_band_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"lacks band\(s\) B01"):
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
    shard = store.path / store.manifest.shards[1].file
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
    shard = store.path / store.manifest.shards[1].file
    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(content)
    assert store.verify() == [f"{shard.name} does not match its recorded SHA-256"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "georank-store/1"}'])
def test_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    store = write(tmp_path / "s")
    (store.path / MANIFEST).write_text(text)
    with pytest.raises(StoreError, match=r"store\.json is damaged"):
        PatchStore(store.path)


def test_other_format_is_refused(tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    text = (store.path / MANIFEST).read_text().replace("georank-store/1", "georank-store/9")
    (store.path / MANIFEST).write_text(text)
    with pytest.raises(StoreError, match="georank-store/9"):
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
    with pytest.raises(UsageError, match="--overwrite"):
        StoreWriter(tmp_path / "s", bands=BANDS, size=8, spec={})
    precious = tmp_path / "photos"
    precious.mkdir()
    (precious / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="is no store"):
        StoreWriter(precious, bands=BANDS, size=8, spec={}, overwrite=True)
    with pytest.raises(UsageError, match="is no store"):
        precious.rename(tmp_path / "new.partial")
        StoreWriter(tmp_path / "new", bands=BANDS, size=8, spec={}, overwrite=True)
    assert (tmp_path / "new.partial" / "holiday.jpg").exists()


def test_partial_of_another_spec_is_refused(tmp_path: Path) -> None:
    StoreWriter(tmp_path / "s", bands=BANDS, size=8, spec={"seed": 1})
    with pytest.raises(UsageError, match="other settings"):
        StoreWriter(tmp_path / "s", bands=BANDS, size=8, spec={"seed": 2})
    StoreWriter(tmp_path / "s", bands=BANDS, size=8, spec={"seed": 2}, overwrite=True)
