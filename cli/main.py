"""The `georank` command: finds commands lazily and turns errors into messages."""

from __future__ import annotations

import importlib
import io
import re
import sys
from collections.abc import Sequence
from typing import Any

import click

from .interrupt import quiet_imports
from .output import guard_python, say, show_warnings

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
    """Runs the command line and exits.

    0 done, 1 failed, 2 wrong usage, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    guard_python()
    # `--debug` may stand anywhere: it is added to the end of a command that just failed.
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    with quiet_imports():
        code = _run(arguments, debug)
    sys.exit(code)


def _run(arguments: list[str], debug: bool) -> int:
    from georank_zoo.utils.errors import GeorankError, Interrupted
    from georank_zoo.utils.locks import running_command
    from georank_zoo.utils.signals import ending_as_interrupt, exit_code

    try:
        show_warnings()
        _require_no_empty(arguments)
        with ending_as_interrupt(), quiet_imports(), running_command(arguments):
            result: Any = cli.main(arguments, prog_name="georank", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        say(shown.getvalue().rstrip("\n"), err=True)
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("Interrupted. Nothing is half-written: repeat the command.", err=True)
        return exit_code()
    except (GeorankError, OSError, MemoryError) as error:
        if debug:
            raise
        prefix = "" if isinstance(error, Interrupted) else "Error: "
        if not (isinstance(error, GeorankError) and error.said_elsewhere):
            say(f"{prefix}{_sentence(error)}", err=True)
        if isinstance(error, Interrupted):
            return exit_code()
        return error.exit_code if isinstance(error, GeorankError) else 1
    except Exception as error:
        if debug:
            raise
        said = _of_the_network(error) or _of_a_name(error)
        said = said or (
            f"{type(error).__name__}: {error}\nThis is a fault of georank-zoo itself. Repeat the "
            "command with --debug, and report what it shows."
        )
        say(f"Error: {said}", err=True)
        return 1


def _of_the_network(error: BaseException) -> str | None:
    """The sentence for what a network's library raised, where no command caught it."""
    # Nothing has used the network before this module was imported.
    hub_errors = sys.modules.get("georank_zoo.utils.hub_errors")
    if hub_errors and (said := hub_errors.explain_stray(error)):
        return str(said)
    from georank_zoo.utils.hub_environment import explain_environment

    return explain_environment(error)


def _of_a_name(error: BaseException) -> str | None:
    """The sentence for a path that Python itself cannot follow, wherever it came from."""
    said = str(error)
    if isinstance(error, RuntimeError) and said.startswith("Symlink loop from "):
        return f"{said.removeprefix('Symlink loop from ')} is a link that leads back to itself."
    if isinstance(error, ValueError) and said == "embedded null byte":
        return "A file name holds a null byte, which no file system has. Give another name."
    return None


def _require_no_empty(arguments: Sequence[str]) -> None:
    """Refuses an empty argument, mostly an unset variable of the shell: as a path it means `.`."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if argument.strip() and not re.fullmatch(r"--[\w-]+=\s*", argument):
            continue
        name = argument if argument.strip() else before if before.startswith("-") else "An argument"
        raise click.UsageError(f"{name.strip().rstrip('=')} is empty. Give a value.")


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and (said := _of_the_network(error)):
        return said
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}"
    return str(error) or type(error).__name__
