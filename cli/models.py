"""`georank models`."""

from __future__ import annotations

from pathlib import Path

import click

from .output import say

_CATALOG = click.option(
    "--catalog", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Catalog file, as `georank release` writes one [default: the zoo's own].",
)  # fmt: skip


@click.group(invoke_without_command=True)
@click.pass_context
def models(ctx: click.Context) -> None:
    """List, show, download and verify the models of the zoo; alone it lists them."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_)


@models.command("list")
@_CATALOG
def list_(catalog: Path | None = None) -> None:
    """List the published models, and those that a shipped recipe would train."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from georank_zoo.publish.describe import summarize_models

    found = summarize_models(catalog)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model, recipe", no_wrap=True)
    table.add_column("what it is, where it is")
    for model in found:
        where = f"[green]{_cell(model.id)}" if model.id else "[dim]not published"
        table.add_row(
            f"{_cell(model.name)}\n[dim]{_cell(model.recipe)}", f"{_cell(model.summary)}\n{where}"
        )
    Console().print(table)
    published = sum(model.id is not None for model in found)
    say(f"{published} published, {len(found) - published} recipes without weights.")


@models.command()
@click.argument("name")
@_CATALOG
def show(name: str, catalog: Path | None) -> None:
    """Show everything that is known of the model NAME."""
    from georank_zoo.publish.describe import describe_model

    from .tables import show_facts, show_table

    model = describe_model(name, catalog)
    show_facts(model.facts)
    if model.scores is not None:
        show_table(model.scores, left=4, no_wrap=True)
    say("\n" + "\n".join(model.lines))


@models.command()
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write [default: NAME].")
@_CATALOG
def pull(name: str, out: Path | None, catalog: Path | None) -> None:
    """Download the published model NAME into a folder, and verify it.

    It is taken from the commit in the catalog, and the folder appears only when every byte is
    that of the catalog and the features are those of the export.
    """
    from georank_zoo.publish.verify import pull_model

    from .progress import quiet_hub_bars

    quiet_hub_bars()
    done = pull_model(name, out or Path(name), catalog=catalog)
    say(str(done))
    say(f"Load it: timm.create_model('local-dir:{done.folder}', pretrained=True)")


@models.command()
@click.argument("source", metavar="NAME|FOLDER|ORG/NAME")
@click.option("--name", help="Published model that it has to be.")
@_CATALOG
def verify(source: str, name: str | None, catalog: Path | None) -> None:
    """Verify that a model is what was published.

    Its files must have the checksums of the catalog, its weights must fit its config, and it must
    give the features that its export recorded. A model that is not in the catalog is compared
    with its own export alone.
    """
    from georank_zoo.publish.verify import verify_model

    from .progress import quiet_hub_bars

    quiet_hub_bars()
    say(str(verify_model(source, catalog=catalog, name=name)))


def _cell(text: str) -> str:
    """Foreign text for a table, without rich's markup and control characters."""
    from rich.markup import escape

    from georank_zoo.utils.untrusted_text import plain

    return escape(plain(text, 300))
