"""The protocol of readers: a folder of source files to patches for a store."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, overload

from georank_zoo.data.files.listing import BadEntry
from georank_zoo.data.store.header import Skipped
from georank_zoo.data.store.patch import Patch, Target
from georank_zoo.utils.errors import BadItem


@dataclass(frozen=True)
class Item:
    """What a reader reads in one go, such as a file, or all dates of a place.

    Attributes:
        name: Names the item in messages, relative to the source folder.
        files: The files, in the order in which they are read.
        units: What of the item can be bad by itself; `--max-bad` is a share of them. One name
            for an item that is used whole or not at all, the files' names otherwise.
        reason: Why the listing found that it cannot be read; empty for all others.
    """

    name: str
    files: tuple[Path, ...]
    units: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True)
class LazyItems(Sequence[Item]):
    """Items that are made when they are asked for: paths of a million files fill the memory.

    Attributes:
        make: Makes the item of a number.
        numbers: Numbers of these items.
    """

    make: Callable[[int], Item]
    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> LazyItems: ...

    def __getitem__(self, index: int | slice) -> Item | LazyItems:
        if isinstance(index, slice):
            return LazyItems(self.make, self.numbers[index])
        return self.make(self.numbers[index])


def with_bad(items: Sequence[Item], bad: Sequence[BadEntry]) -> Sequence[Item]:
    """Puts what the listing could not read before the items, so that it counts as bad.

    First, for a source of which too much is bad is then refused before hours of reading.
    """
    if not bad:
        return items
    if isinstance(items, LazyItems):
        return LazyItems(partial(_of_both, items, tuple(bad)), range(len(bad) + len(items)))
    return [*map(_bad_item, bad), *items]


def _of_both(items: Sequence[Item], bad: Sequence[BadEntry], number: int) -> Item:
    return _bad_item(bad[number]) if number < len(bad) else items[number - len(bad)]


def _bad_item(entry: BadEntry) -> Item:
    return Item(entry.name, (), (entry.name,), entry.reason)


@dataclass(frozen=True)
class Reading:
    """What an item gave.

    Attributes:
        patches: Patches in the order of the store.
        left_out: Files or windows of the item that gave no patch, and why.
    """

    patches: list[Patch]
    left_out: list[Skipped] = field(default_factory=list)


class Reader(Protocol):
    """Reads one data set. It lists its source once, when it is made."""

    @property
    def name(self) -> str:
        """Name in the registry."""

    @property
    def root(self) -> Path:
        """The source folder."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of the patches, in channel order."""

    @property
    def size(self) -> int:
        """Patch side in pixels."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the labels 0, 1, ...; empty without labels."""

    @property
    def target(self) -> Target:
        """What is known of a patch: its class, its labels or a mask."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the published splits that patches have a part in."""

    @property
    def level(self) -> str:
        """Product level: `L1C`, `L2A` or `unknown`."""

    @property
    def source(self) -> str:
        """Where the data comes from."""

    @property
    def license(self) -> str:
        """License of the data."""

    @property
    def spec(self) -> dict[str, Any]:
        """All that decides what the items are and what they give, as JSON values."""

    def items(self) -> Sequence[Item]:
        """The items, in the order of the store."""

    def read(self, item: Item) -> Reading:
        """Reads an item.

        Raises:
            BadItem: If nothing of it can be used.
        """


def read_or_reason(reader: Reader, item: Item) -> Reading | BadItem:
    """Reads an item; why it cannot be used, or why the listing could not read it, is returned."""
    if item.reason:
        return BadItem(item.reason)
    try:
        return reader.read(item)
    except BadItem as error:
        return error


def without_items(reader: Reader) -> Reader:
    """A copy of a reader for a process that is told what to read: a long list would fill it."""
    twin = copy.copy(reader)
    for name in ("_items", "_all"):
        if hasattr(twin, name):
            setattr(twin, name, ())
    return twin


def fingerprint(root: Path, files: Iterable[Path], bad: Sequence[BadEntry] = ()) -> str:
    """Identifies a listing by names and sizes; contents would take as long as preparing.

    Args:
        root: The folder.
        files: Its files.
        bad: What the listing could not read.
    """
    digest = hashlib.sha256()
    for name, size in sorted((f.relative_to(root).as_posix(), f.stat().st_size) for f in files):
        digest.update(f"{name}\t{size}\n".encode())
    return _with_bad_entries(digest, bad)


def fingerprint_of_names(names: Iterable[str], bad: Sequence[BadEntry] = ()) -> str:
    """Identifies a listing of folders, in order: sizes of millions of files take an hour."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\n".encode())
    return _with_bad_entries(digest, bad)


def _with_bad_entries(digest: hashlib._Hash, bad: Sequence[BadEntry]) -> str:
    for entry in bad:
        digest.update(f"{entry.name}\t{entry.reason}\n".encode())
    return digest.hexdigest()
