"""Evaluation of models and their floors on a labeled store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from georank_zoo import bands as s2
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.eval.floors import deduplicate_names
from georank_zoo.eval.jobs import alone, run_jobs, with_floors
from georank_zoo.eval.protocols.base import EvalPlan, Protocol
from georank_zoo.eval.protocols.registry import as_protocols
from georank_zoo.eval.results.notes import evaluation_notes
from georank_zoo.eval.results.scores import Scores
from georank_zoo.eval.splits.far_from_pretraining import (
    beyond,
    on_pretraining_ground,
    pretraining_stores,
)
from georank_zoo.eval.splits.make import Split, make_split
from georank_zoo.eval.tasks import (
    MAX_IMAGE_SIZE,
    MIN_IMAGE_SIZE,
    Task,
    class_names,
    default_split,
    get_task,
)
from georank_zoo.models.encoder import Encoder, create_model
from georank_zoo.utils.devices import pick_device
from georank_zoo.utils.errors import StoreError, UsageError
from georank_zoo.utils.progress import OnProgress, progress_bar

StrPath = str | os.PathLike[str]
ModelLike = StrPath | Encoder
"""A run or its folder, an export folder, an id of the Hub, or a model in memory."""


def evaluate(
    models: ModelLike | Sequence[ModelLike],
    store: PatchStore | StrPath,
    task: str | Task,
    *,
    protocols: str | Protocol | Sequence[str | Protocol] = ("knn",),
    split: str | Split | None = None,
    image_sizes: int | Sequence[int] | None = None,
    seed: int = 0,
    floors: bool = True,
    min_km: float | None = None,
    pretrain_stores: StrPath | Sequence[StrPath] = (),
    batch_size: int = 256,
    device: str | torch.device = "auto",
    progress: bool = True,
    on_progress: OnProgress | None = None,
) -> Scores:
    """Evaluates models side by side, and the floors that any of them must stand above.

    Everything that can be checked is checked before the first feature is computed.

    Args:
        models: One model or several: a run or its folder, an export folder, an id of the Hub, or
            an `Encoder`.
        store: Labeled store, or its folder.
        task: Task, or its name; see `list_tasks`.
        protocols: Protocols or names of them; those of frozen features share the features.
        split: Split or its name: `loo`, `random`, `distance50km`, or a published split that the
            store holds; the task's by default.
        image_sizes: Image sizes in pixels; each model's own by default.
        seed: Seed of the splits that are drawn, of the random floors, of the protocols' draws and
            of the bootstrap.
        floors: Whether to evaluate the floors too: image statistics, a random network, and, where
            a protocol trains the network, one trained from scratch.
        min_km: Distance in km that test samples must have from every pretraining place; None
            takes all.
        pretrain_stores: Stores of the pretraining, or one, for `min_km`; by default those that the
            runs name.
        batch_size: Patches per batch where features are extracted.
        device: Device; `auto` takes the accelerator if there is one.
        progress: Whether to show a bar.
        on_progress: Callback in place of the bar.

    Returns:
        The scores, with the predictions behind them.

    Raises:
        ModelError: If a model cannot be loaded.
        StoreError: If the store is not the task's.
        UsageError: If a setting is invalid, or model and store have no band in common.

    Example:
        >>> import georank_zoo as gz
        >>> runs = ["runs/moco-r18", "runs/georank-moco-r18"]
        >>> scores = gz.evaluate(runs, "stores/eurosat", task="synthetic", protocols=["knn"])
        >>> scores
        Scores('Classes of a synthetic world': 8 rows of 4 models and floors)
    """
    where = pick_device(str(device))
    task = get_task(task) if isinstance(task, str) else task
    store = store if isinstance(store, PatchStore) else PatchStore(Path(store))
    sources = _sources(models)
    parts = split if isinstance(split, Split) else make_split(
        store, split or default_split(task, store), seed=seed
    )  # fmt: skip
    parts, notes = _far_enough(parts, store, min_km, sources, pretrain_stores)
    methods = as_protocols(protocols, target=store.target)
    sizes = (image_sizes,) if isinstance(image_sizes, int) else tuple(image_sizes or ())
    plan = EvalPlan(
        store=store, split=parts, num_classes=len(class_names(task, store)), seed=seed,
        image_sizes=tuple(dict.fromkeys(sizes)), batch_size=batch_size, device=where,
    )  # fmt: skip
    check_plan(plan, methods)
    encoders = [create_model(s) if isinstance(s, str) else s for s in sources]
    check_plan(plan, methods, encoders)
    entries = deduplicate_names(encoders, [_name_of(source) for source in sources])
    jobs = with_floors(entries, methods, seed) if floors else alone(entries, methods)
    with progress_bar(f"Evaluating {task.name}", on_progress, show=progress) as report:
        scored = run_jobs(plan, task, jobs, report)
    return Scores(
        rows=tuple(row for rows, _ in scored for row in rows),
        predictions=tuple((rows[-1], predicted) for rows, predicted in scored),
        title=task.title,
        notes=(*notes, *evaluation_notes(plan, task, methods)),
    )


def check_plan(
    plan: EvalPlan, protocols: Sequence[Protocol] = (), models: Sequence[Encoder] = ()
) -> None:
    """Checks everything that can be checked before any feature is computed.

    Raises:
        StoreError: If the pixels of the store are not digital numbers.
        UsageError: If a setting is invalid, or model and store have no band in common.
    """
    store = plan.store
    odd = [size for size in plan.image_sizes if not MIN_IMAGE_SIZE <= size <= MAX_IMAGE_SIZE]
    if odd:
        raise UsageError(
            f"An image size must lie between {MIN_IMAGE_SIZE} and {MAX_IMAGE_SIZE} pixels, not "
            f"{odd[0]}."
        )
    sizes = plan.image_sizes or tuple(model.image_size for model in models)
    for protocol in protocols:
        if store.target not in protocol.targets:
            raise UsageError(
                f"Protocol {protocol.name} predicts {' or '.join(protocol.targets)}, not the "
                f"{store.target} of each patch that store {store.path} holds."
            )
        protocol.check(replace(plan, image_sizes=sizes))
    for model in models:
        model.shared_bands(store.bands)
    statistics = store.header.statistics.values()
    low, high = min(s.min for s in statistics), max(s.max for s in statistics)
    try:
        scale = s2.DN_PER_REFLECTANCE
        s2.check_unit(low * scale, high * scale, "dn", where=f"Store {store.path}")
    except UsageError as error:
        raise StoreError(f"{error} Prepare the store again.") from error


def _sources(models: ModelLike | Sequence[ModelLike]) -> list[str | Encoder]:
    """Models as they were given, each once; paths as text."""
    given = [models] if isinstance(models, str | os.PathLike | Encoder) else list(models)
    if not given:
        raise UsageError(
            "There is no model to evaluate. Give a run folder, an export folder, an id of the "
            "Hub or an Encoder."
        )
    return list(dict.fromkeys(m if isinstance(m, Encoder) else os.fspath(m) for m in given))


def _name_of(source: str | Encoder) -> str:
    return source if isinstance(source, str) else f"in memory, {id(source):x}"


def _far_enough(
    split: Split,
    store: PatchStore,
    min_km: float | None,
    sources: Sequence[str | Encoder],
    pretrain_stores: StrPath | Sequence[StrPath],
) -> tuple[Split, list[str]]:
    """The split without test samples near pretraining places, and a note of how many those are."""
    names = [source if isinstance(source, str) else source.name for source in sources]
    if min_km is None:
        if pretrain_stores:
            raise UsageError("--pretrain-store is for --min-km: pass how far test samples must be.")
        return split, on_pretraining_ground(split, store, names)
    if isinstance(pretrain_stores, str | os.PathLike):
        pretrain_stores = [pretrain_stores]
    given = [Path(path) for path in pretrain_stores]
    far = beyond(split, store, min_km, pretraining_stores(names, given))
    count, total = len(split.test) - len(far.test), len(split.test)
    return far, [
        f"{count} of {total} test samples lie within {min_km:g} km of a pretraining place and are "
        "left out."
    ]
