"""What a store says twice must agree: its header, its shards, and the places of its patches.

Pixels and masks are not read: their bytes are compared by `MappedStore.verify`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georank_zoo.data.store.header import ShardHeader, StoreHeader
from georank_zoo.data.store.mapped_file import Arrays, ShardFile, map_safetensors
from georank_zoo.data.store.moments import applied_radiometry, statistics_of
from georank_zoo.data.store.patch import NO_LABEL, NO_ROLE, ROLES, UNKNOWN, Target
from georank_zoo.utils.errors import StoreError, plain
from georank_zoo.utils.files import sha256_of

_REMEDY = "Prepare the store again."
_MOST_CLASSES = 2**31
_Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Promised:
    """What each shard of a store must hold.

    Attributes:
        bands: Bands in channel order.
        size: Patch side in pixels.
        target: Kind of annotation of a patch.
        classes: Number of classes.
        splits: Names of the published splits.
    """

    bands: tuple[str, ...]
    size: int
    target: Target
    classes: int
    splits: tuple[str, ...]

    def tensors(self, count: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Type and shape of each tensor of a shard of `count` patches."""
        columns = ["group", "pixel_hash", "time", "label", "radiometry"]
        columns += [f"split.{name}" for name in self.splits]
        own = {"labels": (count, self.classes), "mask": (count, self.size, self.size)}
        return {
            "patches": ("uint16", (count, len(self.bands), self.size, self.size)),
            "latlon": ("float64", (count, 2)),
            "corners": ("float64", (count, 4, 2)),
            **dict.fromkeys(columns, ("int64", (count,))),
            **{name: ("uint8", shape) for name, shape in own.items() if name == self.target},
        }


def check_shards(where: Path, header: StoreHeader, files: Sequence[ShardFile]) -> None:
    """Checks that the shards of a store are those that its header speaks of.

    Args:
        where: The header's file, for messages.
        header: Header of the store.
        files: Its shards, in order.

    Raises:
        StoreError: Names the file and what of it contradicts.
    """
    promised = Promised(
        header.bands, header.size, header.target, len(header.class_names), header.splits
    )
    headers = []
    for file, shard in zip(files, header.shards, strict=True):
        if shard.columns and file.columns_hash != shard.columns:
            raise _damaged(file.path, "its columns are others than were written")
        headers.append(check_shard(file, promised))
        if len(headers[-1].keys) != shard.count:
            raise _damaged(file.path, f"it holds {len(headers[-1].keys)} patches instead of "
                                      f"{shard.count}")  # fmt: skip
    check_sequence(where.parent, headers)
    applied = applied_radiometry([file.arrays["radiometry"] for file in files], headers)
    agreements = {
        "statistics": _equal_statistics(header, headers),
        "skipped": header.skipped == tuple(s for h in headers for s in h.skipped),
        "radiometry": header.radiometry == applied,
    }
    for name, agrees in agreements.items():
        if not agrees:
            raise _damaged(where, f"{name}: the shards say otherwise")


def check_shard(file: ShardFile, promised: Promised) -> ShardHeader:
    """Checks one shard by itself, and reads its document.

    Raises:
        StoreError: Names the file and what of it is wrong.
    """
    header, arrays = file.header, file.arrays
    count = len(header.keys)
    found = {name: (str(array.dtype), array.shape) for name, array in arrays.items()}
    expected = promised.tensors(count)
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            raise _damaged(file.path, f"tensor {plain(repr(name))} is {_shown(found.get(name))} "
                                      f"instead of {_shown(expected.get(name))}")  # fmt: skip
    bands, moments = len(promised.bands), (header.sums, header.squares, header.mins, header.maxs)
    agreements = {
        "bands": header.bands == promised.bands,
        "next_item": header.next_item - header.first_item == len(header.items),
        "items": sum(patches for patches, _ in header.items) == count
        and sum(left_out for _, left_out in header.items) == len(header.skipped),
        "pixels": header.pixels == count * promised.size**2,
        "sums": all(len(values) == bands for values in moments) and _possible(header),
        "radiometry": all(len(r.scale) == len(r.offset) == bands for r in header.radiometry),
    }
    wrong = [name for name, agrees in agreements.items() if not agrees]
    if wrong:
        raise _damaged(file.path, f"{wrong[0]}: it contradicts the rest of the file")
    _check_values(file.path, arrays, promised, len(header.radiometry))
    return header


def check_sequence(where: Path, headers: Sequence[ShardHeader]) -> None:
    """Checks that shards follow each other from the first item on.

    Raises:
        StoreError: If one is missing, twice there or elsewhere.
    """
    expected = 0
    for number, header in enumerate(headers):
        if header.first_item != expected:
            raise _damaged(where, f"shard {number} begins with item {header.first_item} instead "
                                  f"of {expected}")  # fmt: skip
        expected = header.next_item


def read_places(folder: Path, header: StoreHeader) -> tuple[_Numbers, _Numbers]:
    """Reads the place and the footprint of each patch (N,).

    Raises:
        StoreError: If the file is missing or damaged, or contradicts the header.
    """
    path = folder / header.place_file.file
    arrays, _ = map_safetensors(path)
    expected = dict.fromkeys(("place", "footprint"), ("int64", (header.count,)))
    if {name: (str(array.dtype), array.shape) for name, array in arrays.items()} != expected:
        raise _damaged(path, "not every patch has a place and a footprint")
    # It is read whole anyway.
    if sha256_of(path) != header.place_file.sha256:
        raise _damaged(path, "it does not match its recorded SHA-256")
    place, footprint = np.array(arrays["place"]), np.array(arrays["footprint"])
    for name, numbers, count in (
        ("place", place, header.places), ("footprint", footprint, header.footprints)
    ):  # fmt: skip
        values, first = np.unique(numbers, return_index=True)
        # Numbered in the order of their first patches.
        if not np.array_equal(values, np.arange(count)) or (np.diff(first) < 0).any():
            raise _damaged(path, f"{name}: it does not number {count} of them in their order")
    if len(np.unique(np.stack((footprint, place), axis=1), axis=0)) != header.footprints:
        raise _damaged(path, "a footprint lies in two places")
    return place, footprint


def _check_values(path: Path, arrays: Arrays, promised: Promised, radiometries: int) -> None:
    """Checks the numbers of a shard's columns."""
    lat, lon = arrays["latlon"].T
    corners = arrays["corners"]
    labels = arrays.get("labels")
    # Classes may have no names.
    classes = 0 if promised.target == "labels" else promised.classes or _MOST_CLASSES
    valid = {
        "latlon": _on_earth(lat, lon).all(),
        # Corners across the antimeridian count on.
        "corners": ((np.abs(corners) <= 540) | np.isnan(corners)).all()
        and (np.isnan(corners).all(axis=(1, 2)) | ~np.isnan(corners).any(axis=(1, 2))).all(),
        "group": (arrays["group"] >= 0).all(),
        "label": _within(arrays["label"], NO_LABEL, classes).all(),
        "radiometry": _within(arrays["radiometry"], -1, radiometries).all(),
        "labels": labels is None or ((labels <= 1) | (labels == UNKNOWN)).all(),
        **{
            name: _within(arrays[name], NO_ROLE, len(ROLES)).all()
            for name in (f"split.{split}" for split in promised.splits)
        },
    }
    for name, holds in valid.items():
        if not holds:
            raise _damaged(path, f"tensor {plain(repr(name))} holds a value that cannot be")


def _on_earth(lat: npt.NDArray[np.float64], lon: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    unknown = np.isnan(lat) & np.isnan(lon)
    return np.asarray(unknown | ((np.abs(lat) <= 90) & (np.abs(lon) <= 180)))


def _within(numbers: _Numbers, low: int, end: int) -> npt.NDArray[np.bool_]:
    return np.asarray((numbers >= low) & (numbers < end))


def _possible(header: ShardHeader) -> bool:
    """Whether there are numbers that have such moments."""
    if header.pixels == 0:
        return True
    return all(
        low <= high
        and low * header.pixels <= total <= high * header.pixels
        and total**2 <= header.pixels * squares <= header.pixels * high * total
        for total, squares, low, high in zip(
            header.sums, header.squares, header.mins, header.maxs, strict=True
        )
    )


def _equal_statistics(header: StoreHeader, headers: Sequence[ShardHeader]) -> bool:
    computed = statistics_of(header.bands, headers)
    return all(
        # The last digit of a root may differ from one processor to another.
        math.isclose(getattr(header.statistics[band], name), getattr(one, name), rel_tol=1e-12)
        for band, one in computed.items()
        for name in ("mean", "std", "min", "max")
    )


def _shown(kind: Any) -> str:
    return "missing" if kind is None else f"{kind[0]} {kind[1]}"


def _damaged(where: Path, reason: str) -> StoreError:
    return StoreError(f"{where} is damaged: {reason}. {_REMEDY}")
