"""`georank train`."""

from __future__ import annotations

from pathlib import Path

import click

from .output import say


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
    "--replay",
    is_flag=True,
    help="Compute the step again at which the loss of the run folder RECIPE was not finite.",
)
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
    replay: bool,
    trackers: tuple[str, ...],
) -> None:
    """Pretrain a model from RECIPE: the path of a YAML file or a shipped recipe's name.

    With --resume, RECIPE may be the run folder, which knows its recipe and its store.

    Works alone and under `accelerate launch -m georank_cli train ...`.
    """
    if replay:
        _replay(Path(recipe))
        return
    from accelerate import PartialState

    from georank_zoo.training.finding_words import known_findings
    from georank_zoo.training.run_folder import load_plan
    from georank_zoo.training.trainer import refuse_in_all
    from georank_zoo.training.trainer import train as run_training
    from georank_zoo.utils.errors import GeorankError

    from .progress import TrainingProgress

    stores = {"data": store, "probe": probe}
    given = {section: path for section, path in stores.items() if path is not None}
    try:
        resolved, folder = load_plan(recipe, out, resume=resume, overrides=overrides, **given)
    except GeorankError as error:
        refuse_in_all(error)
        raise
    reporter = TrainingProgress(resolved.name)
    run = run_training(resolved, folder, resume=resume, trackers=trackers, reporter=reporter)
    if PartialState().is_main_process:
        findings = known_findings(run.facts.get("findings"))
        verb = "Ended, with warnings," if findings else "Finished"
        say(f"{verb} {run.recipe.name} in {run.facts['seconds']:.0f} s.")
        for text in findings:
            say(f"Warning: {text}")
        say(f"Evaluate it: georank eval {run.path} --task <task> --data <store>")


def _replay(folder: Path) -> None:
    from georank_zoo.training.replay import replay

    result = replay(folder)
    say(f"Step {result.failure.step} of {folder}:")
    for line in result.lines:
        say(line)
    say("The loss is finite this time." if result.finite else "The loss is not finite.")
