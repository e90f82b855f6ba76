"""`georank eval`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from georank_zoo.eval.tasks import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE, TASKS

if TYPE_CHECKING:
    from georank_zoo.data.store.patch_store import PatchStore
    from georank_zoo.eval.protocols.base import Protocol
    from georank_zoo.eval.results.table import Row
    from georank_zoo.eval.splits.make import Split

# Written out, for the registry imports torch, which help does without.
PROTOCOL_NAMES = ("knn", "linear", "linear-sgd", "upernet", "finetune")
POSITIVE = click.FloatRange(min=0, min_open=True)
_METRICS = 2  # a table
_NAME_WIDTH = 12  # columns of the screen, at least


@click.command("eval")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--task", "task_name", required=True, type=click.Choice(list(TASKS)),
              help="What the labels are.")  # fmt: skip
@click.option("--data", "store_path", required=True, type=click.Path(path_type=Path),
              help="Labeled store.")  # fmt: skip
@click.option("--protocol", "protocol_names", multiple=True, type=click.Choice(PROTOCOL_NAMES),
              default=("knn",), show_default=True,
              help="How models are scored; repeatable.")  # fmt: skip
@click.option("--size", "sizes", multiple=True, metavar="PIXELS",
              type=click.IntRange(MIN_IMAGE_SIZE, MAX_IMAGE_SIZE),
              help="Image size; repeatable [default: each model's own].")  # fmt: skip
@click.option("--k", multiple=True, type=click.IntRange(min=1),
              help="knn: neighbors that vote; repeatable [default: 10].")  # fmt: skip
@click.option("--temperature", type=POSITIVE,
              help="knn: of the neighbors' weights [default: 0.9].")  # fmt: skip
@click.option("--l2", multiple=True, type=POSITIVE,
              help="linear: strength; one is taken as it is, of several validation chooses "
                   "[default: 10, 1, ..., 1e-6].")  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=1),
              help="linear-sgd, upernet, finetune, linear of masks: passes over the samples "
                   "[default: 30].")  # fmt: skip
@click.option("--lr", type=POSITIVE,
              help="The same: highest rate of the head [default: 0.001].")  # fmt: skip
@click.option("--backbone-lr", type=click.FloatRange(min=0),
              help="finetune: highest rate of the backbone [default: 0.0001].")  # fmt: skip
@click.option("--weight-decay", type=click.FloatRange(min=0),
              help="The same: of the weights [default: 0.01].")  # fmt: skip
@click.option("--train-batch-size", type=click.IntRange(min=2),
              help="The same: samples per step [default: 64; of masks 16].")  # fmt: skip
@click.option("--precision", type=click.Choice(["fp32", "bf16"]),
              help="finetune: of the training [default: fp32].")  # fmt: skip
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
              help="Of the random split, validation set and floors, of training and of the "
                   "bootstrap.")  # fmt: skip
@click.option("--results", "results_path", type=click.Path(path_type=Path, dir_okay=False),
              help="CSV file to append to; predictions go to a folder beside.")  # fmt: skip
@click.option("--floors/--no-floors", default=True, show_default=True,
              help="Evaluate beside what needs no pretraining: image statistics, a random "
                   "network, one trained from scratch.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|mps",
              help="Where to run.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=1), default=256, show_default=True,
              help="Patches per batch where nothing is trained.")  # fmt: skip
def evaluate(
    models: tuple[str, ...],
    task_name: str,
    store_path: Path,
    protocol_names: tuple[str, ...],
    sizes: tuple[int, ...],
    k: tuple[int, ...],
    temperature: float | None,
    l2: tuple[float, ...],
    epochs: int | None,
    lr: float | None,
    backbone_lr: float | None,
    weight_decay: float | None,
    train_batch_size: int | None,
    precision: str | None,
    split_name: str | None,
    min_km: float | None,
    pretrain_stores: tuple[Path, ...],
    seed: int,
    results_path: Path | None,
    floors: bool,
    device: str,
    batch_size: int,
) -> None:
    """Evaluate one or more models beside the floors.

    MODEL is an export folder, a run folder, or a model on the Hugging Face Hub
    (org/name[@revision]).
    """
    from georank_zoo.data.store.patch_store import PatchStore
    from georank_zoo.eval import evaluate as run
    from georank_zoo.eval.protocols.registry import make_protocols
    from georank_zoo.eval.results import predictions
    from georank_zoo.eval.results import table as results
    from georank_zoo.eval.splits.far_from_pretraining import beyond, pretraining_stores
    from georank_zoo.eval.splits.make import make_split
    from georank_zoo.eval.tasks import class_names, default_split, get_task
    from georank_zoo.models.encoder import create_model
    from georank_zoo.utils.devices import pick_device
    from georank_zoo.utils.errors import UsageError

    from .progress import Bar

    # The cheap checks come first, the weights last.
    chosen_device = pick_device(device)
    if results_path is not None:
        results.check(results_path)
    task, store = get_task(task_name), PatchStore(store_path)
    split = make_split(store, split_name or default_split(task, store), seed=seed)
    if min_km is not None:
        everyone = len(split.test)
        split = beyond(split, store, min_km, pretraining_stores(models, pretrain_stores))
        near = f"{everyone - len(split.test)} of {everyone} test samples lie within {min_km:g} km"
        click.echo(f"{near} of a pretraining place and are left out.")
    elif pretrain_stores:
        raise UsageError("--pretrain-store is for --min-km: say how far test samples must be.")
    protocols = make_protocols(
        protocol_names,
        target=store.target,
        k=tuple(dict.fromkeys(k)) or None,
        temperature=temperature,
        l2=tuple(dict.fromkeys(l2)) or None,
        epochs=epochs,
        lr=lr,
        backbone_lr=backbone_lr,
        weight_decay=weight_decay,
        train_batch_size=train_batch_size,
        precision=precision,
    )
    sizes = tuple(dict.fromkeys(sizes))
    check = partial(
        run.check, store=store, task=task, split=split, protocols=protocols, sizes=sizes,
        seed=seed, device=chosen_device,
    )  # fmt: skip
    check([])
    models = tuple(dict.fromkeys(models))
    encoders = [create_model(source) for source in models]
    run.tell_apart(encoders, models)
    check(encoders)

    kept: list[tuple[Row, predictions.Predictions]] = []
    with Bar(f"Evaluating {task.name}") as bar:
        rows = run.evaluate(
            encoders,
            store,
            task,
            split,
            protocols=protocols,
            sizes=sizes,
            seed=seed,
            floors=floors,
            batch_size=batch_size,
            device=chosen_device,
            on_progress=lambda what, done, total: bar.update(done, total, what),
            on_predictions=lambda row, predicted: kept.append(
                (row, predictions.Predictions.of(split, predicted))
            ),
        )
    show(rows, protocols, task.title, split, _absent(store, split, class_names(task, store)))
    if results_path is not None:
        for row, predicted in kept:
            predictions.write(results_path, row, predicted)
        results.append(results_path, rows)
        click.echo(f"Added {len(rows)} rows to {results_path}.")


def show(
    rows: Sequence[Row],
    protocols: Sequence[Protocol],
    title: str,
    split: Split,
    absent: tuple[str, ...],
) -> None:
    """Shows the results as a table, with what one must know to read it."""
    from georank_zoo.eval.evaluate import SMALL_TEST_SET

    first = rows[0]
    for protocol in protocols:
        _show_tables([row for row in rows if row.protocol == protocol.name], title)
    for protocol in protocols:
        click.echo(f"Protocol {protocol.name}: {protocol.describe()}.")
    places = len(set(split.place[split.test].tolist()))
    click.echo(
        f"On split {first.split}, task {first.task}, store {first.store_hash[:12]}: "
        f"{first.n_train} training and {first.n_test} test samples of {places} places; 95 % "
        "intervals (bootstrap over places) in brackets."
    )
    if split.name.partition("-")[0] == "loo":
        click.echo("loo: each sample is predicted from all samples that are not of its place.")
    elif split.divided:
        click.echo(
            f"{split.divided} of the test samples are of a place that training samples are of too: "
            "the published split goes through places. Only knn of classes and labels leaves a "
            "sample's own place out."
        )
    if split.validation is not None:
        click.echo(f"Validation: the {len(split.validation)} samples that the split has for it.")
    if absent:
        click.echo(f"Not in the test set, so not in the macro averages: {', '.join(absent)}.")
    if split.dropped:
        click.echo(
            f"Left out: {split.dropped} patch(es) of the store without a label, or without a part "
            "in the split."
        )
    if first.n_test < SMALL_TEST_SET:
        click.echo(
            f"Only {first.n_test} test samples: this checks that the machinery works. It is no "
            "benchmark."
        )


def _absent(store: PatchStore, split: Split, names: tuple[str, ...]) -> tuple[str, ...]:
    """Classes that the test set lacks."""
    from georank_zoo.eval.metrics.counts import absent_from_masks

    if store.target == "mask":
        return absent_from_masks(store, split, names)
    return split.absent(names)


def _show_tables(rows: Sequence[Row], title: str) -> None:
    """The results of one protocol, two metrics a table: more do not fit a screen with the names."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    for start in range(0, len(metrics), _METRICS):
        _show_table(rows, metrics[start : start + _METRICS], title)


def _show_table(rows: Sequence[Row], metrics: Sequence[str], title: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    # Folded: a name that is cut off may be that of another model.
    name = Column("model", overflow="fold", min_width=_NAME_WIDTH)
    table = Table(
        name, "px", rows[0].variant[0], title=f"{title}, {rows[0].protocol}", title_justify="left"
    )
    for metric in metrics:
        table.add_column(f"{metric.replace('_', ' ')} %", justify="right", no_wrap=True)
    entries: dict[tuple[str, str, int, str], dict[str, Row]] = {}
    for row in rows:
        # Two floors may share a name, never the bands and the place in the table.
        entry = (row.model, row.model_hash, row.image_size, row.variant[1])
        entries.setdefault(entry, {})[row.metric] = row
    previous = None
    for (model, model_hash, size, variant), scores in entries.items():
        again = (model, model_hash) == previous
        if previous and not again:
            table.add_section()
        shown = "" if again else escape(model)
        table.add_row(shown, str(size), variant, *(_score(scores[m]) for m in metrics))
        previous = (model, model_hash)
    Console().print(table)


def _score(row: Row) -> str:
    value, low, high = (100 * number for number in (row.value, row.ci_low, row.ci_high))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"
