"""Download of a data set into a folder that its reader takes.

What is there and intact is not downloaded again, so the same command resumes after an
interruption. A file that was in the folder before is never overwritten.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from georank_zoo.data.datasets.base import Archive, Checksum, DataSet, Download, RemoteFile
from georank_zoo.data.download.hub import on_mirror, tree_files
from georank_zoo.data.download.install import install
from georank_zoo.data.download.record import (
    LISTING,
    Arrived,
    Record,
    read_listing,
    read_record,
    write_record,
)
from georank_zoo.data.download.transfer import Refused, ask, digests, fetch_url, partial_of
from georank_zoo.data.download.unpack import zip_content_bytes
from georank_zoo.utils.errors import DownloadError, Interrupted, UsageError
from georank_zoo.utils.hub_errors import without_credentials
from georank_zoo.utils.locks import output_lock
from georank_zoo.utils.write_errors import explain_write_errors

ALL = "*"
_KEPT = "What has arrived is kept: make room and repeat the command."
# Directories, the record and other programs take some too.
_SPARE_BYTES = 64 << 20


def download_dataset(
    dataset: DataSet,
    out: Path,
    *,
    only: str = ALL,
    keep_archives: bool = False,
    retries: int = 5,
    backoff: float = 1.0,
    on_progress: Callable[[str, int, int | None], None] | None = None,
) -> Record:
    """Downloads a data set, checks it, unpacks it and records what is there.

    Args:
        dataset: Data set with a download, such as `DATASETS["eurosat"]`.
        out: Folder; it is made.
        only: Pattern of paths, for a data set of single files.
        keep_archives: Keep an archive after unpacking.
        retries: Failures in a row without a byte of progress before a file is given up.
        backoff: Seconds before the first retry; doubled each time.
        on_progress: Called with (what is being done, bytes, in all if known).

    Returns:
        What the folder holds.

    Raises:
        UsageError: If there is nothing to download, the folder holds another data set, or `only`
            fits nothing.
        DownloadError: If something cannot be downloaded, is not what was published, has no room,
            or must be fetched by hand.
        GeorankError: If another process writes to `out`.
        Interrupted: On Ctrl-C; what has arrived is kept.
    """
    facts = dataset.download
    if facts is None:
        raise UsageError(f"{dataset.name} is not downloaded: {dataset.source}.")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file. Give the folder to download to.")
    if facts.archive is not None and only != ALL:
        raise UsageError(f"{dataset.name} is one archive: --only does not apply to it.")
    with output_lock(out):
        out.mkdir(exist_ok=True)
        record = read_record(out) or Record(dataset.name, dataset.license, facts.landing)
        if record.name != dataset.name:
            raise UsageError(f"{out} holds {record.name}. Give another folder for {dataset.name}.")
        if not _is_complete(record, out, only):
            run = _Run(dataset, facts, out, retries, backoff, on_progress or (lambda *_: None))
            try:
                record = _complete(run, record, only)
            except Refused as error:
                raise DownloadError(f"{error}\n{steps_by_hand(dataset, facts, out)}") from error
            except KeyboardInterrupt as error:
                raise Interrupted(
                    f"Interrupted. What has arrived is kept in {out}: repeat the command to "
                    "resume it."
                ) from error
        if facts.archive is not None and not keep_archives:
            for part in facts.archive.parts:
                (out / part.path).unlink(missing_ok=True)
    return record


def steps_by_hand(dataset: DataSet, facts: Download, out: Path) -> str:
    """How to get the same folder without this program."""
    lines = [f"  {n}. {step.format(out=out)}" for n, step in enumerate(facts.by_hand, 1)]
    return "\n".join([f"By hand ({facts.landing}; license: {dataset.license}):", *lines])


@dataclass(frozen=True)
class _Run:
    """What the steps of a download share."""

    dataset: DataSet
    facts: Download
    out: Path
    retries: int
    backoff: float
    report: Callable[[str, int, int | None], None]


def _is_complete(record: Record, out: Path, only: str) -> bool:
    """Whether all that was asked for is recorded and there, by its size."""
    if not {ALL, only} & set(record.complete):
        return False
    return all(_has(out / f.path, f.size) for f in record.files) and _is_unpacked(record, out)


def _is_unpacked(record: Record, out: Path) -> bool:
    listing = out / LISTING
    if not record.listing:
        return not record.archive
    return listing.is_file() and all(_has(out / f.path, f.size) for f in read_listing(listing))


def _has(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _complete(run: _Run, record: Record, only: str) -> Record:
    """Downloads what is not there."""
    files = _selected(run, only)
    archive = run.facts.archive
    if archive is not None and record.listing and _is_unpacked(record, run.out):
        archive = None
    parts = archive.parts if archive else ()
    there = {file.path: _present(run, record, file) for file in (*files, *parts)}
    missing = [file for file in (*files, *parts) if there[file.path] is None]
    _require_urls(run, missing)
    missing = [_asked(run, file) for file in missing]
    _require_room(run, missing, archive)
    arrived = {f.path: f for f in record.files} | {p: f for p, f in there.items() if f}
    others = tuple(done for done in record.complete if done not in {only, ALL})
    try:
        with explain_write_errors(run.out, _KEPT):
            for file in missing:
                arrived[file.path] = _fetched(run, file)
    finally:
        # Also when it is interrupted: what has arrived need not be read again to be trusted.
        if archive is not None:
            pieces = [arrived.pop(part.path, None) for part in parts]
            record = replace(record, archive=tuple(piece for piece in pieces if piece))
        loose = tuple(file for _, file in sorted(arrived.items()))
        record = replace(record, files=loose, complete=others)
        write_record(run.out, record)
    if archive is not None:
        record = _unpacked(run, record, archive)
    record = replace(record, complete=(ALL,) if only == ALL else (*others, only))
    write_record(run.out, record)
    return record


def _selected(run: _Run, only: str) -> list[RemoteFile]:
    """The single files that are wanted."""
    tree = run.facts.tree
    files = [*run.facts.files, *(tree_files(tree) if tree else [])]
    wanted = [file for file in files if fnmatchcase(file.path, only)]
    if not wanted and run.facts.archive is None:
        some = ", ".join(file.path for file in files[:3])
        raise UsageError(f"--only {only!r} fits no file of {run.dataset.name}, such as {some}.")
    return wanted


def _present(run: _Run, record: Record, file: RemoteFile) -> Arrived | None:
    """The file if it is there already; a file that it is not may not lie in its place."""
    path = run.out / file.path
    if not path.exists():
        return None
    known = {f.path: f for f in (*record.files, *record.archive)}.get(file.path)
    if known and _has(path, known.size):
        return known
    run.report(f"Checking {file.path}", 0, None)
    algorithms = {"sha256"} | ({str(file.checksum.algorithm)} if file.checksum else set())
    sums = digests(path, algorithms)
    if file.checksum is None or sums[file.checksum.algorithm] != file.checksum.hexdigest:
        raise DownloadError(
            f"{path} is there, but is not known to be the published file. Delete it or move it "
            "away, and repeat the command."
        )
    return Arrived(
        file.path, path.stat().st_size, sums["sha256"], file.url or "", _published(file.checksum)
    )


def _require_urls(run: _Run, missing: Sequence[RemoteFile]) -> None:
    absent = [file.path for file in missing if file.url is None]
    if absent:
        raise DownloadError(
            f"{run.dataset.name} cannot be downloaded by a program. Missing in {run.out}: "
            f"{', '.join(absent)}.\n{steps_by_hand(run.dataset, run.facts, run.out)}"
        )


def _asked(run: _Run, file: RemoteFile) -> RemoteFile:
    """The file with what the server tells, where nothing was published."""
    assert file.url is not None
    url = on_mirror(file.url)
    if file.size is not None and file.checksum is not None:
        return replace(file, url=url)
    run.report(f"Asking for {file.path}", 0, None)
    remote = ask(url)
    if file.size is not None and remote.size not in (None, file.size):
        shown = without_credentials(url)
        raise Refused(f"{shown} has {remote.size} bytes, not {file.size}: it is another file.")
    announced = Checksum("sha256", remote.sha256, published=False) if remote.sha256 else None
    return replace(
        file, url=url, size=file.size or remote.size, checksum=file.checksum or announced
    )


def _require_room(run: _Run, missing: Sequence[RemoteFile], archive: Archive | None) -> None:
    """Compares what will be written with the free space."""
    need = sum(
        max(0, (file.size or 0) - _size(partial_of(run.out / file.path))) for file in missing
    )
    if archive is not None:
        need += archive.unpacked_bytes or 0
    _require_free(run.out, need, f"download {run.dataset.name}")


def _require_free(out: Path, need: int, what: str) -> None:
    free = shutil.disk_usage(out).free
    if need + _SPARE_BYTES > free:
        raise DownloadError(
            f"To {what} takes {need / 1e9:.1f} GB more in {out}, where {free / 1e9:.1f} GB are "
            "free. Make room, or give a folder on another disk."
        )


def _fetched(run: _Run, file: RemoteFile) -> Arrived:
    assert file.url is not None
    title, target = f"Downloading {file.path}", run.out / file.path
    sha256 = fetch_url(
        file.url, target, size=file.size, checksum=file.checksum,
        retries=run.retries, backoff=run.backoff,
        on_progress=lambda done, total: run.report(title, done, total),
    )  # fmt: skip
    return Arrived(file.path, target.stat().st_size, sha256, file.url, _published(file.checksum))


def _published(checksum: Checksum | None) -> str:
    if checksum is None:
        return ""
    return f"{'published' if checksum.published else 'announced'} {checksum.algorithm}"


def _unpacked(run: _Run, record: Record, archive: Archive) -> Record:
    first = run.out / archive.parts[0].path
    need = zip_content_bytes(first) if archive.kind == "zip" else archive.unpacked_bytes or 0
    _require_free(run.out, need, f"unpack {first.name}")
    listing, count, size = install(
        archive, run.out, replace=record.listing != "",
        on_progress=lambda done, total: run.report(f"Unpacking {first.name}", done, total),
    )  # fmt: skip
    return replace(record, listing=listing, unpacked=count, unpacked_bytes=size)
