"""`georank models`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from georank_zoo.publish.catalog import Entry
    from georank_zoo.publish.verify import Verified
    from georank_zoo.training.recipe import Recipe

_MANIFEST = click.option(
    "--manifest", "manifest_path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Another manifest than the zoo's own, as `georank release` writes one.",
)  # fmt: skip


@click.group(invoke_without_command=True)
@click.pass_context
def models(ctx: click.Context) -> None:
    """List, show, download and verify the models of the zoo; alone it lists them."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_)


@models.command("list")
@_MANIFEST
def list_(manifest_path: Path | None = None) -> None:
    """List the published models, and those that a shipped recipe would train."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from georank_zoo.publish import catalog as manifest

    published = manifest.read(manifest_path).models
    plans = {plan.name: (name, plan) for name, plan in _plans()}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("model, recipe", "what it is, where it is"):
        table.add_column(heading, no_wrap=heading.startswith("model"))
    for name, entry in published.items():
        summary = plans[name][1].summary if name in plans else entry.architecture
        table.add_row(
            f"{name}\n[dim]{_cell(entry.recipe)}", f"{_cell(summary)}\n[green]{_cell(entry.id)}"
        )
    for name, (recipe_name, plan) in plans.items():
        if name not in published:
            table.add_row(f"{name}\n[dim]{recipe_name}", f"{plan.summary}\n[dim]not published")
    Console().print(table)
    unpublished = len(plans.keys() - published.keys())
    click.echo(f"{len(published)} published, {unpublished} recipes without published weights.")


@models.command()
@click.argument("name")
@_MANIFEST
def show(name: str, manifest_path: Path | None) -> None:
    """Show all that is known of the model NAME."""
    from rich.console import Console

    from georank_zoo.publish import catalog as manifest
    from georank_zoo.utils.errors import unknown_name

    published = manifest.read(manifest_path).models
    console = Console(highlight=False)
    if name in published:
        entry = published[name]
        console.print(_facts(name, entry))
        if entry.scores:
            console.print(_scores(entry))
        click.echo("\nLoad it:")
        click.echo(f"timm.create_model('hf-hub:{entry.id}', pretrained=True)")
        click.echo(f"georank_zoo.create_model('{entry.pinned_id}')  # this very commit")
        return
    plans = {plan.name: (recipe_name, plan) for recipe_name, plan in _plans()}
    if name not in plans:
        raise unknown_name("model", name, [*published, *plans])
    recipe_name, plan = plans[name]
    rows = {
        "State": "not published", "Recipe": recipe_name, "Summary": plan.summary,
        "Cost": plan.cost, "Beside": plan.mirrors, "Bands": " ".join(plan.bands),
        "Image size": f"{plan.image_size} px", "Architecture": plan.backbone.name,
    }  # fmt: skip
    console.print(_table(name, rows))
    click.echo(f"\nTrain it: georank train {recipe_name} --data STORE")


@models.command()
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write [default: NAME].")
@_MANIFEST
def pull(name: str, out: Path | None, manifest_path: Path | None) -> None:
    """Download the published model NAME into a folder, and verify it.

    It is taken from the commit that the manifest names, and gets its folder only when every byte
    is the manifest's and its features are those of the export.
    """
    from georank_zoo.publish import catalog as manifest
    from georank_zoo.publish import verify as verification

    _quiet_without_terminal()
    done = verification.pull(name, out or Path(name), manifest=manifest.read(manifest_path))
    _report(done)
    click.echo(f"Load it: timm.create_model('local-dir:{done.folder}', pretrained=True)")


@models.command()
@click.argument("source", metavar="NAME|FOLDER|ORG/NAME")
@click.option("--name", help="The published model that it has to be.")
@_MANIFEST
def verify(source: str, name: str | None, manifest_path: Path | None) -> None:
    """Check that a model is what was published.

    Its files must have the manifest's checksums, its weights must fit its config, and it must
    give the features that its export noted. A model that is not of the manifest is compared with
    its own export alone.
    """
    from georank_zoo.publish import catalog as manifest
    from georank_zoo.publish import verify as verification

    _quiet_without_terminal()
    _report(verification.verify(source, manifest=manifest.read(manifest_path), name=name))


def _plans() -> list[tuple[str, Recipe]]:
    from georank_zoo.training.recipe import list_recipes, load_recipe

    names = sorted(list_recipes(), key=lambda name: name.startswith("study_"))
    return [(name, load_recipe(name)) for name in names]


def _facts(name: str, entry: Entry) -> Table:
    size = sum(file.size for file in entry.files.values())
    return _table(
        name,
        {
            "Recipe": f"{entry.recipe or 'not a shipped one'} ({entry.recipe_hash[:12]})",
            "Changed in it": ", ".join(entry.recipe_changes),
            "Trained on": entry.trained_on,
            "Architecture": f"{entry.architecture}, {entry.num_features} features",
            "Bands": " ".join(entry.bands),
            "Image size": f"{entry.image_size} px",
            "License": entry.license,
            "Hub": f"{entry.repo}, tag {entry.tag}" if entry.tag else entry.repo,
            "Commit": entry.revision,
            "Size": f"{size / 1e6:.1f} MB",
            **{file: f"SHA-256 {facts.sha256}" for file, facts in entry.files.items()},
        },
    )


def _table(title: str, rows: dict[str, str]) -> Table:
    from rich.table import Table

    table = Table(show_header=False, box=None, title=title, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, text in rows.items():
        if text:
            table.add_row(_cell(key), _cell(text))
    return table


def _cell(text: str) -> str:
    """A stranger's text for a table: no markup of rich's, nothing that a terminal obeys."""
    from rich.markup import escape

    from georank_zoo.utils.errors import plain

    return escape(plain(text, 300))


def _scores(entry: Entry) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("task", "protocol", "px", "metric", "% [95 % interval]"):
        table.add_column(heading)
    for score in entry.scores:
        percent = [f"{100 * x:.1f}" for x in (score.value, score.ci_low, score.ci_high)]
        table.add_row(
            *map(_cell, (
                f"{score.task}, {score.split}", score.shown_protocol, str(score.image_size),
                score.metric, f"{percent[0]} [{percent[1]}, {percent[2]}]",
            ))
        )  # fmt: skip
    return table


def _report(done: Verified) -> None:
    from georank_zoo.models.fingerprint import TOLERANCE

    click.echo(f"{done.folder}")
    if done.entry:
        click.echo(f"  files     {', '.join(done.files)}: as published ({done.entry.pinned_id})")
    else:
        click.echo(f"  files     not compared: no published model has {done.model_hash[:12]}...")
    click.echo("  weights   every tensor fits the config")
    click.echo(
        f"  features  as exported (difference {done.difference:.1e}, allowed {TOLERANCE:.0e})"
    )
    click.echo(f"Verified: {done.name}." if done.name else "Verified against its own export.")


def _quiet_without_terminal() -> None:
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
