"""Evaluate models and their floors on a labelled store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from georank_zoo import bands as s2
from georank_zoo.data.store import PatchStore
from georank_zoo.errors import StoreError, UsageError, unknown_name
from georank_zoo.eval import knn, metrics, results
from georank_zoo.eval.floors import floors as floors_of
from georank_zoo.eval.results import Row
from georank_zoo.eval.splits import Split
from georank_zoo.eval.tasks import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE, Task, class_names
from georank_zoo.features import extract
from georank_zoo.zoo import Encoder

Progress = Callable[[str, int, int], None]
Predictions = dict[int, npt.NDArray[np.int64]]
OnPredictions = Callable[[Row, npt.NDArray[np.int64]], None]

# Below this many test samples a number says whether the machinery works, not how good a model is.
SMALL_TEST_SET = 1000


def evaluate(
    models: Sequence[Encoder],
    store: PatchStore,
    task: Task,
    split: Split,
    *,
    protocol: str = "knn",
    sizes: Sequence[int] = (),
    k: Sequence[int] = (knn.K,),
    temperature: float = knn.TEMPERATURE,
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
        protocol: Name in `PROTOCOLS`.
        sizes: Image sizes in pixels; each model's own by default.
        k: Numbers of neighbours.
        temperature: Of the neighbours' weights.
        seed: Seed of the random floor and the bootstrap.
        floors: Evaluate the floors of the models too.
        batch_size: Patches per batch.
        device: Where to run.
        on_progress: Called with what is being done, patches embedded and patches in all.
        on_predictions: Called with a row and the predicted classes of the test samples, once for
            all metrics.

    Returns:
        One row per model (floors after the models), size, k and metric.

    Raises:
        StoreError: If the store is not the task's.
        UsageError: If a setting is invalid, or model and store have no band in common.
    """
    check(models, store, task, split, protocol=protocol, sizes=sizes, k=k, temperature=temperature)
    classes = len(class_names(task, store))
    everyone: list[tuple[Encoder, tuple[int, ...]]] = [(m, (m.image_size,)) for m in models]
    if floors:
        everyone += floors_of(models, seed=seed)
    work = [(encoder, size) for encoder, own in everyone for size in sizes or own]
    target, place = split.label[split.test], split.place[split.test]
    row = partial(
        Row,
        when=results.now(),
        task=task.name,
        store_hash=store.hash,
        protocol=protocol,
        temperature=temperature,
        split=split.name,
        seed=seed,
        n_train=len(split.train),
        n_test=len(split.test),
        versions=results.made_with(device),
    )
    rows = []
    for number, (encoder, size) in enumerate(work):
        features = extract(
            encoder,
            store,
            samples=split.samples,
            image_size=size,
            batch_size=batch_size,
            device=device,
            on_progress=_overall(on_progress, f"{encoder.name} at {size} px", number, len(work)),
        )
        encoder.cpu()  # one network at a time on the device
        model_row = partial(
            row,
            model=encoder.name,
            model_hash=encoder.model_hash,
            recipe=encoder.config.recipe if encoder.config else "",
            image_size=size,
            bands=" ".join(encoder.shared_bands(store.bands)),
        )
        predictions = PROTOCOLS[protocol](features, split, classes, k, temperature, device)
        for neighbors, predicted in predictions.items():
            for metric in task.metrics:
                score = metrics.score(metric, predicted, target, classes, place=place, seed=seed)
                value = {"value": score.value, "ci_low": score.low, "ci_high": score.high}
                rows.append(model_row(k=neighbors, metric=metric, **value))
            if on_predictions is not None:
                on_predictions(rows[-1], predicted)
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
    protocol: str = "knn",
    sizes: Sequence[int] = (),
    k: Sequence[int] = (knn.K,),
    temperature: float = knn.TEMPERATURE,
) -> None:
    """Checks everything that can be checked before any feature is computed.

    Raises:
        StoreError: If the store is not the task's, or its pixels are no digital numbers.
        UsageError: If a setting is invalid, or model and store have no band in common.
    """
    if protocol not in PROTOCOLS:
        raise unknown_name("protocol", protocol, PROTOCOLS)
    class_names(task, store)
    odd = [size for size in sizes if not MIN_IMAGE_SIZE <= size <= MAX_IMAGE_SIZE]
    if odd:
        raise UsageError(
            f"An image size must lie between {MIN_IMAGE_SIZE} and {MAX_IMAGE_SIZE} pixels, not "
            f"{odd[0]}."
        )
    if not k or not all(1 <= value <= len(split.train) for value in k):
        raise UsageError(
            f"k must lie between 1 and the {len(split.train)} training samples, not {list(k)}."
        )
    if not temperature > 0:
        raise UsageError(f"The temperature must be positive, not {temperature}.")
    for model in models:
        model.shared_bands(store.bands)
    statistics = store.manifest.statistics.values()
    low, high = min(s.min for s in statistics), max(s.max for s in statistics)
    try:
        scale = s2.DN_PER_REFLECTANCE
        s2.check_unit(low * scale, high * scale, "dn", where=f"Store {store.path}")
    except UsageError as error:
        raise StoreError(f"{error} Prepare the store again.") from error


def _knn(
    features: npt.NDArray[np.float32],
    split: Split,
    num_classes: int,
    k: Sequence[int],
    temperature: float,
    device: str | torch.device,
) -> Predictions:
    neighbors = knn.find_neighbors(
        features[split.test],
        features[split.train],
        max(k),
        query_groups=split.place[split.test],
        bank_groups=split.place[split.train],
        device=device,
    )
    labels = split.label[split.train]
    return knn.vote(neighbors, labels, num_classes, k=k, temperature=temperature)


# Predicted classes of the test samples, from frozen features.
PROTOCOLS: dict[str, Callable[..., Predictions]] = {"knn": _knn}


def _overall(
    on_progress: Progress | None, what: str, number: int, count: int
) -> Callable[[int, int], None] | None:
    """Progress of the `number`-th of `count` equal pieces of work as progress of the whole."""
    if on_progress is None:
        return None
    return lambda done, total: on_progress(what, number * total + done, count * total)
