"""Evaluation of models and their floors on a labeled store."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from georank_zoo import bands as s2
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.eval.floors import (
    EvaluatedModel,
    ImageStatistics,
    deduplicate_names,
    floors_of,
    from_scratch,
)
from georank_zoo.eval.metrics.score import score_with_interval
from georank_zoo.eval.protocols.base import EvalContext, EvalPlan, Prediction, Protocol
from georank_zoo.eval.protocols.registry import as_protocols
from georank_zoo.eval.results.notes import evaluation_notes
from georank_zoo.eval.results.predictions import Predictions
from georank_zoo.eval.results.scores import Scores
from georank_zoo.eval.results.table import Row, made_with, now, to_json
from georank_zoo.eval.splits.far_from_pretraining import beyond, pretraining_stores
from georank_zoo.eval.splits.make import Split, make_split
from georank_zoo.eval.tasks import (
    MAX_IMAGE_SIZE,
    MIN_IMAGE_SIZE,
    Task,
    class_names,
    default_split,
    get_task,
    metric_names,
)
from georank_zoo.models.encoder import Encoder, create_model
from georank_zoo.utils.devices import pick_device
from georank_zoo.utils.errors import StoreError, UsageError
from georank_zoo.utils.progress import OnProgress, progress_bar

StrPath = str | os.PathLike[str]
ModelLike = StrPath | Encoder
"""A run or its folder, an export folder, an id of the Hub, or a model in memory."""

_UNITS = 1000  # of progress, per piece of work


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
    pretrain_stores: Sequence[StrPath] = (),
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
        pretrain_stores: Stores of the pretraining, for `min_km`; by default those that the runs
            name.
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
    jobs = _with_floors(entries, methods, seed) if floors else _alone(entries, methods)
    with progress_bar(f"Evaluating {task.name}", on_progress, show=progress) as report:
        scored = _run(plan, task, jobs, report)
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
    statistics = store.manifest.statistics.values()
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
    pretrain_stores: Sequence[StrPath],
) -> tuple[Split, list[str]]:
    """The split without test samples near pretraining places, and a note of how many those are."""
    if min_km is None:
        if pretrain_stores:
            raise UsageError("--pretrain-store is for --min-km: pass how far test samples must be.")
        return split, []
    names = [source if isinstance(source, str) else source.name for source in sources]
    far = beyond(
        split, store, min_km, pretraining_stores(names, [Path(p) for p in pretrain_stores])
    )
    count, total = len(split.test) - len(far.test), len(split.test)
    return far, [
        f"{count} of {total} test samples lie within {min_km:g} km of a pretraining place and are "
        "left out."
    ]


@dataclass(frozen=True)
class _Job:
    """A model and the protocols to evaluate it by."""

    model: EvaluatedModel
    protocols: tuple[Protocol, ...]

    @property
    def extracts(self) -> bool:
        """Whether a protocol takes frozen features, extracted once for all that do."""
        return any(protocol.takes_features for protocol in self.protocols)

    @property
    def pieces(self) -> int:
        """Pieces of work: the features and each protocol."""
        return self.extracts + len(self.protocols)


def _alone(models: Sequence[EvaluatedModel], protocols: Sequence[Protocol]) -> list[_Job]:
    return [_Job(model, tuple(protocols)) for model in models]


def _with_floors(
    models: Sequence[EvaluatedModel], protocols: Sequence[Protocol], seed: int
) -> list[_Job]:
    """The models, then the floors of the protocols that leave the network as it is, then others."""
    jobs = _alone(models, protocols)
    frozen = tuple(protocol for protocol in protocols if not protocol.trains_network)
    trained = tuple(protocol for protocol in protocols if protocol.trains_network)
    for floor in floors_of(models, seed=seed) if frozen else ():
        # Image statistics have features, but are no network to run.
        is_network = not isinstance(floor.encoder.backbone, ImageStatistics)
        if suited := tuple(p for p in frozen if p.takes_features or is_network):
            jobs.append(_Job(floor, suited))
    if trained:
        jobs += [_Job(floor, trained) for floor in from_scratch(models, seed=seed)]
    return jobs


def _run(
    plan: EvalPlan, task: Task, jobs: Sequence[_Job], report: OnProgress
) -> list[tuple[list[Row], Predictions]]:
    """Rows of all metrics, with the predictions behind them, per model, size and variant."""
    work = [(job, size) for job in jobs for size in plan.image_sizes or job.model.sizes]
    overall = _Overall(report, sum(job.pieces for job, _ in work))
    found = []
    for job, size in work:
        encoder, what = job.model.encoder, f"{job.model.title} at {size} px"
        home = encoder.mean.device
        overall.what = what
        context = plan.context(
            encoder, size, from_scratch=job.model.kind == "scratch", on_progress=overall.update
        )
        if job.extracts:
            context.prepare()  # now, so that its progress goes by its own name
        for protocol in job.protocols:
            overall.what = f"{what}, {protocol.name}"
            for prediction in protocol.predict(context):
                rows = list(_rows(job.model, context, task, protocol, prediction))
                found.append((rows, Predictions.from_split(plan.split, prediction.predicted)))
        encoder.to(home)  # one network at a time on the device
    return found


def _rows(
    model: EvaluatedModel,
    context: EvalContext,
    task: Task,
    protocol: Protocol,
    prediction: Prediction,
) -> Iterator[Row]:
    """A row per metric."""
    encoder, config, split = model.encoder, model.encoder.config, context.split
    row = partial(
        Row,
        when=now(),
        model=encoder.name,
        origin=model.origin,
        kind=model.kind,
        baseline=config.baseline if config else "",
        model_hash=encoder.model_hash,
        architecture=model.architecture,
        input_hash=model.input_hash,
        recipe=config.recipe if config else "",
        task=task.name,
        store_hash=context.store.hash,
        protocol=protocol.name,
        k=prediction.k,
        temperature=prediction.temperature,
        settings=to_json(prediction.settings),
        chosen=to_json(prediction.chosen),
        split=split.name,
        image_size=context.image_size,
        bands=" ".join(encoder.shared_bands(context.store.bands)),
        seed=context.seed,
        n_train=len(split.train),
        n_test=len(split.test),
        versions=made_with(context.device),
    )
    for metric in metric_names(task, context.store):
        score = score_with_interval(
            metric,
            prediction.predicted,
            split.label[split.test],
            context.num_classes,
            place=split.place[split.test],
            seed=context.seed,
        )
        yield row(metric=metric, value=score.value, ci_low=score.low, ci_high=score.high)


class _Overall:
    """Progress of pieces of work as progress of the whole, in which each counts the same.

    Attributes:
        what: What is being done.
    """

    def __init__(self, report: OnProgress, pieces: int) -> None:
        self.what = ""
        self._report = report
        self._pieces = pieces
        self._done = 0

    def update(self, done: int, total: int) -> None:
        """Takes the progress of the present piece."""
        units = self._done * _UNITS + done * _UNITS // total
        self._report(units, self._pieces * _UNITS, self.what)
        self._done += done == total
