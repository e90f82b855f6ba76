"""Headers of a patch store: `store.json`, and the document in each shard."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from georank_zoo.data.files.radiometry import Radiometry
from georank_zoo.data.store.patch import Target
from georank_zoo.utils.errors import StoreError

STORE_FORMAT = "georank-store/2"
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
class Applied:
    """What was applied to the numbers of a part of the files.

    Attributes:
        radiometry: Scale and offset of each band, and what said so.
        patches: Number of patches.
    """

    radiometry: Radiometry
    patches: int


@dataclass(frozen=True)
class Resolution:
    """Side of a pixel on the ground, in true meters, over the patches whose corners are known."""

    min: float
    median: float
    max: float


@dataclass(frozen=True)
class Copies:
    """Patches that show exactly the pixels of an earlier one at another position.

    Attributes:
        patches: Number of such patches.
        example: Keys of one and of that which it repeats.
    """

    patches: int
    example: tuple[str, str]


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
        places: Number of places: ground that no other place shares (see `places.py`).
        footprints: Number of footprints; as many as places unless footprints overlap.
        statistics: Statistics per band, in reflectance.
        class_names: Names of the labels 0, 1, ...; empty without labels.
        level: Product level of the pixels, `L1C` or `L2A` (or `unknown`).
        source: Origin of the data.
        license: License of the data.
        skipped: Items left out.
        shards: Files of patches, in order.
        place_file: File of the places and footprints of all patches.
        hash: SHA-256 over the files' hashes, which identifies the content.
        target: Kind of annotation of a patch: its class, its labels or a mask.
        splits: Names of the published splits that patches have a part in.
        copies: Patches of equal pixels; None where there are none.
        radiometry: What was applied to the numbers of the files, where the reader tells.
        resolution: Side of a pixel; None where no patch's corners are known.
    """

    reader: str
    spec: dict[str, Any]
    bands: tuple[str, ...]
    size: int
    count: int
    places: int
    footprints: int
    statistics: dict[str, BandStatistics]
    class_names: tuple[str, ...]
    level: str
    source: str
    license: str
    skipped: tuple[Skipped, ...]
    shards: tuple[Shard, ...]
    place_file: Shard
    hash: str
    target: Target = "class"
    splits: tuple[str, ...] = ()
    copies: Copies | None = None
    radiometry: tuple[Applied, ...] = ()
    resolution: Resolution | None = None
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
            raw["place_file"] = Shard(**raw["place_file"])
            if copies := raw.get("copies"):
                raw["copies"] = Copies(copies["patches"], tuple(copies["example"]))
            raw["radiometry"] = tuple(
                Applied(radiometry_from_json(a["radiometry"]), a["patches"])
                for a in raw["radiometry"]
            )
            if raw["resolution"] is not None:
                raw["resolution"] = Resolution(**raw["resolution"])
            return cls(**raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{where} is damaged ({error}). Prepare the store again.") from error


def radiometry_from_json(raw: dict[str, Any]) -> Radiometry:
    """Reads what `dataclasses.asdict` and JSON made of it."""
    return Radiometry(tuple(raw["scale"]), tuple(raw["offset"]), raw["source"])


@dataclass
class ShardHeader:
    """The JSON document in a shard's header.

    Attributes:
        first_item: Index of the first source item that this shard covers.
        next_item: Index after the last one; the next shard starts there.
        items: Number of patches, and of parts left out, of each source item.
        keys: One name per patch: the source file and, where it was cut, the window.
        skipped: Items of the range that were left out.
        radiometry: What was applied to the files' numbers; the column `radiometry` counts in it.
        pixels, sums, squares, mins, maxs: Moments of the digital numbers per band.
    """

    format: str
    bands: tuple[str, ...]
    first_item: int
    next_item: int
    items: list[tuple[int, int]]
    keys: list[str]
    skipped: list[Skipped]
    radiometry: list[Radiometry] = field(default_factory=list)
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
        raw["items"] = [(patches, left_out) for patches, left_out in raw["items"]]
        raw["skipped"] = [Skipped(**s) for s in raw["skipped"]]
        raw["radiometry"] = [radiometry_from_json(r) for r in raw["radiometry"]]
        return cls(**raw)
