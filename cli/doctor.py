"""`georank doctor`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
def doctor(path: Path | None) -> None:
    """Look for damage in what PATH holds; without PATH, show the environment.

    PATH is a store, a run folder, a model folder, a download, a results file or a recipe, which
    its content tells. It ends with 0 if all is well, 1 if something is damaged, and 2 if nothing
    is known there.
    """
    from georank_zoo.health import doctor as look
    from georank_zoo.utils.errors import GeorankError
    from georank_zoo.utils.tables import Table

    from .tables import show_facts

    health = look(path)
    show_facts(Table(health.kind, ("", ""), tuple(health.facts.items())))
    if health.findings:
        raise GeorankError("\n".join(health.findings))
    if path is not None:
        click.echo("No damage was found.")
