"""`georank train`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("recipe")
@click.option("--data", "store", type=click.Path(path_type=Path), help="Store to train on.")
@click.option("--probe", type=click.Path(path_type=Path), help="Labeled store for a k-NN probe.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder [default: runs/<name>].")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the recipe, such as train.steps=500; repeatable.",
)
@click.option("--resume", is_flag=True, help="Continue the run in the run folder.")
@click.option(
    "--tracker",
    "trackers",
    multiple=True,
    metavar="NAME",
    help="Log to an Accelerate tracker as well (tensorboard, wandb, ...); repeatable.",
)
def train(
    recipe: str,
    store: Path | None,
    probe: Path | None,
    out: Path | None,
    overrides: tuple[str, ...],
    resume: bool,
    trackers: tuple[str, ...],
) -> None:
    """Pretrain a model from RECIPE: the path of a YAML file or a shipped recipe's name.

    With --resume, RECIPE may be the run folder, which knows its recipe and its store.

    Works alone and under `accelerate launch -m georank_cli train ...`.
    """
    from accelerate import PartialState

    from georank_zoo.training.run_folder import load_plan
    from georank_zoo.training.trainer import train as run_training

    from .progress import TrainingProgress

    stores = {"data": store, "probe": probe}
    given = {section: path for section, path in stores.items() if path is not None}
    resolved, folder = load_plan(recipe, out, resume=resume, overrides=overrides, **given)
    reporter = TrainingProgress(resolved.name)
    run = run_training(resolved, folder, resume=resume, trackers=trackers, reporter=reporter)
    if PartialState().is_main_process:
        click.echo(f"Finished {run.recipe.name} in {run.facts['seconds']:.0f} s.")
        click.echo(f"Evaluate it: georank eval {run.path} --task <task> --data <store>")
