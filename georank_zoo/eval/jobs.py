"""Jobs of an evaluation: models and floors with their protocols, run to rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from georank_zoo.eval.floors import EvaluatedModel, ImageStatistics, floors_of, from_scratch
from georank_zoo.eval.metrics.score import score_with_interval
from georank_zoo.eval.protocols.base import EvalContext, EvalPlan, Prediction, Protocol
from georank_zoo.eval.results.predictions import Predictions
from georank_zoo.eval.results.settings import settings_to_json
from georank_zoo.eval.results.table import Row, made_with, now
from georank_zoo.eval.tasks import Task, metric_names
from georank_zoo.utils.progress import OnProgress

_UNITS = 1000  # of progress, per piece of work


@dataclass(frozen=True)
class Job:
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


def alone(models: Sequence[EvaluatedModel], protocols: Sequence[Protocol]) -> list[Job]:
    """The models without floors."""
    return [Job(model, tuple(protocols)) for model in models]


def with_floors(
    models: Sequence[EvaluatedModel], protocols: Sequence[Protocol], seed: int
) -> list[Job]:
    """The models, then the floors of the protocols that leave the network as it is, then others."""
    jobs = alone(models, protocols)
    frozen = tuple(protocol for protocol in protocols if not protocol.trains_network)
    trained = tuple(protocol for protocol in protocols if protocol.trains_network)
    for floor in floors_of(models, seed=seed) if frozen else ():
        # Image statistics have features, but are no network to run.
        is_network = not isinstance(floor.encoder.backbone, ImageStatistics)
        if suited := tuple(p for p in frozen if p.takes_features or is_network):
            jobs.append(Job(floor, suited))
    if trained:
        jobs += [Job(floor, trained) for floor in from_scratch(models, seed=seed)]
    return jobs


def run_jobs(
    plan: EvalPlan, task: Task, jobs: Sequence[Job], report: OnProgress
) -> list[tuple[list[Row], Predictions]]:
    """Rows of all metrics, with the predictions behind them, per model, size and variant."""
    work = [(job, size) for job in jobs for size in plan.image_sizes or job.model.sizes]
    overall = _Overall(report, sum(job.pieces for job, _ in work))
    found: list[tuple[list[Row], Predictions]] = []
    for job, size in work:
        home = job.model.encoder.mean.device
        try:
            found += _run_job(job, size, plan, task, overall)
        finally:
            job.model.encoder.to(home)  # one network at a time on the device
    return found


def _run_job(
    job: Job, size: int, plan: EvalPlan, task: Task, overall: _Overall
) -> Iterator[tuple[list[Row], Predictions]]:
    encoder, what = job.model.encoder, f"{job.model.title} at {size} px"
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
            yield rows, Predictions.from_split(plan.split, prediction.predicted)


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
        settings=settings_to_json(prediction.settings),
        chosen=settings_to_json(prediction.chosen),
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
        what: Name of the present piece.
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
