"""Reading a patch store by memory map: its columns, patches and masks.

A store is a folder of safetensors shards and one `store.json`. Patches lie in the shards as
uint16 digital numbers and are read by memory map, without decoding. While it is being prepared
it is called `<name>.partial`; a folder without that suffix is complete.

A shard holds `patches` (n, bands, size, size) uint16, `latlon` (n, 2) and `corners` (n, 4, 2)
float64 degrees, and as (n,) int64 `time` (Unix seconds), `label`, `radiometry` (a number in the
list of the shard's header, -1 where unknown), `group` (the reader's own grouping into places,
within the shard) and `pixel_hash`; in a store of several labels a patch `labels` (n, classes), in
a store of masks `mask` (n, size, size), both uint8; and `split.<name>` (n,) int64 for each
published split. In its header, under the one key `georank`, lies a JSON document (see
`ShardHeader`). What only all shards together tell lies in `places.safetensors`: `place` and
`footprint` (N,) int64.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georank_zoo import bands as s2
from georank_zoo.data.files.radiometry import Radiometry
from georank_zoo.data.store.agreement import check_shards, read_places
from georank_zoo.data.store.header import HEADER_FILE, ShardHeader, StoreHeader
from georank_zoo.data.store.mapped_file import ShardFile
from georank_zoo.data.store.patch import NO_LABEL, UNKNOWN, Target
from georank_zoo.utils.errors import StoreError
from georank_zoo.utils.files import sha256_of

# Read in one go a shard stays below the memory of a small machine, and copies well.
SHARD_BYTES = 128 * 2**20

_COLUMNS = ("latlon", "time", "label")


class MappedStore:
    """The arrays of a prepared data set of Sentinel-2 patches, read by memory map.

    Its attributes are those of `PatchStore`, which is this as a torch data set.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens a store.

        Raises:
            StoreError: If there is no complete, undamaged store.
        """
        self.path = Path(path)
        file = self.path / HEADER_FILE
        if not file.is_file():
            partial = Path(f"{self.path.resolve()}.partial")  # `.` has no name of its own
            state = (
                f"its preparation has not finished ({partial}): run `georank data prepare` again"
                if partial.is_dir()
                else "prepare one with `georank data prepare`"
            )
            raise StoreError(f"No store at {self.path}: {state}.")
        self.header = StoreHeader.read(file)
        self._files = [ShardFile.read(self.path / shard.file) for shard in self.header.shards]
        check_shards(file, self.header, self._files)
        self._shards = [one.arrays for one in self._files]
        self._patches = [arrays["patches"] for arrays in self._shards]
        self._starts = np.cumsum([0, *(len(patches) for patches in self._patches)])
        self.place, self.footprint = read_places(self.path, self.header)
        columns = {name: self._column(name) for name in self._columns()}
        self.latlon: npt.NDArray[np.float64] = columns["latlon"]
        self.time: npt.NDArray[np.int64] = columns["time"]
        self.label: npt.NDArray[np.int64] = columns["label"]
        self.labels: npt.NDArray[np.uint8] | None = columns.get("labels")
        self.roles: dict[str, npt.NDArray[np.int64]] = {
            name: columns[f"split.{name}"] for name in self.header.splits
        }
        self._masks = [arrays["mask"] for arrays in self._shards] if self.target == "mask" else []

    def _columns(self) -> list[str]:
        own = ["labels"] if self.target == "labels" else []
        return [*_COLUMNS, *own, *(f"split.{name}" for name in self.header.splits)]

    def _column(self, name: str) -> npt.NDArray[Any]:
        self._require_whole(range(len(self._shards)))
        return np.concatenate([arrays[name] for arrays in self._shards])

    def __len__(self) -> int:
        return self.header.count

    def __reduce__(self) -> tuple[type[MappedStore], tuple[Path]]:
        # A pickled array is a copy of what it maps; a worker process opens the store again.
        return type(self), (self.path,)

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands in channel order."""
        return self.header.bands

    @property
    def size(self) -> int:
        """Patch side in pixels."""
        return self.header.size

    @property
    def hash(self) -> str:
        """SHA-256 of the content."""
        return self.header.hash

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the labels 0, 1, ...; empty without labels."""
        return self.header.class_names

    @property
    def target(self) -> Target:
        """Kind of annotation of a patch: its class, its labels or a mask."""
        return self.header.target

    @property
    def labeled(self) -> npt.NDArray[np.bool_]:
        """Whether each patch (N,) has a class, labels or a mask."""
        if self.labels is not None:
            return np.asarray(self.labels[:, 0] != UNKNOWN)
        return np.asarray(self.label != NO_LABEL)

    @property
    def located(self) -> npt.NDArray[np.bool_]:
        """Whether each patch (N,) has a position."""
        return np.asarray(~np.isnan(self.latlon).all(axis=1))

    @property
    def nbytes(self) -> int:
        """Size of the pixels in bytes."""
        return sum(patches.nbytes for patches in self._patches)

    @cached_property
    def keys(self) -> list[str]:
        """The source of each patch: file and, where it was cut, window."""
        return [key for header in self.shard_headers for key in header.keys]

    @cached_property
    def shard_headers(self) -> list[ShardHeader]:
        """The documents in the headers of the shards."""
        return [one.header for one in self._files]

    @cached_property
    def corners(self) -> npt.NDArray[np.float64]:
        """Latitude and longitude of each patch's corners (N, 4, 2), NaN where unknown."""
        return self._column("corners")

    @cached_property
    def radiometry(self) -> list[Radiometry | None]:
        """What was applied to each patch's numbers; None where the reader does not tell."""
        self._require_whole(range(len(self._shards)))
        whole: list[Radiometry | None] = []
        for one in self._files:
            known = [*one.header.radiometry, None]  # -1 is the last
            whole += [known[number] for number in one.arrays["radiometry"]]
        return whole

    def mean_std(self, bands: Sequence[str]) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of the bands over all pixels, in reflectance.

        Raises:
            StoreError: If the store has no such band, or a band has one value everywhere.
        """
        self.require_bands(bands)
        chosen = [self.header.statistics[name] for name in bands]
        constant = [name for name, s in zip(bands, chosen, strict=True) if s.std == 0]
        if constant:
            raise StoreError(
                f"{self.path}: band(s) {', '.join(constant)} have one value everywhere and "
                "cannot be standardized. Leave them out of the recipe's bands."
            )
        return [s.mean for s in chosen], [s.std for s in chosen]

    def require_positions(self, purpose: str) -> None:
        """Checks that the position of every patch is known.

        Args:
            purpose: Name of what needs them, for the message.

        Raises:
            StoreError: If a position is missing.
        """
        without = int((~self.located).sum())
        if without:
            raise StoreError(
                f"{without} of the {len(self)} patches of store {self.path} have no position (the "
                f"{self.header.reader} files hold none), and {purpose} needs one for each. "
                "Choose a store with positions."
            )

    def require_bands(self, bands: Sequence[str]) -> None:
        """Checks that the store has the bands.

        Raises:
            StoreError: Names the missing bands.
        """
        missing = s2.missing(self.bands, bands)
        if missing:
            raise StoreError(
                f"Store {self.path} is missing band(s) {', '.join(missing)}; it has "
                f"{', '.join(self.bands)}. Choose bands that it has (`data.bands`) or prepare "
                "a store with them."
            )

    def read(
        self, indices: npt.NDArray[np.integer[Any]], bands: Sequence[str] | None = None
    ) -> npt.NDArray[np.uint16]:
        """Reads patches.

        Args:
            indices: Positions (n,) in the store, any order.
            bands: Bands wanted, in channel order; all of the store's by default.

        Returns:
            Digital numbers (n, bands, size, size); reflectance is DN / 10000.
        """
        wanted = self.bands if bands is None else tuple(bands)
        channels = None if wanted == self.bands else s2.indices(self.bands, wanted)
        out = np.empty((len(indices), len(wanted), self.size, self.size), np.uint16)
        for row, shard, position in self._locate(indices):
            patch = self._patches[shard][position]
            out[row] = patch if channels is None else patch[channels]
        return out

    def masks(self, indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
        """Reads masks (n, size, size) of patches (n,): classes, `UNKNOWN` where there is none.

        Raises:
            StoreError: If the store has no masks.
        """
        if self.target != "mask":
            raise StoreError(f"Store {self.path} has no masks.")
        out = np.empty((len(indices), self.size, self.size), np.uint8)
        for row, shard, position in self._locate(indices):
            out[row] = self._masks[shard][position]
        return out

    def _locate(self, indices: npt.NDArray[np.integer[Any]]) -> Iterator[tuple[int, int, int]]:
        """Row, shard and position within the shard of each of the patches, shard by shard."""
        shard_of = np.searchsorted(self._starts, indices, side="right") - 1
        self._require_whole(np.unique(shard_of).tolist())
        for row in np.argsort(shard_of, kind="stable"):
            shard = int(shard_of[row])
            yield int(row), shard, int(indices[row] - self._starts[shard])

    def _require_whole(self, shards: Iterable[int]) -> None:
        """Refuses shards that were cut after they were mapped.

        The system ends a process that touches the lost part of a map (SIGBUS), without a word.
        """
        for number in shards:
            path = self.path / self.header.shards[number].file
            mapped = self._patches[number].base
            assert isinstance(mapped, np.ndarray)  # all bytes of the file
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                size = 0
            if size < mapped.nbytes:
                raise StoreError(
                    f"{path} has {size:,} bytes, but had {mapped.nbytes:,} when it was opened: it "
                    "was cut, replaced or removed since. Restore the store or prepare it again, "
                    "and repeat the command; leave stores alone while they are read."
                )

    def chunks(
        self, size: int, bands: Sequence[str] | None = None
    ) -> Iterator[tuple[slice, npt.NDArray[np.uint16]]]:
        """All patches in order, `size` at a time, each with its slice of positions."""
        for start in range(0, len(self), size):
            part = slice(start, min(start + size, len(self)))
            yield part, self.read(np.arange(part.start, part.stop), bands)

    def verify(self) -> list[str]:
        """Compares each file with its recorded SHA-256; returns a sentence per damaged one.

        What the files' headers and columns say was compared when the store was opened.
        """
        return [
            f"{shard.file} does not match its recorded SHA-256"
            for shard in (*self.header.shards, self.header.place_file)
            if sha256_of(self.path / shard.file) != shard.sha256
        ]
