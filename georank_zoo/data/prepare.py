"""Drives a reader into a store: skips what is bad, resumes, and reports."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from georank_zoo.data.readers.base import BadItem, Reader
from georank_zoo.data.store.describe import by_kind
from georank_zoo.data.store.header import Skipped
from georank_zoo.data.store.patch_store import SHARD_BYTES, PatchStore
from georank_zoo.data.store.writer import StoreWriter, require_apart
from georank_zoo.utils.errors import Interrupted, StoreError, UsageError

logger = logging.getLogger(__name__)

# The atmosphere absorbs 1375 nm: real scenes have about 0.001, and 0.01 under cirrus.
_BRIGHT_CIRRUS = 0.05

OnProgress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class Report:
    """What a preparation did.

    Attributes:
        store: The finished store.
        items: Number of source items.
        bad: Number of bad files (or scenes, see `Item.units`).
        units: Number of files (or scenes).
        resumed_at: Items that an earlier, interrupted run had done.
        seconds: Time that this run took.
    """

    store: PatchStore
    items: int
    bad: int
    units: int
    resumed_at: int
    seconds: float

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was left out: bad files, and windows without data."""
        return self.store.header.skipped


def prepare(
    reader: Reader,
    out: str | Path,
    *,
    max_bad: float = 0.05,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Report:
    """Prepares a store. Repeated after an interruption it goes on where the last shard ended.

    Args:
        reader: Reads the data set; it also says the bands and the size.
        out: Folder of the store to be; `<out>.partial` until it is complete.
        max_bad: Largest share of bad files (of scenes, where files make up a scene) to accept.
        overwrite: Replace an existing store, or a partial one of other settings.
        on_progress: Called with (items done, items in all, patches so far) after each item.
        shard_bytes: Pixels of a shard, roughly.

    Raises:
        UsageError: If `out` exists or holds the source, or `max_bad` is no share.
        StoreError: If too much is bad, nothing is left or the disk is full.
        Interrupted: On Ctrl-C; the partial store is kept.
    """
    if not 0 <= max_bad <= 1:
        raise UsageError(f"max_bad must lie between 0 and 1, not {max_bad:g}.")
    require_apart(Path(out), reader.root)
    started = time.monotonic()
    writer = StoreWriter(
        out, bands=reader.bands, size=reader.size, spec=reader.spec, overwrite=overwrite,
        target=reader.target, class_names=reader.class_names, splits=reader.splits,
        shard_bytes=shard_bytes,
    )  # fmt: skip
    resumed_at = writer.next_item
    if resumed_at:
        logger.info("Going on with %s at item %d.", writer.partial, resumed_at)
    try:
        bad, units = _write_items(reader, writer, max_bad, on_progress)
        store = writer.finish(
            reader=reader.name,
            level=reader.level,
            source=reader.source,
            license=reader.license,
        )
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"The disk is full at {writer.partial}. Free some space and repeat the "
                "command: it goes on after the last finished shard."
            ) from error
        raise
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"Interrupted at item {writer.next_item} of {len(reader.items())}. "
            f"{writer.partial} is kept: repeat the command, and it goes on after the last "
            "finished shard."
        ) from error
    cirrus = store.header.statistics.get("B10")
    if cirrus is not None and cirrus.mean > _BRIGHT_CIRRUS:
        logger.warning(
            "B10 (cirrus) has a mean reflectance of %.3f, which water vapour in the air does not "
            "let through: the bands are probably named in the wrong order.", cirrus.mean,
        )  # fmt: skip
    return Report(store, len(reader.items()), bad, units, resumed_at, time.monotonic() - started)


def _write_items(
    reader: Reader, writer: StoreWriter, max_bad: float, on_progress: OnProgress | None
) -> tuple[int, int]:
    items = reader.items()
    names = {unit for item in items for unit in item.units}
    bad = sum(skipped.item in names for skipped in writer.skipped)
    _refuse_too_many(writer, names, bad, max_bad)
    for item in items[writer.next_item :]:
        try:
            reading = reader.read(item)
        except BadItem as error:
            writer.skip([Skipped(unit, str(error)) for unit in item.units])
            bad += len(item.units)
        else:
            writer.add(reading.patches, left_out=reading.left_out)
            bad += sum(skipped.item in names for skipped in reading.left_out)
        _refuse_too_many(writer, names, bad, max_bad)
        if on_progress is not None:
            on_progress(writer.next_item, len(items), writer.count)
    if writer.count == 0:
        reasons = _summary(writer.skipped)
        writer.discard()
        raise StoreError(f"Nothing to store in {writer.path}: all was left out ({reasons}).")
    return bad, len(names)


def _refuse_too_many(writer: StoreWriter, names: set[str], bad: int, max_bad: float) -> None:
    if bad <= max_bad * len(names):
        return
    skipped = [s for s in writer.skipped if s.item in names]
    writer.discard()
    examples = "".join(f"\n  {s.item}: {s.reason}" for s in skipped[:5])
    raise StoreError(
        f"Too much of the source is bad: {bad} of {len(names)} already, and the limit is "
        f"{max_bad:.1%} ({_summary(skipped)}). The first:{examples}\n"
        f"Nothing is left at {writer.path}. Repair or remove these, correct the options, or "
        "accept more with --max-bad."
    )


def _summary(skipped: list[Skipped]) -> str:
    kinds = by_kind([entry.reason for entry in skipped])
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())
