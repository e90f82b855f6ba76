"""Headers of a patch store: `store.json`, and the document in each shard."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from georank_zoo.data.store.patch import Target
from georank_zoo.utils.errors import StoreError

STORE_FORMAT = "georank-store/1"
HEADER_FILE = "store.json"


@dataclass(frozen=True)
class BandStatistics:
    """Statistics of one band over all pixels of a store, in reflectance."""

    mean: float
    std: float
    min: float
    max: float


@dataclass(frozen=True)
class Skipped:
    """A source item that was left out, and why."""

    item: str
    reason: str


@dataclass(frozen=True)
class Shard:
    """One file of a store."""

    file: str
    count: int
    sha256: str


@dataclass(frozen=True)
class StoreHeader:
    """Content of `store.json`.

    Attributes:
        reader: Name of the reader that prepared it.
        spec: The reader's options, as given.
        bands: Bands in channel order.
        size: Patch side in pixels.
        count: Number of patches.
        places: Number of distinct places.
        statistics: Statistics per band, in reflectance.
        class_names: Names of the labels 0, 1, ...; empty without labels.
        level: Product level of the pixels, `L1C` or `L2A` (or `unknown`).
        source: Origin of the data.
        license: License of the data.
        skipped: Items left out.
        shards: Files, in order.
        hash: SHA-256 over the shards' hashes, which identifies the content.
        target: Kind of annotation of a patch: its class, its labels or a mask.
        splits: Names of the published splits that patches have a part in.
    """

    reader: str
    spec: dict[str, Any]
    bands: tuple[str, ...]
    size: int
    count: int
    places: int
    statistics: dict[str, BandStatistics]
    class_names: tuple[str, ...]
    level: str
    source: str
    license: str
    skipped: tuple[Skipped, ...]
    shards: tuple[Shard, ...]
    hash: str
    target: Target = "class"
    splits: tuple[str, ...] = ()
    format: str = STORE_FORMAT

    @property
    def share(self) -> str:
        """Share of the source that the store holds, such as `3/16`; empty if it is all of it."""
        return str(self.spec.get("share", ""))

    def to_json(self) -> str:
        """The header as the text of `store.json`."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: Path) -> StoreHeader:
        """Reads `store.json`.

        Raises:
            StoreError: If it is not the header of a store of this format.
        """
        try:
            raw = json.loads(text)
            if raw["format"] != STORE_FORMAT:
                raise StoreError(
                    f"{where}: format {raw['format']!r}, but this version reads {STORE_FORMAT!r}. "
                    "Prepare the store again."
                )
            raw["bands"] = tuple(raw["bands"])
            raw["class_names"] = tuple(raw["class_names"])
            raw["splits"] = tuple(raw.get("splits", ()))
            raw["statistics"] = {b: BandStatistics(**s) for b, s in raw["statistics"].items()}
            raw["skipped"] = tuple(Skipped(**s) for s in raw["skipped"])
            raw["shards"] = tuple(Shard(**s) for s in raw["shards"])
            return cls(**raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{where} is damaged ({error}). Prepare the store again.") from error


@dataclass
class ShardHeader:
    """The JSON document in a shard's header.

    Attributes:
        first_item: Index of the first source item that this shard covers.
        next_item: Index after the last one; the next shard starts there.
        keys: One name per patch: the source file and, where it was cut, the window.
        skipped: Items of the range that were left out.
        pixels, sums, squares, mins, maxs: Moments of the digital numbers per band.
    """

    format: str
    bands: tuple[str, ...]
    first_item: int
    next_item: int
    next_place: int
    keys: list[str]
    skipped: list[Skipped]
    pixels: int = 0
    sums: list[int] = field(default_factory=list)
    squares: list[int] = field(default_factory=list)
    mins: list[int] = field(default_factory=list)
    maxs: list[int] = field(default_factory=list)

    @classmethod
    def from_json(cls, text: str) -> ShardHeader:
        """Reads the document."""
        raw = json.loads(text)
        raw["bands"] = tuple(raw["bands"])
        raw["skipped"] = [Skipped(**s) for s in raw["skipped"]]
        return cls(**raw)
