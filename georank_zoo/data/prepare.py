"""Preparing a store from source files: what is bad is skipped and reported, a kill is resumed."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from georank_zoo.data.files.remote import shown
from georank_zoo.data.readers import check_options, open_reader
from georank_zoo.data.readers.base import Item, Reader, read_or_reason, without_items
from georank_zoo.data.store import look
from georank_zoo.data.store.describe import (
    by_kind,
    counted,
    describe,
    facts_table,
    remarks,
    warnings,
)
from georank_zoo.data.store.header import Skipped
from georank_zoo.data.store.mapped_store import SHARD_BYTES
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.data.store.share import parse_share
from georank_zoo.data.store.writer import (
    StoreWriter,
    partial_store,
    require_apart,
    require_replaceable,
)
from georank_zoo.utils.errors import BadItem, Interrupted, StoreError, UsageError, plain
from georank_zoo.utils.locks import output_lock
from georank_zoo.utils.parallel import map_in_order, usable_cores
from georank_zoo.utils.progress import OnProgress, progress_bar
from georank_zoo.utils.tables import Table
from georank_zoo.utils.untrusted_text import html_text, terminal_text
from georank_zoo.utils.write_errors import explain_write_errors

logger = logging.getLogger(__name__)

_SHOWN = 10  # skipped items that a report lists one by one


@dataclass(frozen=True)
class PrepareReport:
    """Result of a preparation; printed, it says what was taken, and what was skipped and why.

    Attributes:
        store: The finished store.
        items: Number of source items.
        bad: Number of bad files (or scenes, see `Item.units`).
        units: Number of files (or scenes).
        resumed_at: Number of items that an earlier, interrupted run had done.
        seconds: Duration of this run.
        warnings: What is probably not as its user thinks, in sentences, which are logged.
    """

    store: PatchStore
    items: int
    bad: int
    units: int
    resumed_at: int
    seconds: float
    warnings: tuple[str, ...] = ()

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was left out, and why: bad files, and windows without data."""
        return self.store.header.skipped

    def __str__(self) -> str:
        place = f"Store: {self.store.path}  (hash {self.store.hash[:12]})"
        said = remarks(describe(self.store))
        return terminal_text("\n".join([*self._taken(), *said, *self._left_out(), place]))

    def _taken(self) -> Iterator[str]:
        store = self.store
        resumed = f", resumed at item {self.resumed_at}" if self.resumed_at else ""
        patches = counted(len(store), "patch", "patches")
        yield (
            f"{patches} of {store.size} px and {counted(len(store.bands), 'band')} from "
            f"{counted(store.header.places, 'place')}, {store.nbytes / 2**20:.0f} MiB, in "
            f"{self.seconds:.1f} s{resumed}."
        )
        if store.class_names:
            labeled = counted(int(store.labeled.sum()), "patch is", "patches are")
            yield f"{labeled} labeled with {counted(len(store.class_names), 'class', 'classes')}."

    def _left_out(self) -> Iterator[str]:
        if not self.skipped:
            return
        yield f"Left out: {len(self.skipped)}; {self.bad} of {self.units} sources are bad."
        for kind, count in by_kind([entry.reason for entry in self.skipped]).items():
            yield f"  {count:6}  {kind}"
        yield "The first of them:" if len(self.skipped) > _SHOWN else "They are:"
        for entry in self.skipped[:_SHOWN]:
            yield f"  {plain(entry.item, 300)}: {plain(entry.reason, 300)}"

    def _repr_html_(self) -> str:
        texts = (next(self._taken()), *(f"Warning: {text}" for text in self.warnings))
        html = "".join(f"<p>{html_text(text)}</p>" for text in texts)
        html += facts_table(describe(self.store)).to_html()
        if not self.skipped:
            return html
        title = f"Left out: {len(self.skipped)}; {self.bad} of {self.units} sources are bad"
        rows = [(entry.item, entry.reason) for entry in self.skipped[:_SHOWN]]
        if len(self.skipped) > _SHOWN:
            rows.append((f"and {len(self.skipped) - _SHOWN} more: report.skipped", ""))
        return html + Table(title, ("Source", "Reason"), tuple(rows)).to_html()


def prepare_store(
    source: str | os.PathLike[str] | Reader,
    out: str | os.PathLike[str],
    *,
    reader: str = "folder",
    max_bad: float = 0.05,
    overwrite: bool = False,
    jobs: int | None = None,
    share: str | None = None,
    progress: bool = True,
    on_progress: OnProgress | None = None,
    shard_bytes: int = SHARD_BYTES,
    **options: Any,
) -> PrepareReport:
    """Prepares a store from a folder of source files.

    Repeated after an interruption, it resumes after the last finished shard.

    Args:
        source: Folder of the data set, or an opened reader, such as one of your own; with
            `remote=True`, an address.
        out: Folder of the store to write; `<out>.partial` until it is complete.
        reader: Name of the reader of a folder, such as `folder` (any tree of georeferenced
            GeoTIFFs) or `eurosat`; `georank data prepare --help` lists them with their options.
        max_bad: Largest share of bad files (of scenes, where files make up a scene) to accept.
        overwrite: Replace an existing store, or a partial one of other settings.
        jobs: Number of processes that read; the usable cores by default. The store is the same
            for any number.
        share: Takes only a share of the source's items, such as `"3/16"`, the third of sixteen:
            several machines each prepare one, and `merge_stores` makes one store of them.
        progress: Show a bar if it takes more than a second.
        on_progress: Takes the place of the bar. Called with (sources, in all, "listed") while
            the source is listed, and then with (items done, in all, "<n> patches").
        shard_bytes: Size of a shard's pixels in bytes, approximately.
        **options: Options of the reader; one that is None is left at its default. Those of
            `folder`: `bands` (names, in file order where the files do not name their bands),
            `ignore_descriptions` (`bands` in file order whatever the files call them),
            `size` (patch side in pixels; larger rasters are cut), `labels` (`"parent"` or a CSV
            or GeoJSON file), `unit` (`"dn"` or `"reflectance"`) and `offset` (DN to subtract),
            which by default are what the files, their products or names say, `radiometry`
            (`"auto"`, where all of these must agree, or `"options"`, where those two alone count)
            and `remote` (`source` may be a folder at `https://` or `s3://`, or a text file that
            lists addresses).

    Returns:
        The report, with the opened store as `.store`.

    Raises:
        UsageError: If there is no such source or reader, the reader does not take an option,
            `out` exists or holds the source, `max_bad` is not between 0 and 1, `jobs` is
            not positive, or there is no such share.
        StoreError: If too much is bad or nothing is left.
        GeorankError: If the disk is full, or another process writes to `out`.
        Interrupted: On Ctrl-C; the partial store is kept.

    Example:
        >>> import georank_zoo as gz
        >>> report = gz.prepare_store("my_geotiffs", "out/prepared", size=32, labels="parent")
        >>> report.store
        PatchStore('out/prepared': 192 patches of 32 px, 96 places, 12 bands, 8 classes)
        >>> report.skipped
        ()
    """
    if not 0 <= max_bad <= 1:
        raise UsageError(f"max_bad must lie between 0 and 1, not {max_bad:g}.")
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs must be 1 or more, not {jobs}.")
    part = None if share is None else parse_share(share)
    out = Path(out)
    started = time.monotonic()
    with output_lock(out, partial_store(out)) as taken:
        replace = overwrite or taken.finished
        opened = _opened(source, out, reader, replace, progress, on_progress, options)
        require_apart(out, opened.root)
        items = opened.items() if part is None else part.take(opened.items())
        spec = opened.spec if part is None else {**opened.spec, "share": str(part)}
        writer = StoreWriter(
            out, bands=opened.bands, size=opened.size, spec=spec, overwrite=overwrite,
            target=opened.target, class_names=opened.class_names, splits=opened.splits,
            shard_bytes=shard_bytes, finished=taken.finished,
        )  # fmt: skip
        resumed_at = writer.next_item
        if resumed_at:
            logger.info("Resuming %s at item %d.", writer.partial, resumed_at)
        with (
            explain_interruption(writer, len(items)),
            progress_bar(f"Preparing {out}", on_progress, show=progress) as report,
        ):
            jobs = jobs or usable_cores()
            bad, units = _write_items(opened, items, writer, max_bad, jobs, report)
            store = writer.finish(
                reader=opened.name, level=opened.level, source=opened.source, license=opened.license
            )
    suspect = log_suspicions(store)
    seconds = time.monotonic() - started
    return PrepareReport(store, len(items), bad, units, resumed_at, seconds, suspect)


def _opened(
    source: str | os.PathLike[str] | Reader,
    out: Path,
    name: str,
    overwrite: bool,
    progress: bool,
    on_progress: OnProgress | None,
    options: dict[str, Any],
) -> Reader:
    if not isinstance(source, str | os.PathLike):
        if options:
            raise UsageError(
                f"Reader {source.name!r} is open already and takes no more options: "
                f"{', '.join(options)}. Give them where you open it."
            )
        return source
    # Before a long listing: what cannot end well need not begin.
    check_options(name, options)
    require_apart(out, Path(source))
    require_replaceable(out, overwrite=overwrite)
    with progress_bar(f"Listing {shown(source)}", on_progress, show=progress) as report:

        def listed(done: int, total: int | None, note: str = "listed") -> None:
            report(done, total, note)

        # Of an address, a path would make another.
        return open_reader(name, os.fspath(source), on_progress=listed, **options)


def log_suspicions(store: PatchStore) -> tuple[str, ...]:
    """What of a finished store is probably not as its user thinks, in sentences, also logged."""
    suspect = (*warnings(describe(store)), *look.at_store(store))
    for text in suspect:
        logger.warning("%s", text)
    return suspect


@contextmanager
def explain_interruption(writer: StoreWriter, items: int) -> Iterator[None]:
    """Says how to go on where a full disk or Ctrl-C ends the writing of so many items.

    Raises:
        GeorankError: If the disk is full.
        Interrupted: On Ctrl-C.
    """
    remedy = "Make room and repeat the command: it resumes after the last finished shard."
    try:
        with explain_write_errors(writer.partial, remedy):
            yield
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"Interrupted at item {writer.next_item} of {items}. "
            f"{writer.partial} is kept: repeat the command, and it resumes after the last "
            "finished shard."
        ) from error


def _write_items(
    reader: Reader,
    items: Sequence[Item],
    writer: StoreWriter,
    max_bad: float,
    jobs: int,
    on_progress: OnProgress,
) -> tuple[int, int]:
    names = {unit for item in items for unit in item.units}
    bad = sum(skipped.item in names for skipped in writer.skipped)
    _refuse_too_many(writer, names, bad, max_bad)
    rest = items[writer.next_item :]
    read = partial(read_or_reason, without_items(reader))
    with closing(map_in_order(read, rest, jobs=jobs)) as readings:
        for item, reading in zip(rest, readings, strict=True):
            if isinstance(reading, BadItem):
                writer.skip([Skipped(unit, str(reading)) for unit in item.units])
                bad += len(item.units)
            else:
                writer.add(reading.patches, left_out=reading.left_out)
                bad += sum(skipped.item in names for skipped in reading.left_out)
            _refuse_too_many(writer, names, bad, max_bad)
            on_progress(writer.next_item, len(items), f"{writer.count} patches")
    # One of many shares may well be all cloud; the others are not worth less for it.
    if writer.count == 0 and "share" not in writer.spec:
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
