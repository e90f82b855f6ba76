"""Headers of a patch store: `store.json`, and the document in each shard."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field

from georank_zoo import bands as s2
from georank_zoo.data.files.radiometry import Radiometry
from georank_zoo.data.store.patch import Target
from georank_zoo.utils.documents import (
    STRICT,
    Count,
    Positive,
    Sha256,
    checksum_of,
    parse_document,
    read_limited,
)
from georank_zoo.utils.errors import StoreError, plain

STORE_FORMAT: Final = "georank-store/2"  # of the shards
# Of store.json, which holds its own checksum and those of the shards' columns since 3.
HEADER_FORMAT: Final = "georank-store/3"
HEADER_FILE = "store.json"
PLACE_FILE = "places.safetensors"

_REMEDY = "Prepare the store again."


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
    patches: Count


@dataclass(frozen=True)
class Resolution:
    """Side of a pixel on the ground, in true meters, over the patches whose corners are known."""

    min: Annotated[float, Field(gt=0)]
    median: Annotated[float, Field(gt=0)]
    max: Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class Copies:
    """Patches that show exactly the pixels of an earlier one at another position.

    Attributes:
        patches: Number of such patches.
        example: Keys of one and of that which it repeats.
    """

    patches: Positive
    example: tuple[str, str]


@dataclass(frozen=True)
class Shard:
    """One file of a store.

    Attributes:
        file: Its name.
        count: Number of patches.
        sha256: SHA-256 of the file.
        columns: SHA-256 of all but pixels and masks, which opening the store compares.
    """

    file: str
    count: Count
    sha256: Sha256
    columns: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""


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

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    reader: str
    spec: dict[str, Any]
    bands: Annotated[tuple[str, ...], Field(min_length=1)]
    size: Annotated[int, Field(gt=0, le=2**16)]
    count: Count
    places: Count
    footprints: Count
    statistics: dict[str, BandStatistics]
    class_names: tuple[str, ...]
    level: str
    source: str
    license: str
    skipped: tuple[Skipped, ...]
    shards: Annotated[tuple[Shard, ...], Field(min_length=1)]
    place_file: Shard
    hash: Sha256
    target: Target = "class"
    splits: tuple[str, ...] = ()
    copies: Copies | None = None
    radiometry: tuple[Applied, ...] = ()
    resolution: Resolution | None = None
    format: Literal["georank-store/2", "georank-store/3"] = HEADER_FORMAT
    checksum: str = ""

    @property
    def share(self) -> str:
        """Share of the source that the store holds, such as `3/16`; empty if it is all of it."""
        return str(self.spec.get("share", ""))

    def to_json(self) -> str:
        """The header as the text of `store.json`."""
        document = dataclasses.asdict(self)
        document["checksum"] = checksum_of(document)
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> StoreHeader:
        """Reads `store.json`.

        Raises:
            StoreError: If it is not the header of a store of this format, or contradicts itself.
        """
        text = read_limited(path, error=StoreError, remedy=_REMEDY)
        if other := _other_format(text):
            raise StoreError(
                f"{path}: format {other}, but this version reads {HEADER_FORMAT!r}. {_REMEDY}"
            )
        header = parse_document(cls, text, where=path, error=StoreError, remedy=_REMEDY)
        if wrong := header._contradiction(json.loads(text)):
            raise StoreError(f"{path} is damaged: {wrong}. {_REMEDY}")
        return header

    def _contradiction(self, document: dict[str, Any]) -> str:
        """What of the header contradicts the rest of it; empty if nothing does."""
        if self.format == HEADER_FORMAT and self.checksum != checksum_of(document):
            return "checksum: its content is another than was written"
        if self.format != HEADER_FORMAT and self.checksum:
            return "format: it has a checksum, which that format has not"
        names = [f"shard-{number:05d}.safetensors" for number in range(len(self.shards))]
        agreements = {
            "bands": set(self.bands) <= set(s2.BY_NAME) and _once(self.bands),
            "statistics": tuple(self.statistics) == self.bands,
            "splits": _once(self.splits),
            "shards": [shard.file for shard in self.shards] == names
            and (self.format != HEADER_FORMAT or all(shard.columns for shard in self.shards)),
            "place_file": self.place_file.file == PLACE_FILE,
            "count": self.count == sum(s.count for s in self.shards) == self.place_file.count,
            "places": min(1, self.count) <= self.places <= self.footprints <= self.count,
            "copies": self.copies is None or self.copies.patches < self.count,
            "hash": self.hash == content_hash((*self.shards, self.place_file)),
        }
        wrong = [name for name, agrees in agreements.items() if not agrees]
        return f"{wrong[0]}: it contradicts the rest of the file" if wrong else ""


def content_hash(files: Sequence[Shard]) -> str:
    """Identifies the content of a store by the hashes of its files, in order."""
    return hashlib.sha256("".join(file.sha256 for file in files).encode()).hexdigest()


def _once(names: Sequence[str]) -> bool:
    return len(set(names)) == len(names)


def _other_format(text: str) -> str:
    """The format that a document names, if it is one of another version."""
    try:
        name = json.loads(text)["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""  # the schema says what is wrong
    known = (STORE_FORMAT, HEADER_FORMAT)
    return plain(repr(name)) if isinstance(name, str) and name not in known else ""


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

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    format: Literal["georank-store/2"]
    bands: tuple[str, ...]
    first_item: Count
    next_item: Count
    items: list[tuple[Count, Count]]
    keys: list[str]
    skipped: list[Skipped]
    radiometry: list[Radiometry] = field(default_factory=list)
    pixels: Count = 0
    sums: list[Annotated[int, Field(ge=0)]] = field(default_factory=list)
    squares: list[Annotated[int, Field(ge=0)]] = field(default_factory=list)
    mins: list[Annotated[int, Field(ge=0, le=65535)]] = field(default_factory=list)
    maxs: list[Annotated[int, Field(ge=0, le=65535)]] = field(default_factory=list)

    @classmethod
    def from_json(cls, text: str, *, where: Path) -> ShardHeader:
        """Reads the document.

        Raises:
            StoreError: If it does not follow the schema.
        """
        return parse_document(cls, text, where=where, error=StoreError, remedy=_REMEDY)
