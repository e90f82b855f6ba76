"""`georank eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from georank_zoo.eval.tasks import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE, TASKS

from .output import say

if TYPE_CHECKING:
    from georank_zoo.eval.results.scores import Scores

# Written out, for the registry imports torch, which help does without.
PROTOCOL_NAMES = ("knn", "linear", "linear-sgd", "upernet", "finetune")
POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command("eval")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--task", "task_name", required=True, type=click.Choice(list(TASKS)),
              help="Evaluation task, which says what the labels are.")  # fmt: skip
@click.option("--data", "store_path", required=True, type=click.Path(path_type=Path),
              help="Labeled store.")  # fmt: skip
@click.option("--protocol", "protocol_names", multiple=True, type=click.Choice(PROTOCOL_NAMES),
              default=("knn",), show_default=True,
              help="Evaluation protocol; repeatable.")  # fmt: skip
@click.option("--size", "sizes", multiple=True, metavar="PIXELS",
              type=click.IntRange(MIN_IMAGE_SIZE, MAX_IMAGE_SIZE),
              help="Image size; repeatable [default: each model's own].")  # fmt: skip
@click.option("--k", multiple=True, type=click.IntRange(min=1),
              help="knn: neighbors that vote; repeatable [default: 10].")  # fmt: skip
@click.option("--temperature", type=POSITIVE,
              help="knn: temperature of the neighbors' weights [default: 0.9].")  # fmt: skip
@click.option("--l2", multiple=True, type=POSITIVE,
              help="linear: strength; one is taken as it is, of several validation chooses "
                   "[default: 10, 1, ..., 1e-6].")  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=1),
              help="linear-sgd, upernet, finetune, linear of masks: passes over the samples "
                   "[default: 30].")  # fmt: skip
@click.option("--lr", type=POSITIVE,
              help="Where --epochs applies: highest rate of the head [default: "
                   "0.001].")  # fmt: skip
@click.option("--backbone-lr", type=click.FloatRange(min=0),
              help="finetune: highest rate of the backbone [default: 0.0001].")  # fmt: skip
@click.option("--weight-decay", type=click.FloatRange(min=0),
              help="Where --epochs applies: weight decay [default: 0.01].")  # fmt: skip
@click.option("--train-batch-size", type=click.IntRange(min=2),
              help="Where --epochs applies: samples per step [default: 64; of masks "
                   "16].")  # fmt: skip
@click.option("--precision", type=click.Choice(["fp32", "bf16"]),
              help="finetune: precision of the training [default: fp32].")  # fmt: skip
@click.option("--split", "split_name", metavar="NAME",
              help="loo: leave one place out (knn only). random: 80/20 by place. "
                   "distance50km: no training sample within 50 km of a test sample. Or a "
                   "published split that the store holds [default: the task's].")  # fmt: skip
@click.option("--min-km", type=float, metavar="KM",
              help="Only test samples farther than this from every pretraining place.")  # fmt: skip
@click.option("--pretrain-store", "pretrain_stores", multiple=True,
              type=click.Path(path_type=Path),
              help="For --min-km; repeatable [default: from the models' run.json].")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Seed of the random split, validation set and floors, of training and of the "
                   "bootstrap.")  # fmt: skip
@click.option("--results", "results_path", type=click.Path(path_type=Path, dir_okay=False),
              help="CSV file to append to; predictions go to a folder next to it.")  # fmt: skip
@click.option("--floors/--no-floors", default=True, show_default=True,
              help="Evaluate floors too, which need no pretraining: image statistics, a random "
                   "network, one trained from scratch.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|mps",
              help="Device to run on.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=1), default=256, show_default=True,
              help="Patches per batch where nothing is trained.")  # fmt: skip
def evaluate(
    models: tuple[str, ...],
    task_name: str,
    store_path: Path,
    protocol_names: tuple[str, ...],
    sizes: tuple[int, ...],
    split_name: str | None,
    min_km: float | None,
    pretrain_stores: tuple[Path, ...],
    seed: int,
    results_path: Path | None,
    floors: bool,
    device: str,
    batch_size: int,
    **settings: Any,
) -> None:
    """Evaluate one or more models and the floors.

    MODEL is an export folder, a run folder, or a model on the Hugging Face Hub
    (org/name[@revision]).
    """
    from georank_zoo.data.store.patch_store import PatchStore
    from georank_zoo.eval.evaluate import evaluate
    from georank_zoo.eval.protocols.registry import make_protocols
    from georank_zoo.eval.results.table import check_results_file

    from .progress import Bar

    if results_path is not None:
        check_results_file(results_path)
    store = PatchStore(store_path)
    with Bar(f"Evaluating {task_name}") as bar:
        scores = evaluate(
            models,
            store,
            task_name,
            protocols=make_protocols(protocol_names, target=store.target, **settings),
            split=split_name,
            image_sizes=sizes,
            seed=seed,
            floors=floors,
            min_km=min_km,
            pretrain_stores=pretrain_stores,
            batch_size=batch_size,
            device=device,
            on_progress=bar.update,
        )
    show_scores(scores)
    if results_path is not None:
        scores.save(results_path)
        say(f"Added {len(scores.rows)} rows to {results_path}.")


def show_scores(scores: Scores) -> None:
    """Shows tables and notes."""
    from .tables import show_table

    for table in scores.tables():
        show_table(table, left=3, sections=True, no_wrap=True)
    for note in scores.notes:
        say(note)
