"""`georank recipes`."""

from __future__ import annotations

import json

import click

from .output import say


@click.group(invoke_without_command=True)
@click.pass_context
def recipes(ctx: click.Context) -> None:
    """List, show and check recipes; alone it lists them."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_)


@recipes.command("list")
def list_() -> None:
    """List the shipped recipes with their models and the published results to compare with."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from georank_zoo.training.recipe import list_recipes, load_recipe

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("recipe, model", no_wrap=True)
    table.add_column("summary, published result")
    for name in sorted(list_recipes(), key=lambda name: name.startswith("study_")):
        entry = load_recipe(name)
        table.add_row(f"{name}\n[dim]{entry.name}", f"{entry.summary}\n[dim]{entry.mirrors}")
    Console().print(table)


@recipes.command()
@click.argument("recipe_name", metavar="RECIPE")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
def show(recipe_name: str, overrides: tuple[str, ...]) -> None:
    """Check a recipe (a path or a shipped one's name) and print it resolved."""
    from georank_zoo.training.build import build_objective, build_views
    from georank_zoo.training.recipe import load_recipe

    loaded = load_recipe(recipe_name, overrides)
    build_objective(loaded, build_views(loaded))  # refuses a backbone that does not take the views
    click.echo(loaded.to_yaml(), nl=False)
    say(f"# hash {loaded.hash}")


@recipes.command()
def schema() -> None:
    """Print the JSON schema of a recipe, for editors."""
    from georank_zoo.training.json_schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
