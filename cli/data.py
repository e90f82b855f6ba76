"""`georank data`: download data sets; prepare, show and verify patch stores."""

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
from .overlap import overlap

if TYPE_CHECKING:
    from rich.console import Console

    from georank_zoo.data.prepare import Report

_SHOWN = 10  # skipped items that the summary lists one by one
_READERS_HELP = "\n".join(
    f"  {name:11} {dataset.reader.summary}\n{'':14}takes "
    + " ".join(f"--{option.name}" for option in dataset.reader.options)
    for name, dataset in DATASETS.items()
)


@click.group()
def data() -> None:
    """Download data sets; prepare, show and verify patch stores."""


data.add_command(download)
data.add_command(overlap)


def _reader_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of all readers, each once."""
    found = dict.fromkeys(o for dataset in DATASETS.values() for o in dataset.reader.options)
    for option in reversed(found):
        command = click.option(
            f"--{option.name}", type=_type(option), metavar=option.metavar or None, help=option.help
        )(command)
    return command


def _type(option: ReaderOption) -> click.ParamType[Any]:
    if option.kind == "number":
        return click.IntRange(option.at_least, option.at_most)
    return click.Path(path_type=Path) if option.kind == "path" else click.STRING


@data.command(
    help="Prepare the store that training reads from a folder of source files.\n\n"
    "Repeat the command after an interruption: it goes on where it stopped.\n\n"
    f"\b\nREADER is one of, with the options that it takes:\n{_READERS_HELP}"
)
@click.argument("reader", metavar="READER")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Store to write.")
@_reader_options
@click.option("--max-bad", type=click.FloatRange(0, 1), default=0.05, show_default=True,
              metavar="SHARE", help="Give up when more of the source is bad.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an existing store.")
def prepare(
    reader: str, source: Path, out: Path, max_bad: float, overwrite: bool, **options: Any
) -> None:
    """Parses, prepares and shows the report; the help is above."""
    from georank_zoo.data.prepare import prepare as prepare_store
    from georank_zoo.data.readers import check_options, open_reader
    from georank_zoo.data.store.writer import require_apart, require_free

    from .progress import Bar

    # Before a long listing: what cannot end well need not begin.
    check_options(reader, options)
    require_apart(out, source)
    require_free(out, overwrite=overwrite)
    with Bar(f"Listing {source}") as bar:
        opened = open_reader(reader, source, on_progress=bar.update, **options)
    with Bar(f"Preparing {out}") as bar:
        report = prepare_store(
            opened, out, max_bad=max_bad, overwrite=overwrite,
            on_progress=lambda done, total, patches: bar.update(done, total, f"{patches} patches"),
        )  # fmt: skip
    _show_report(report, out)


def _show_report(report: Report, out: Path) -> None:
    from georank_zoo.data.store.describe import by_kind

    store, skipped = report.store, report.skipped
    gone_on = f", going on at item {report.resumed_at}" if report.resumed_at else ""
    click.echo(
        f"{len(store)} patches of {store.size} px and {len(store.bands)} bands from "
        f"{store.manifest.places} places, {store.nbytes / 2**20:.0f} MiB, in "
        f"{report.seconds:.1f} s{gone_on}."
    )
    if store.class_names:
        labeled = int(store.labeled.sum())
        click.echo(f"{labeled} patches are labeled with {len(store.class_names)} classes.")
    if skipped:
        click.echo(f"Left out: {len(skipped)}; {report.bad} of {report.units} sources are bad.")
        for kind, count in by_kind([entry.reason for entry in skipped]).items():
            click.echo(f"  {count:6}  {kind}")
        click.echo("The first of them:" if len(skipped) > _SHOWN else "They are:")
        for entry in skipped[:_SHOWN]:
            click.echo(f"  {entry.item}: {entry.reason}")
    click.echo(f"Store: {out}  (hash {store.hash[:12]})")
    own = tasks_of(store.manifest.reader)
    # Of several tasks of one reader (So2Sat's splits) the one whose split the store holds.
    own.sort(key=lambda task: task.split not in store.roles)
    task = own[0].name if own else ""
    labeled = bool(store.class_names) and task not in ("", "synthetic", "folder")
    use = f"eval MODEL --task {task}" if labeled else "train moco_georank"
    click.echo(f"Next:  georank {use} --data {shlex.quote(str(out))}")


@data.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def info(store: Path, as_json: bool) -> None:
    """Show what a store holds."""
    from georank_zoo.data.store.describe import describe
    from georank_zoo.data.store.patch_store import PatchStore

    facts = describe(PatchStore(store))
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    from rich.console import Console

    console = Console(highlight=False)
    _show_facts(console, facts)
    _show_bands(console, facts["bands"])
    if facts["classes"]:
        _show_classes(console, facts)
    for kind, count in facts["skipped_by_kind"].items():
        console.print(f"Left out: {count} {kind}", markup=False)


def _show_facts(console: Console, facts: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(show_header=False, box=None, title=f"Store {facts['path']}", title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    per_place, extent = facts["acquisitions_per_place"], facts["extent"]
    dates = f"{facts['first_date']} to {facts['last_date']}" if facts["first_date"] else "none"
    if facts["first_date"] and facts["without_date"]:
        dates += f" ({facts['without_date']} patches without)"
    rows = {
        "Patches": f"{facts['patches']} of {facts['size']} px, {facts['bytes'] / 2**20:.0f} MiB",
        "Places": f"{facts['places']}, {per_place['mean']:.2f} acquisitions each "
        f"(min {per_place['min']}, max {per_place['max']})",
        "Latitude": f"{extent['south']:.4f} to {extent['north']:.4f}" if extent else "unknown",
        "Longitude": f"{extent['west']:.4f} to {extent['east']:.4f}" if extent else "unknown",
        "Dates": dates,
        "Level": facts["level"],
        "Reader": facts["reader"],
        "Source": facts["source"],
        "License": facts["license"],
        "Hash": facts["hash"],
        "Left out": str(len(facts["skipped"])),
        **{f"Split {name}": _parts(parts) for name, parts in facts["splits"].items()},
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def _parts(parts: dict[str, int]) -> str:
    return ", ".join(f"{count} {role}" for role, count in parts.items())


def _show_bands(console: Console, bands: dict[str, dict[str, float]]) -> None:
    from rich.table import Table

    from georank_zoo.bands import BY_NAME

    table = Table("Band", "Measures", title="Reflectance", title_justify="left")
    for heading in ("Mean", "Std", "Min", "Max"):
        table.add_column(heading, justify="right")
    for name, statistics in bands.items():
        numbers = (f"{statistics[key]:.4f}" for key in ("mean", "std", "min", "max"))
        table.add_row(name, BY_NAME[name].common_name, *numbers)
    console.print(table)


def _show_classes(console: Console, facts: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("Label", "Class", title="Classes", title_justify="left")
    table.add_column("Patches", justify="right")
    for label, (name, count) in enumerate(facts["classes"].items()):
        table.add_row(str(label), name, str(count))
    if facts["unlabeled"]:
        table.add_row("", "unlabeled", str(facts["unlabeled"]))
    console.print(table)


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
    click.echo(
        f"{store}: {len(opened.manifest.shards)} shard(s) are intact, {len(opened)} patches."
    )
