"""Writing a patch store shard by shard, so that a killed preparation can be resumed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from georank_zoo import bands as s2
from georank_zoo.data.files.radiometry import Radiometry
from georank_zoo.data.store.agreement import Promised, check_sequence, check_shard
from georank_zoo.data.store.finish import write_header
from georank_zoo.data.store.header import HEADER_FILE, STORE_FORMAT, Shard, ShardHeader, Skipped
from georank_zoo.data.store.mapped_file import ShardFile
from georank_zoo.data.store.mapped_store import SHARD_BYTES
from georank_zoo.data.store.moments import moments
from georank_zoo.data.store.patch import (
    NO_ROLE,
    ROLES,
    UNKNOWN,
    Patch,
    Target,
    check_patch,
    most_frequent,
)
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.utils.errors import StoreError, UsageError
from georank_zoo.utils.files import new_file, new_folder, replace_folder, sha256_of, write_text

_SPEC = "spec.json"
PARTIAL = ".partial"


def partial_store(path: Path) -> Path:
    """Where a store lies until it is complete."""
    return path.with_name(path.name + PARTIAL)


def require_replaceable(path: Path, *, overwrite: bool) -> None:
    """Refuses a name at which no store can be written.

    Raises:
        UsageError: If the store exists, or anything that is not a store does: replacing deletes,
            and a slip of the hand must not cost a folder of another kind.
    """
    for folder, mark in ((path, HEADER_FILE), (partial_store(path), _SPEC)):
        ours = folder.is_dir() and ((folder / mark).is_file() or not any(folder.iterdir()))
        if folder.exists() and not ours:
            raise UsageError(f"{folder} is in the way and is not a store. Choose another name.")
    # What a kill left untidied may be finished by the same command.
    if path.exists() and not overwrite and not (path / _SPEC).is_file():
        raise _exists(path)


def require_apart(path: Path, source: Path) -> None:
    """Refuses a store in whose place its own source lies.

    Raises:
        UsageError: If replacing `path` would delete the source.
    """
    if source.resolve().is_relative_to(path.resolve()):
        raise UsageError(
            f"The store {path} would replace its own source {source}. Choose another folder "
            "for it; a new one within the source will do."
        )


class StoreWriter:
    """Collects patches into shards under `<path>.partial`; `finish` renames it to `path`.

    A source is a numbered list of items (a file, a scene, a place), of which each gives any
    number of patches. A shard covers a run of whole items and is written under a temporary name
    and renamed, so after a kill the writer opened on the same path and spec continues at
    `next_item`. The caller holds the lock of the store and of its partial folder.

    Args:
        path: Folder of the store to write.
        bands: Bands in channel order.
        size: Patch side in pixels.
        spec: Settings that decide what the items are and what they give (JSON values). A partial
            store of another spec is refused.
        target: Kind of annotation of a patch.
        class_names: Names of the classes 0, 1, ...; empty without labels.
        splits: Names of the published splits that patches may have a part in.
        overwrite: Replace a complete store, or a partial one of another spec.
        shard_bytes: Size of a shard's pixels in bytes, approximately.
        finished: The store is that of this very command, which was killed before it could say so.

    Raises:
        UsageError: If the store exists, or a partial one of another spec does.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        bands: Sequence[str],
        size: int,
        spec: dict[str, Any],
        target: Target = "class",
        class_names: Sequence[str] = (),
        splits: Sequence[str] = (),
        overwrite: bool = False,
        shard_bytes: int = SHARD_BYTES,
        finished: bool = False,
    ) -> None:
        self.path = Path(path)
        self.bands = s2.resolve(bands)
        self.size = size
        self.spec = spec
        self.target = target
        self.class_names = tuple(class_names)
        self.splits = tuple(splits)
        self.shard_bytes = shard_bytes
        self.overwrite = overwrite
        self.partial = partial_store(self.path)
        if finished and not self.partial.exists():
            write_text(self.path / _SPEC, self._spec_text())
        self._open_partial()
        self._shards: list[tuple[Shard, ShardHeader]] = self._finished_shards()
        last = self._shards[-1][1] if self._shards else None
        self.next_item = last.next_item if last else 0
        self._reset()

    def _spec_text(self) -> str:
        spec = {"format": STORE_FORMAT, "bands": self.bands, "size": self.size, **self.spec}
        return json.dumps(spec, indent=2, sort_keys=True)

    def _open_partial(self) -> None:
        text = self._spec_text()
        require_replaceable(self.path, overwrite=self.overwrite)
        if _read(self.path / _SPEC) == text and not self.partial.exists():
            self.path.rename(self.partial)  # a kill caught it before it was tidied
        if self.path.exists() and not self.overwrite:
            raise _exists(self.path)
        spec = self.partial / _SPEC
        begun = _read(spec)
        if begun is not None and begun != text and not self.overwrite:
            raise UsageError(
                f"{self.partial} was begun with other settings or another source. "
                "Repeat them to resume it, or pass --overwrite to begin again."
            )
        if begun != text:
            # Folder and spec at once: without its spec a partial store is not known as one.
            with new_folder(self.partial) as temporary:
                write_text(temporary / _SPEC, text)
        for path in self.partial.iterdir():
            # What a kill caught half written; it must not travel into the finished store.
            if path.is_dir() and not path.is_symlink():  # .ipynb_checkpoints, or someone's own
                raise UsageError(f"{path} is no part of a store. Move or remove this folder.")
            if path != spec and not path.match("shard-*.safetensors"):
                path.unlink()

    def _finished_shards(self) -> list[tuple[Shard, ShardHeader]]:
        shards = []
        promised = Promised(self.bands, self.size, self.target, len(self.class_names), self.splits)
        for path in sorted(self.partial.glob("shard-*.safetensors")):
            file = ShardFile.read(path)
            header = check_shard(file, promised)
            shards.append((Shard(path.name, len(header.keys), sha256_of(path)), header))
        check_sequence(self.partial, [header for _, header in shards])
        return shards

    def _reset(self) -> None:
        self._first_item = self.next_item
        self._items: list[tuple[int, int]] = []
        self._patches: list[Patch] = []
        self._groups: list[int] = []  # numbered within a shard, so that shards can be joined
        self._skipped: list[Skipped] = []

    @property
    def skipped(self) -> list[Skipped]:
        """Items left out so far, those of finished shards too."""
        return [s for _, header in self._shards for s in header.skipped] + self._skipped

    @property
    def count(self) -> int:
        """Patches taken so far."""
        return sum(shard.count for shard, _ in self._shards) + len(self._patches)

    def add(self, patches: Sequence[Patch], left_out: Sequence[Skipped] = ()) -> None:
        """Takes all the patches of the next item, and what of it was left out."""
        groups: dict[str, int] = {}
        first = max(self._groups, default=-1) + 1
        for patch in patches:
            check_patch(
                patch, bands=len(self.bands), size=self.size, target=self.target,
                classes=len(self.class_names), splits=self.splits,
            )  # fmt: skip
            self._patches.append(patch)
            self._groups.append(groups.setdefault(patch.place, first + len(groups)))
        self._skipped += left_out
        self._items.append((len(patches), len(left_out)))
        self._advance()

    def skip(self, left_out: Sequence[Skipped]) -> None:
        """Leaves out the next item, all of whose parts are named."""
        self.add((), left_out)

    def discard(self) -> None:
        """Deletes what has been written."""
        shutil.rmtree(self.partial)

    def _advance(self) -> None:
        self.next_item += 1
        if sum(patch.pixels.nbytes for patch in self._patches[-1:]) * len(self._patches) >= (
            self.shard_bytes
        ):
            self._flush()

    def _flush(self) -> None:
        patches = self._patches
        pixels = np.stack([p.pixels for p in patches]) if patches else (
            np.zeros((0, len(self.bands), self.size, self.size), np.uint16)
        )  # fmt: skip
        unknown_corners = np.full((4, 2), np.nan)
        corners = [unknown_corners if p.footprint is None else p.footprint for p in patches]
        radiometry, applied = _distinct([p.radiometry for p in patches])
        arrays: dict[str, npt.NDArray[Any]] = {
            "patches": pixels,
            "latlon": np.array([(p.lat, p.lon) for p in patches], np.float64).reshape(-1, 2),
            "corners": np.array(corners, np.float64).reshape(-1, 4, 2),
            "group": np.array(self._groups, np.int64),
            "pixel_hash": np.array([_pixel_hash(p.pixels) for p in patches], np.int64),
            "time": np.array([p.time for p in patches], np.int64),
            "label": np.array([self._label(p) for p in patches], np.int64),
            "radiometry": np.array(applied, np.int64),
        }
        if self.target == "labels":
            unknown = np.full(len(self.class_names), UNKNOWN, np.uint8)
            rows = [unknown if p.labels is None else p.labels for p in patches]
            arrays["labels"] = np.array(rows, np.uint8).reshape(-1, len(self.class_names))
        if self.target == "mask":
            masks = [p.mask for p in patches]
            arrays["mask"] = np.array(masks, np.uint8).reshape(-1, self.size, self.size)
        for name in self.splits:
            roles = [ROLES.index(p.roles[name]) if name in p.roles else NO_ROLE for p in patches]
            arrays[f"split.{name}"] = np.array(roles, np.int64)
        header = ShardHeader(
            format=STORE_FORMAT,
            bands=self.bands,
            first_item=self._first_item,
            next_item=self.next_item,
            items=self._items,
            keys=[patch.key for patch in patches],
            skipped=self._skipped,
            radiometry=radiometry,
            **moments(pixels),
        )
        name = f"shard-{len(self._shards):05d}.safetensors"
        # One metadata key: with more, safetensors' bytes differ from process to process.
        metadata = {"georank": json.dumps(dataclasses.asdict(header))}
        with new_file(self.partial / name) as temporary:
            save_file(arrays, temporary, metadata=metadata)
        shard = Shard(name, len(pixels), sha256_of(self.partial / name))
        self._shards.append((shard, header))
        self._reset()

    @staticmethod
    def _label(patch: Patch) -> int:
        # Of a mask, so that splits can be stratified and classes counted without reading masks.
        return patch.label if patch.mask is None else most_frequent(patch.mask)

    def finish(
        self,
        *,
        reader: str,
        level: str = "unknown",
        source: str = "",
        license: str = "unknown",
    ) -> PatchStore:
        """Finds the places, writes the header, gives the store its name, and opens it.

        Raises:
            StoreError: If there is no patch.
        """
        if self._first_item != self.next_item:
            self._flush()
        if self.count == 0 and "share" not in self.spec:
            raise StoreError(f"No patch to store in {self.path}: every item was left out.")
        write_header(
            self.partial, [shard for shard, _ in self._shards], reader=reader, spec=self.spec,
            class_names=self.class_names, target=self.target, splits=self.splits, level=level,
            source=source, license=license,
        )  # fmt: skip
        # The spec goes last: a kill just before leaves a partial store that is still one.
        replace_folder(self.partial, self.path)
        (self.path / _SPEC).unlink()
        return PatchStore(self.path)


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} exists. Pass --overwrite to replace it.")


def _read(spec: Path) -> str | None:
    return spec.read_text(encoding="utf-8") if spec.is_file() else None


def _pixel_hash(pixels: npt.NDArray[np.uint16]) -> int:
    """Identifies pixels (C, H, W): 64 bits, and 0 for those of which every band is constant.

    Water, cloud and the like may well be one number; two such patches are not copies.
    """
    if (pixels == pixels[:, :1, :1]).all():
        return 0
    digest = hashlib.blake2b(np.ascontiguousarray(pixels, "<u2").tobytes(), digest_size=8)
    return int.from_bytes(digest.digest(), "little", signed=True)


def _distinct(given: Sequence[Radiometry | None]) -> tuple[list[Radiometry], list[int]]:
    """The distinct ones, and the number of each in them; -1 for None."""
    numbers: dict[Radiometry, int] = {}
    rows = [-1 if one is None else numbers.setdefault(one, len(numbers)) for one in given]
    return list(numbers), rows
