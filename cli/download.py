"""`georank data download`: get a data set, and check what was downloaded."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from georank_zoo.data.datasets import DATASETS

from .output import say

if TYPE_CHECKING:
    from georank_zoo.data.download.record import Record

    from .progress import Bar

_SHOWN = 20  # damaged files that are listed one by one


@click.command()
@click.argument("name", metavar="[DATA SET]", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Folder to download to.")
@click.option("--only", metavar="PATTERN", default="*", show_default=True,
              help="Files to take, for data sets of single files.")  # fmt: skip
@click.option("--keep-archives", is_flag=True, help="Keep archives after unpacking.")
@click.option("--list", "show", is_flag=True, help="List the data sets.")
def download(
    name: str | None, out: Path | None, only: str, keep_archives: bool, show: bool
) -> None:
    """Download a data set, check it and unpack it.

    Repeat the command after an interruption: it resumes where it stopped. Where a login or a
    form stands in the way it says what to do by hand. Without a DATA SET it lists them. Files
    of the Hugging Face Hub come from the mirror that HF_ENDPOINT names, if it is set.
    """
    from georank_zoo.utils.errors import UsageError, unknown_name

    if name is None or show:
        _show_datasets()
        return
    known = {key: dataset for key, dataset in DATASETS.items() if dataset.download}
    if name not in known:
        raise unknown_name("data set", name, known)
    if out is None:
        raise UsageError(f"Pass the folder: georank data download {name} --out FOLDER.")
    from georank_zoo.data.download.download import download_dataset

    dataset = known[name]
    assert dataset.download is not None
    say(f"{dataset.title}. License: {dataset.license}. Size: {dataset.download.size}.")
    if dataset.download.note:
        say(dataset.download.note)
    with _Bars() as bars:
        record = download_dataset(
            dataset, out, only=only, keep_archives=keep_archives, on_progress=bars.update
        )
    _show_record(record, out)


def show_verified(folder: Path) -> None:
    """Checks a downloaded folder and says what is wrong.

    Raises:
        DownloadError: If a file is missing or damaged.
    """
    from georank_zoo.data.download.record import verify_download
    from georank_zoo.utils.errors import DownloadError

    with _Bars() as bars:
        result = verify_download(
            folder, on_progress=lambda d, t: bars.update(f"Checking {folder}", d, t)
        )
    again = f"georank data download {result.record.name} --out {shlex.quote(str(folder))}"
    if result.damaged:
        lines = "\n".join(f"  {line}" for line in result.damaged[:_SHOWN])
        more = len(result.damaged) - _SHOWN
        rest = f"\n  and {more} more" if more > 0 else ""
        raise DownloadError(
            f"{folder}: {len(result.damaged)} of {result.files} files are not as they were "
            f"downloaded:\n{lines}{rest}\nDelete them and repeat: {again}"
        )
    say(f"{folder}: all {result.files} files are intact ({result.record.name}).")
    if not result.record.complete:
        say(f"The download is not complete. Continue with: {again}")


def _show_datasets() -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("Data set", "What it is, and its license", "Size", "How", box=None)
    for name, dataset in DATASETS.items():
        if facts := dataset.download:
            how = "download" if facts.automatic else "by hand"
            table.add_row(name, f"{dataset.title}\n{dataset.license}", facts.size, how)
    Console(highlight=False).print(table)
    say("georank data download NAME --out FOLDER")


def _show_record(record: Record, out: Path) -> None:
    files = len(record.files) + record.unpacked
    size = sum(file.size for file in record.files) + record.unpacked_bytes
    say(f"{out}: {files} files, {size / 1e9:.2f} GB, of {record.name}.")
    if record.unchecked:
        say(
            f"No checksum is published for {', '.join(record.unchecked)}: its SHA-256 was "
            "recorded now, and later checks compare with that."
        )
    folder = shlex.quote(str(out))
    say(f"Check: georank data verify {folder}")
    say(f"Next:  georank data prepare {record.name} {folder} --out stores/{record.name}")


class _Bars:
    """One bar after the other, in MiB, as the work goes from file to file."""

    def __init__(self) -> None:
        self._title = ""
        self._bar: Bar | None = None
        self._shown: tuple[int, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, traceback)

    def update(self, title: str, done: int, total: int | None) -> None:
        """Shows that `done` of `total` bytes of a piece of work are done."""
        from .progress import Bar

        if title != self._title:
            self.__exit__(None, None, None)
            self._title, self._bar, self._shown = title, Bar(title).__enter__(), None
        if self._bar is None or total is None:
            return
        shown = (-(-done // 2**20), -(-total // 2**20))
        # The last MiB is finished once, although many calls are within it.
        if shown != self._shown and (shown[0] < shown[1] or done >= total):
            self._shown = shown
            self._bar.update(*shown, "MiB")
