"""Evaluate models and their floors on a labeled store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy.typing as npt
import torch

from georank_zoo import bands as s2
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.eval import floors as floors_of
from georank_zoo.eval.metrics import score as metrics
from georank_zoo.eval.protocols.base import Prediction, Protocol, Subject
from georank_zoo.eval.protocols.knn import KNN
from georank_zoo.eval.results import table as results
from georank_zoo.eval.results.table import Row
from georank_zoo.eval.splits.make import Split
from georank_zoo.eval.tasks import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE, Task, class_names, metric_names
from georank_zoo.models.encoder import Encoder
from georank_zoo.utils.errors import StoreError, UsageError

Progress = Callable[[str, int, int], None]
OnPredictions = Callable[[Row, npt.NDArray[Any]], None]

# Below this many test samples a number says whether the machinery works, not how good a model is.
SMALL_TEST_SET = 1000
_UNITS = 1000  # of progress, per piece of work


def evaluate(
    models: Sequence[Encoder],
    store: PatchStore,
    task: Task,
    split: Split,
    *,
    protocols: Sequence[Protocol] = (KNN(),),
    sizes: Sequence[int] = (),
    seed: int = 0,
    floors: bool = True,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    on_progress: Progress | None = None,
    on_predictions: OnPredictions | None = None,
) -> list[Row]:
    """Evaluates models side by side.

    Args:
        models: The models.
        store: The data.
        task: What its labels are.
        split: What is known and what is predicted.
        protocols: The protocols; those of frozen features share the features.
        sizes: Image sizes in pixels; each model's own by default.
        seed: Seed of the random floors, of the protocols' draws and of the bootstrap.
        floors: Evaluate the floors of the models too.
        batch_size: Patches per batch where features are extracted.
        device: Where to run.
        on_progress: Called with what is being done, the work done and the work in all.
        on_predictions: Called with a row and what was predicted of the test samples, once for all
            metrics.

    Returns:
        One row per model (floors after the models), size, protocol, its variant (such as k) and
        metric.

    Raises:
        StoreError: If the store is not the task's.
        UsageError: If a setting is invalid, or model and store have no band in common.
    """
    check(models, store, task, split, protocols=protocols, sizes=sizes, seed=seed, device=device)
    everyone = _with_floors(models, protocols, seed) if floors else _alone(models, protocols)
    jobs = [(job, size) for job in everyone for size in sizes or job.sizes]
    progress = _Overall(on_progress, sum(job.pieces for job, _ in jobs))
    rows: list[Row] = []
    for job, size in jobs:
        subject = Subject(
            job.encoder,
            store,
            split,
            len(class_names(task, store)),
            size,
            from_scratch=job.from_scratch,
            seed=seed,
            batch_size=batch_size,
            device=device,
        )
        what = f"{job.encoder.name} at {size} px"
        if job.extracts:
            subject.on_progress = progress.part(what)
            subject.prepare()  # now, so that its progress goes by its own name
        for protocol in job.protocols:
            subject.on_progress = progress.part(f"{what}, {protocol.name}")
            for prediction in protocol.predict(subject):
                rows += _rows(subject, task, protocol, prediction)
                if on_predictions is not None:
                    on_predictions(rows[-1], prediction.predicted)
        job.encoder.cpu()  # one network at a time on the device
    return rows


def tell_apart(models: Sequence[Encoder], sources: Sequence[str]) -> None:
    """Adds its source to the name of each model that shares its name with another.

    Args:
        models: The models, renamed in place.
        sources: Where each was loaded from.
    """
    names = [model.name for model in models]
    for model, source in zip(models, sources, strict=True):
        if names.count(model.name) > 1:
            model.name = f"{model.name} ({source})"


def check(
    models: Sequence[Encoder],
    store: PatchStore,
    task: Task,
    split: Split,
    *,
    protocols: Sequence[Protocol] = (KNN(),),
    sizes: Sequence[int] = (),
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> None:
    """Checks everything that can be checked before any feature is computed.

    Raises:
        StoreError: If the store is not the task's, or its pixels are no digital numbers.
        UsageError: If a setting is invalid, or model and store have no band in common.
    """
    class_names(task, store)
    odd = [size for size in sizes if not MIN_IMAGE_SIZE <= size <= MAX_IMAGE_SIZE]
    if odd:
        raise UsageError(
            f"An image size must lie between {MIN_IMAGE_SIZE} and {MAX_IMAGE_SIZE} pixels, not "
            f"{odd[0]}."
        )
    all_sizes = tuple(sizes) or tuple(model.image_size for model in models)
    for protocol in protocols:
        if store.target not in protocol.targets:
            raise UsageError(
                f"Protocol {protocol.name} predicts {' or '.join(protocol.targets)}, not the "
                f"{store.target} of each patch that store {store.path} holds."
            )
        protocol.check(split, sizes=all_sizes, seed=seed, device=torch.device(device))
    for model in models:
        model.shared_bands(store.bands)
    statistics = store.header.statistics.values()
    low, high = min(s.min for s in statistics), max(s.max for s in statistics)
    try:
        scale = s2.DN_PER_REFLECTANCE
        s2.check_unit(low * scale, high * scale, "dn", where=f"Store {store.path}")
    except UsageError as error:
        raise StoreError(f"{error} Prepare the store again.") from error


@dataclass(frozen=True)
class _Job:
    """A model, its own image sizes and the protocols to evaluate it by."""

    encoder: Encoder
    sizes: tuple[int, ...]
    protocols: tuple[Protocol, ...]
    from_scratch: bool = False

    @property
    def extracts(self) -> bool:
        """Whether a protocol wants frozen features, extracted once for all that do."""
        return any(protocol.takes_features for protocol in self.protocols)

    @property
    def pieces(self) -> int:
        """Pieces of work: the features and each protocol."""
        return self.extracts + len(self.protocols)


def _alone(models: Sequence[Encoder], protocols: Sequence[Protocol]) -> list[_Job]:
    return [_Job(model, (model.image_size,), tuple(protocols)) for model in models]


def _with_floors(models: Sequence[Encoder], protocols: Sequence[Protocol], seed: int) -> list[_Job]:
    """The models, then the floors of the protocols that leave the network as it is, then others."""
    jobs = _alone(models, protocols)
    frozen = tuple(protocol for protocol in protocols if not protocol.trains_network)
    trained = tuple(protocol for protocol in protocols if protocol.trains_network)
    for encoder, sizes in floors_of.floors(models, seed=seed) if frozen else ():
        # Image statistics have features, but are no network to run.
        is_network = not isinstance(encoder.backbone, floors_of.ImageStatistics)
        if suited := tuple(p for p in frozen if p.takes_features or is_network):
            jobs.append(_Job(encoder, sizes, suited))
    if trained:
        untrained = floors_of.from_scratch(models, seed=seed)
        jobs += [_Job(*floor, trained, from_scratch=True) for floor in untrained]
    return jobs


def _rows(
    subject: Subject, task: Task, protocol: Protocol, prediction: Prediction
) -> Iterator[Row]:
    """A row per metric."""
    encoder, split = subject.encoder, subject.split
    row = partial(
        Row,
        when=results.now(),
        model=encoder.name,
        model_hash=encoder.model_hash,
        recipe=encoder.config.recipe if encoder.config else "",
        task=task.name,
        store_hash=subject.store.hash,
        protocol=protocol.name,
        k=prediction.k,
        temperature=prediction.temperature,
        settings=prediction.settings,
        split=split.name,
        image_size=subject.image_size,
        bands=" ".join(encoder.shared_bands(subject.store.bands)),
        seed=subject.seed,
        n_train=len(split.train),
        n_test=len(split.test),
        versions=results.made_with(subject.device),
    )
    for metric in metric_names(task, subject.store):
        score = metrics.score(
            metric,
            prediction.predicted,
            split.label[split.test],
            subject.num_classes,
            place=split.place[split.test],
            seed=subject.seed,
        )
        yield row(metric=metric, value=score.value, ci_low=score.low, ci_high=score.high)


class _Overall:
    """Progress of pieces of work as progress of the whole, in which each counts the same."""

    def __init__(self, on_progress: Progress | None, pieces: int) -> None:
        self._report = on_progress
        self._pieces = pieces
        self._done = 0

    def part(self, what: str) -> Callable[[int, int], None] | None:
        """What one piece of the work reports to."""
        report = self._report
        if report is None:
            return None

        def update(done: int, total: int) -> None:
            units = self._done * _UNITS + done * _UNITS // total
            report(what, units, self._pieces * _UNITS)
            self._done += done == total

        return update
