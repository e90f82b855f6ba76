"""One store of the shares of a preparation."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from georank_zoo.data.prepare import explain_interruption, log_suspicions
from georank_zoo.data.store.header import ShardHeader, Skipped
from georank_zoo.data.store.mapped_file import map_safetensors
from georank_zoo.data.store.mapped_store import SHARD_BYTES, MappedStore
from georank_zoo.data.store.patch import NO_LABEL, NO_ROLE, ROLES, UNKNOWN, Patch
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.data.store.share import parse_share
from georank_zoo.data.store.writer import StoreWriter, partial_store, require_apart
from georank_zoo.utils.errors import StoreError, UsageError
from georank_zoo.utils.files import sha256_of
from georank_zoo.utils.locks import output_lock
from georank_zoo.utils.progress import OnProgress, progress_bar

_Item = tuple[list[Patch], list[Skipped]]


def merge_stores(
    shares: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: bool = True,
    on_progress: OnProgress | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> PatchStore:
    """Merges the shares of a preparation into the store that it would have been in one go.

    It is the same byte for byte, for the items of the shares are written once more, in order;
    places are found over all of them, and what is odd in the whole is logged. The shares stay.
    Repeated after an interruption, it resumes after the last finished shard.

    Args:
        shares: Folders of all shares, in any order.
        out: Folder of the store to write; `<out>.partial` until it is complete.
        overwrite: Replace an existing store, or a partial one of other settings.
        progress: Show a bar if it takes more than a second.
        on_progress: Takes the place of the bar. Called with (items done, in all, "<n> patches").
        shard_bytes: Size of a shard's pixels in bytes, approximately.

    Returns:
        The opened store.

    Raises:
        UsageError: If a store is no share, they are of several preparations, one is missing or
            given twice, or `out` exists or holds one.
        StoreError: If a share is missing or damaged.
        GeorankError: If the disk is full, or another process writes to `out`.
        Interrupted: On Ctrl-C; the partial store is kept.

    Example:
        >>> import georank_zoo as gz
        >>> for n in (1, 2):  # each of them on a machine of its own
        ...     report = gz.prepare_store("my_geotiffs", f"out/{n}", size=32, share=f"{n}/2")
        >>> gz.merge_stores(["out/1", "out/2"], "out/merged")
        PatchStore('out/merged': 192 patches of 32 px, 96 places, 12 bands)
    """
    out = Path(out)
    for share in shares:
        require_apart(out, Path(share))
    stores = _in_order([MappedStore(share) for share in shares])
    first = stores[0].header
    with output_lock(out, partial_store(out)) as taken:
        writer = StoreWriter(
            out, bands=first.bands, size=first.size, spec=_spec(stores[0]), target=first.target,
            class_names=first.class_names, splits=first.splits, overwrite=overwrite,
            shard_bytes=shard_bytes, finished=taken.finished,
        )  # fmt: skip
        counts = [store.shard_headers[-1].next_item for store in stores]
        with (
            explain_interruption(writer, sum(counts)),
            progress_bar(f"Merging {out}", on_progress, show=progress) as report,
        ):
            for store, count, before in zip(stores, counts, np.cumsum([0, *counts]), strict=False):
                for patches, left_out in _items(store, writer.next_item - int(before)):
                    writer.add(patches, left_out)
                    report(writer.next_item, sum(counts), f"{writer.count} patches")
                assert writer.next_item >= before + count  # the shards of a store follow each other
            if writer.count == 0:
                writer.discard()
                raise StoreError(
                    f"Nothing to store in {out}: all items of all shares were left out."
                )
            merged = writer.finish(
                reader=first.reader, level=first.level, source=first.source, license=first.license
            )
    log_suspicions(merged)  # copies in two shares are seen only here
    return merged


def _in_order(stores: list[MappedStore]) -> list[MappedStore]:
    """The stores by number of their shares, if each share of one preparation is there once."""
    whole = [str(store.path) for store in stores if not store.header.share]
    if not stores or whole:
        what = f"{', '.join(whole)} holds no share but all of its source" if whole else "None given"
        raise UsageError(f"{what}. Give all shares of a preparation, such as 1/2 and 2/2.")
    for store in stores[1:]:
        if other := _difference(stores[0], store):
            raise UsageError(
                f"{stores[0].path} and {store.path} are not of one preparation: they differ in "
                f"{other}. Prepare all shares of the same source with the same settings."
            )
    parts = [parse_share(store.header.share) for store in stores]
    paths: dict[int, list[str]] = {}
    for part, store in zip(parts, stores, strict=True):
        paths.setdefault(part.number, []).append(str(store.path))
    of = parts[0].of
    missing = [f"{n}/{of}" for n in range(1, of + 1) if n not in paths]
    twice = [f"{n}/{of} ({', '.join(p)})" for n, p in sorted(paths.items()) if len(p) > 1]
    if missing or twice:
        wrong = [f"missing: {', '.join(missing)}"] if missing else []
        wrong += [f"given more than once: {', '.join(twice)}"] if twice else []
        raise UsageError(f"All {of} shares are needed, each once; {'; '.join(wrong)}.")
    return [store for _, store in sorted(zip(parts, stores, strict=True), key=_number)]


def _number(pair: tuple[Any, MappedStore]) -> int:
    return int(pair[0].number)


def _spec(store: MappedStore) -> dict[str, Any]:
    return {key: value for key, value in store.header.spec.items() if key != "share"}


def _difference(one: MappedStore, other: MappedStore) -> str:
    """What two shares of one preparation would have in common; empty if they have it."""
    names = ("reader", "bands", "size", "class_names", "target", "splits", "level", "source")
    facts = [
        {name: getattr(store.header, name) for name in names}
        | _spec(store)
        | {"number of shares": parse_share(store.header.share).of}
        for store in (one, other)
    ]
    keys = dict.fromkeys([*facts[0], *facts[1]])
    return ", ".join(key for key in keys if facts[0].get(key) != facts[1].get(key))


def _items(store: MappedStore, start: int) -> Iterator[_Item]:
    """What each item from number `start` on gave, of shards that are intact."""
    for shard, header in zip(store.header.shards, store.shard_headers, strict=True):
        if header.next_item <= start:
            continue
        path = store.path / shard.file
        if sha256_of(path) != shard.sha256:
            raise StoreError(
                f"{path} does not match its recorded SHA-256. Copy it, or prepare share "
                f"{store.header.share}, again."
            )
        arrays, _ = map_safetensors(path)
        patches = (_patch(store, header, arrays, row) for row in range(shard.count))
        left_out = iter(header.skipped)
        for number, (count, skipped) in enumerate(header.items, header.first_item):
            item = [next(patches) for _ in range(count)], [next(left_out) for _ in range(skipped)]
            if number >= start:
                yield item


def _patch(store: MappedStore, header: ShardHeader, arrays: dict[str, Any], row: int) -> Patch:
    """The patch in a row of a shard, as its reader gave it."""
    one = {name: column[row] for name, column in arrays.items()}
    labels, applied, corners = one.get("labels"), int(one["radiometry"]), one["corners"]
    return Patch(
        one["patches"],
        float(one["latlon"][0]),
        float(one["latlon"][1]),
        key=header.keys[row],
        place=str(one["group"]),
        time=int(one["time"]),
        label=int(one["label"]) if store.target == "class" else NO_LABEL,
        labels=None if labels is None or labels[0] == UNKNOWN else labels,
        mask=one.get("mask"),
        roles={
            name: ROLES[int(one[f"split.{name}"])]
            for name in store.header.splits
            if one[f"split.{name}"] != NO_ROLE
        },
        footprint=None if np.isnan(corners).any() else corners,
        radiometry=None if applied < 0 else header.radiometry[applied],
    )
