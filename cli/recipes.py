"""`georank recipes`."""

from __future__ import annotations

import json

import click


@click.group()
def recipes() -> None:
    """List, show and check recipes."""


@recipes.command("list")
def list_() -> None:
    """List the shipped recipes."""
    from rich.console import Console
    from rich.table import Table

    from georank_zoo import recipe

    table = Table("recipe", "model", "algorithm", "regularizer", "stands beside")
    for name in recipe.names():
        entry = recipe.load(name)
        table.add_row(name, entry.name, entry.algorithm.name, entry.regularizer.name, entry.mirrors)
    Console().print(table)


@recipes.command()
@click.argument("recipe_name", metavar="RECIPE")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
def show(recipe_name: str, overrides: tuple[str, ...]) -> None:
    """Check a recipe (a path or a shipped one's name) and print it resolved."""
    from georank_zoo import recipe

    loaded = recipe.load(recipe_name, overrides)
    click.echo(loaded.to_yaml(), nl=False)
    click.echo(f"# hash {loaded.hash}")


@recipes.command()
def schema() -> None:
    """Print the JSON schema of a recipe, for editors."""
    from georank_zoo import recipe

    click.echo(json.dumps(recipe.schema(), indent=2))
