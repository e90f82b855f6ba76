"""`georank demo`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import say

if TYPE_CHECKING:
    from georank_zoo.data.store.patch_store import PatchStore
    from georank_zoo.demo import Part
    from georank_zoo.training.run import Run


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("georank-demo"),
              show_default=True, help="Folder for everything that is made.")  # fmt: skip
@click.option("--steps", type=click.IntRange(min=1), help="Training steps of each model.")
@click.option("--places", type=click.IntRange(min=128), default=1500, show_default=True,
              help="Places to pretrain on; half as many are held out.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def demo(out: Path, steps: int | None, places: int, seed: int) -> None:
    """Go the whole way once, on a small synthetic world; a few minutes on two cores.

    Generates geotagged Sentinel-2 patches as GeoTIFFs, prepares them, pretrains MoCo v2 with and
    without GeoRank, exports both, loads them back with timm, and evaluates them by k-NN on
    places held out, together with the floors. Repeat it to continue after an interruption.
    """
    from georank_zoo import demo as library
    from georank_zoo.utils.locks import output_lock

    started = time.monotonic()
    with output_lock(out):
        train_store = _prepare(out / "pretrain", places, seed=2 * seed)
        test_store = _prepare(out / "held-out", places // 2, seed=2 * seed + 1)
        runs = [_train(part, out / "runs", train_store) for part in library.parts(steps, seed)]
        _evaluate(runs, test_store, out, seed)
    say(f"Done in {(time.monotonic() - started) / 60:.1f} minutes. Everything is in {out}.")
    say("The world is synthetic: these numbers say that the machinery works, and nothing "
               "about the real Earth.")  # fmt: skip


def _prepare(store: Path, places: int, seed: int) -> PatchStore:
    from georank_zoo.demo import DEMO_SIZE, prepare_world

    from .progress import Bar

    geotiffs = store.with_name(f"{store.name}-geotiffs")
    _show_command(f"georank data prepare synthetic {geotiffs} --out {store} --places {places} "
                  f"--seed {seed} --size {DEMO_SIZE}")  # fmt: skip
    with Bar(f"Preparing {store}") as bar:
        return prepare_world(geotiffs, store, places=places, seed=seed, on_progress=bar.update)


def _train(part: Part, folder: Path, store: PatchStore) -> Run:
    from georank_zoo.demo import train_part

    from .progress import TrainingProgress

    name = part.load(store.path).name
    changes = " ".join(f"--set {override}" for override in part.overrides)
    _show_command(f"georank train {part.recipe} --data {store.path} --out {folder / name} "
                  f"{changes}")  # fmt: skip
    with TrainingProgress(name) as reporter:
        run = train_part(part, folder, store, reporter=reporter)
    say(f"{run.path / 'export'}: timm loads it, with the same features bit for bit.")
    return run


def _evaluate(runs: list[Run], store: PatchStore, out: Path, seed: int) -> None:
    from georank_zoo.demo import draw
    from georank_zoo.eval.evaluate import evaluate
    from georank_zoo.eval.results.predictions import predictions_folder
    from georank_zoo.utils.leftovers import delete

    from .eval import show_scores
    from .progress import Bar

    results, figure = out / "results.csv", out / "demo.png"
    _show_command(f"georank eval {' '.join(map(os.fspath, runs))} --task synthetic "
                  f"--data {store.path} --split loo --seed {seed} --results {results}")  # fmt: skip
    with Bar("k-NN") as bar:
        scores = evaluate(runs, store, "synthetic", split="loo", seed=seed, on_progress=bar.update)
    show_scores(scores)
    for earlier in (results, predictions_folder(results)):  # of an interrupted demo
        delete(earlier)
    scores.save(results)
    draw(figure, runs, store, scores.rows)
    say(f"Figure: {figure}")


def _show_command(command: str) -> None:
    """Shows the command that does the same: the demo is a lesson, too."""
    click.secho(f"$ {command}", bold=True)
