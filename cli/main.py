"""The `georank` command: finds commands lazily and turns errors into messages."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

# Modules are imported when their command runs: `georank --help` must not import torch.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (".demo:demo", "Generate a small world, pretrain, export and evaluate."),
    "data": (".data:data", "Download data sets; prepare, merge, show and verify stores."),
    "train": (".train:train", "Pretrain a model from a recipe."),
    "eval": (".eval:evaluate", "Evaluate models next to the floors."),
    "compare": (".compare:compare", "Put results side by side, with paired differences."),
    "export": (".export:export", "Write a trained model as a folder timm loads."),
    "card": (".card:card", "Write a model card."),
    "features": (".features:features", "Write embeddings of a store or of a whole scene."),
    "push": (".push:push", "Publish a model on the Hugging Face Hub."),
    "release": (".release:release", "Publish finished runs and record them in a catalog."),
    "models": (".models:models", "List, show, download and verify published models."),
    "tasks": (".tasks:tasks", "List the evaluation tasks and what is published on them."),
    "recipes": (".recipes:recipes", "List, show and check recipes."),
    "doctor": (".doctor:doctor", "Look for damage in a store, run, model or other output."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of `COMMANDS`: the order of a user's work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports and returns the command."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module, __package__), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in COMMANDS.items()])


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version  # it takes as long to import as all the rest

        click.echo(f"georank-zoo {version('georank-zoo')}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
    help="Show the version and exit.",
)  # fmt: skip
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Geography-aware self-supervised learning on Sentinel-2."""
    ctx.obj = {"debug": debug}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # `--debug` may stand anywhere: it is added to the end of a command that just failed.
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    sys.exit(_run(arguments, debug))


def _run(arguments: list[str], debug: bool) -> int:
    from georank_zoo.utils.errors import GeorankError, Interrupted, printable

    try:
        result: Any = cli.main(arguments, prog_name="georank", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Abort:
        click.echo("Interrupted.", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        return 130
    except (GeorankError, OSError, MemoryError) as error:
        if debug:
            raise
        prefix = "" if isinstance(error, Interrupted) else "Error: "
        click.echo(f"{prefix}{printable(_sentence(error))}", err=True)
        return error.exit_code if isinstance(error, GeorankError) else 1


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}"
    return str(error) or type(error).__name__
