"""Every field of every file of a store, damaged: an error that names the store, never silence."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from georank_zoo.data.store.header import HEADER_FILE, PLACE_FILE
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.utils.documents import checksum_of
from georank_zoo.utils.errors import StoreError
from tests.data.store.test_patch_store import write
from tests.faults import damages

SHARD = "shard-00001.safetensors"
# What is said once, and in words: no other part of a store can contradict it.
FREE = ("reader", "spec.", "level", "source", "license", "class_names")


def sealed(document: Any) -> Any:
    """The document with the checksum that it should have: what a careful hand would write."""
    return {**document, "checksum": checksum_of(document)}


def of_file(name: str, content: bytes) -> Iterator[damages.Damage]:
    if name == HEADER_FILE:
        yield from damages.of_json(content)
        for what, damaged in damages.of_json(content, sealed):
            # What is not there has its default, which a careful hand may mean.
            if not what.startswith((*FREE, "checksum")) and not what.endswith("removed"):
                yield f"sealed {what}", damaged
    else:
        yield from damages.of_safetensors(content)
    yield from damages.of_text(content)


def silent_and_raised(path: Path, every: int) -> tuple[int, list[str]]:
    """Tries damages of a file of a store; returns their number, and what went wrong."""
    good, tried, wrong = path.read_bytes(), 0, []
    for what, damaged in damages.every(every, of_file(path.name, good)):
        if damaged == good:
            continue
        tried += 1
        path.write_bytes(damaged)
        try:
            if not any(path.name in fault for fault in PatchStore(path.parent).verify()):
                wrong.append(f"{what}: silent")
        except StoreError as error:
            if str(path.parent) not in str(error) or len(str(error)) > 600:
                wrong.append(f"{what}: {error}")
        except Exception as error:  # noqa: BLE001 - what a user would see as a traceback
            wrong.append(f"{what}: {error!r}")
    path.write_bytes(good)
    return tried, wrong


@pytest.mark.parametrize("name", [HEADER_FILE, SHARD, PLACE_FILE])
@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_damaged_file_is_refused(name: str, every: int, tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    tried, wrong = silent_and_raised(store.path / name, every)
    assert tried > 100 // every
    assert not wrong


def rewrite(store: PatchStore, shard: int, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the tensors of a shard, and makes every hash of the store right again."""
    path = store.path / store.header.shards[shard].file
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=metadata)
    rehash(store.path)


def rehash(folder: Path) -> None:
    """Writes the hashes that the files have into `store.json`, as format 2 had them."""
    document = json.loads((folder / HEADER_FILE).read_text())
    files = [*document["shards"], document["place_file"]]
    for file in files:
        file["sha256"] = hashlib.sha256((folder / file["file"]).read_bytes()).hexdigest()
        del file["columns"]
    document["hash"] = hashlib.sha256("".join(f["sha256"] for f in files).encode()).hexdigest()
    del document["checksum"]
    (folder / HEADER_FILE).write_text(json.dumps({**document, "format": "georank-store/2"}))


def shorter(name: str) -> Callable[[dict[str, Any]], None]:
    def change(tensors: dict[str, Any]) -> None:
        tensors[name] = tensors[name][:-1].copy()

    return change


def holds(name: str, value: float) -> Callable[[dict[str, Any]], None]:
    def change(tensors: dict[str, Any]) -> None:
        tensors[name].reshape(-1)[0] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (shorter("latlon"), r"tensor 'latlon' is float64 \(3, 2\) instead of float64 \(4, 2\)"),
        (shorter("patches"), "tensor 'patches' is uint16"),
        (lambda t: t.update(label=t["label"].astype(np.uint8)), "tensor 'label' is uint8"),
        (lambda t: t.update(other=t["label"]), "tensor 'other' is int64 .* instead of missing"),
        (lambda t: t.pop("time"), "tensor 'time' is missing"),
        (holds("latlon", np.nan), "tensor 'latlon' holds a value that cannot be"),
        (holds("latlon", 91), "tensor 'latlon' holds"),
        (holds("corners", 3), "tensor 'corners' holds"),
        (holds("label", 2), "tensor 'label' holds"),
        (holds("label", -2), "tensor 'label' holds"),
        (holds("radiometry", 0), "tensor 'radiometry' holds"),
        (holds("group", -1), "tensor 'group' holds"),
    ],
)
def test_a_shard_that_contradicts_its_document(
    change: Callable[[dict[str, Any]], None], reason: str, tmp_path: Path
) -> None:
    store = write(tmp_path / "s")
    rewrite(store, 1, change)
    with pytest.raises(StoreError, match=rf"{SHARD} is damaged: {reason}"):
        PatchStore(store.path)


def test_a_store_of_format_2_still_opens(tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    rehash(store.path)
    old = PatchStore(store.path)
    assert old.hash == store.hash and old.verify() == []


@pytest.mark.parametrize("twice", [True, False])
def test_shards_out_of_order(twice: bool, tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    one, other = (store.path / f"shard-0000{n}.safetensors" for n in (0, 1))
    first, second = one.read_bytes(), other.read_bytes()
    other.write_bytes(first)
    if not twice:
        one.write_bytes(second)
    rehash(store.path)
    with pytest.raises(StoreError, match=r"shard . begins with item . instead of ."):
        PatchStore(store.path)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (np.zeros(18, np.int64), "does not number 9 of them"),
        (np.repeat(np.arange(9), 2)[::-1].copy(), "in their order"),
        (np.arange(18) // 2 * 2, "does not number 9"),
        (np.r_[0, 1, np.repeat(np.arange(1, 9), 2)], "a footprint lies in two places"),
    ],
)  # fmt: skip
def test_places_that_contradict_the_header(place: Any, reason: str, tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    path = store.path / PLACE_FILE
    save_file({"place": place, "footprint": store.footprint}, path)
    rehash(store.path)
    with pytest.raises(StoreError, match=f"{PLACE_FILE} is damaged: .*{reason}"):
        PatchStore(store.path)


def test_a_header_cannot_ask_for_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "s").path / SHARD
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["patches"]["shape"] = [2**31, 2**31, 2**31, 0]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    with pytest.raises(StoreError, match="does not lie where its shape says"):
        PatchStore(path.parent)
