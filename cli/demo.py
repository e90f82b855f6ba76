"""`georank demo`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from georank_zoo.data.store.patch_store import PatchStore
    from georank_zoo.demo import Part


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
    places held out, together with the floors. Repeat it to go on after an interruption.
    """
    from georank_zoo import demo as library

    started = time.monotonic()
    train_store = _prepare(out / "pretrain", places, seed=2 * seed)
    test_store = _prepare(out / "held-out", places // 2, seed=2 * seed + 1)
    runs = [_train(part, out / "runs", train_store) for part in library.parts(steps, seed)]
    for run in runs:
        library.check_reload(run)
        click.echo(f"{run / 'export'}: timm loads it, with the same features bit for bit.")
    _evaluate(runs, test_store, out, seed)
    click.echo(
        f"Done in {(time.monotonic() - started) / 60:.1f} minutes. Everything lies in {out}."
    )
    click.echo("The world is synthetic: these numbers say that the machinery works, and nothing "
               "about the real Earth.")  # fmt: skip


def _prepare(folder: Path, places: int, seed: int) -> PatchStore:
    from georank_zoo.data.prepare import prepare
    from georank_zoo.data.readers import open_reader
    from georank_zoo.data.store.patch_store import PatchStore
    from georank_zoo.demo import DEMO_SIZE

    from .progress import Bar

    tiffs, store = folder.with_name(f"{folder.name}-geotiffs"), folder
    _show_command(f"georank data prepare synthetic {tiffs} --out {store} --places {places} "
                  f"--seed {seed} --size {DEMO_SIZE}")  # fmt: skip
    with Bar("GeoTIFFs") as bar:
        reader = open_reader(
            "synthetic", tiffs, places=places, seed=seed, size=DEMO_SIZE, on_progress=bar.update
        )
    if store.is_dir():
        return PatchStore(store)
    with Bar("Patches") as bar:
        report = prepare(reader, store, on_progress=lambda done, total, _: bar.update(done, total))
    return report.store


def _train(part: Part, folder: Path, store: PatchStore) -> Path:
    from georank_zoo.training.run import open_run
    from georank_zoo.training.trainer import train

    from .progress import TrainingProgress

    recipe = part.load(store.path)
    run = folder / recipe.name
    changes = " ".join(f"--set {override}" for override in part.overrides)
    _show_command(f"georank train {part.recipe} --data {store.path} --out {run} {changes}")
    begun = (run / "run.json").is_file()
    if begun and open_run(run).facts["status"] == "finished":
        open_run(run).require_same(recipe, store)
        return run
    with TrainingProgress(recipe.name) as reporter:
        train(recipe, run, resume=begun, reporter=reporter)
    return run


def _evaluate(runs: list[Path], store: PatchStore, out: Path, seed: int) -> None:
    from georank_zoo import demo as library
    from georank_zoo.eval.evaluate import evaluate

    from .eval import show_scores
    from .progress import Bar

    results = out / "results.csv"
    _show_command(f"georank eval {' '.join(map(str, runs))} --task synthetic --data {store.path} "
                  f"--split loo --seed {seed} --results {results}")  # fmt: skip
    with Bar("k-NN") as bar:
        scores = evaluate(runs, store, "synthetic", split="loo", seed=seed, on_progress=bar.update)
    show_scores(scores)
    scores.save(results)
    library.draw(out / "demo.png", runs, store, scores.rows)
    click.echo(f"Figure: {out / 'demo.png'}")


def _show_command(command: str) -> None:
    """Shows the command that does the same: the demo is a lesson, too."""
    click.secho(f"$ {command}", bold=True)
