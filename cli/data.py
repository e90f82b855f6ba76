"""`georank data`: download data sets; prepare, merge, show and verify patch stores."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from georank_zoo.data.datasets import DATASETS
from georank_zoo.data.datasets.base import ReaderOption
from georank_zoo.eval.tasks import tasks_of

from .download import download, show_verified
from .output import say
from .overlap import overlap

if TYPE_CHECKING:
    from georank_zoo.data.store.patch_store import PatchStore

_READERS_HELP = "\n".join(
    f"  {name:11} {dataset.reader.summary}\n{'':14}takes "
    + " ".join(f"--{option.name.replace('_', '-')}" for option in dataset.reader.options)
    for name, dataset in DATASETS.items()
)


@click.group()
def data() -> None:
    """Download data sets; prepare, merge, show and verify patch stores."""


data.add_command(download)
data.add_command(overlap)


def _reader_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of all readers, each once."""
    found = dict.fromkeys(o for dataset in DATASETS.values() for o in dataset.reader.options)
    for option in reversed(found):
        name = f"--{option.name.replace('_', '-')}"
        command = (
            # None unless given: readers that do not take it must not get it.
            click.option(name, is_flag=True, default=None, help=option.help)
            if option.kind == "flag"
            else click.option(
                name, type=_type(option), metavar=option.metavar or None, help=option.help
            )
        )(command)
    return command


def _type(option: ReaderOption) -> click.ParamType[Any]:
    if option.kind == "flag":
        return click.BOOL
    if option.kind == "number":
        return click.IntRange(option.at_least, option.at_most)
    return click.Path(path_type=Path) if option.kind == "path" else click.STRING


@data.command(
    help="Prepare the store that training reads from a folder of source files.\n\n"
    "Repeat the command after an interruption: it resumes where it stopped.\n\n"
    f"\b\nREADER is one of, with the options that it takes:\n{_READERS_HELP}"
)
@click.argument("reader", metavar="READER")
@click.argument("source", type=click.Path())
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Store to write.")
@_reader_options
@click.option("--max-bad", type=click.FloatRange(0, 1), default=0.05, show_default=True,
              metavar="SHARE", help="Give up when more of the source is bad.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an existing store.")
@click.option("--jobs", type=click.IntRange(1), metavar="N",
              help="Processes that read; the usable cores by default.")  # fmt: skip
@click.option("--share", metavar="K/N",
              help="Prepare only this share, such as 3/16; `merge` joins all.")  # fmt: skip
def prepare(
    reader: str,
    source: str,
    out: Path,
    max_bad: float,
    overwrite: bool,
    jobs: int | None,
    share: str | None,
    **options: Any,
) -> None:
    """Parses, prepares and shows the report; the help is above."""
    from georank_zoo.data.prepare import prepare_store

    from .progress import Bar

    with Bar(f"Preparing {out}") as bar:
        report = prepare_store(
            source, out, reader=reader, max_bad=max_bad, overwrite=overwrite, jobs=jobs,
            share=share, on_progress=bar.update, **options,
        )  # fmt: skip
    say(str(report))
    if share is not None:
        say("Next:  georank data merge SHARE... --out STORE, when all shares are prepared")
        return
    say(f"Next:  georank {_next_command(report.store)} --data {shlex.quote(str(out))}")


@data.command()
@click.argument("shares", metavar="SHARE...", nargs=-1, required=True,
                type=click.Path(path_type=Path))  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Store to write.")
@click.option("--overwrite", is_flag=True, help="Replace an existing store.")
def merge(shares: tuple[Path, ...], out: Path, overwrite: bool) -> None:
    """Merge all shares of a preparation (`prepare --share`) into one store.

    It is the store that one preparation of everything would have written. The shares stay.
    """
    from georank_zoo.data.merge import merge_stores

    from .progress import Bar

    with Bar(f"Merging {out}") as bar:
        store = merge_stores(shares, out, overwrite=overwrite, on_progress=bar.update)
    say(f"{len(store)} patches from {store.header.places} places, of {len(shares)} shares.")
    say(f"Store: {out}  (hash {store.hash[:12]})")
    say(f"Next:  georank {_next_command(store)} --data {shlex.quote(str(out))}")


def _next_command(store: PatchStore) -> str:
    own = tasks_of(store.header.reader)
    # Of several tasks of one reader (So2Sat's splits) the one whose split the store holds.
    own.sort(key=lambda task: task.split not in store.roles)
    labeled = store.class_names and own and own[0].name not in ("synthetic", "folder")
    return f"eval MODEL --task {own[0].name}" if labeled else "train moco_georank"


@data.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def info(store: Path, as_json: bool) -> None:
    """Show what a store holds."""
    from georank_zoo.data.store.describe import (
        bands_table,
        classes_table,
        describe,
        facts_table,
        warnings,
    )
    from georank_zoo.data.store.patch_store import PatchStore

    from .tables import show_facts, show_table

    facts = describe(PatchStore(store))
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    show_facts(facts_table(facts))
    show_table(bands_table(facts), left=2)
    if facts["classes"]:
        show_table(classes_table(facts), left=2)
    for kind, count in facts["skipped_by_kind"].items():
        say(f"Left out: {count} {kind}")
    for text in warnings(facts):
        say(f"Warning: {text}")


@data.command()
@click.argument("store", type=click.Path(path_type=Path))
def verify(store: Path) -> None:
    """Compare every shard of a store, or every file of a download, with its recorded SHA-256."""
    from georank_zoo.data.download.record import is_download

    if is_download(store):
        show_verified(store)
        return
    from georank_zoo.data.store.patch_store import PatchStore
    from georank_zoo.utils.errors import StoreError

    opened = PatchStore(store)
    damaged = opened.verify()
    if damaged:
        raise StoreError(
            f"{store} is damaged: {'; '.join(damaged)}. Prepare it again with --overwrite."
        )
    say(f"{store}: {len(opened.header.shards)} shard(s) are intact, {len(opened)} patches.")
