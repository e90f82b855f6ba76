"""Metrics of single-label classification, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics.functional.classification import multiclass_accuracy

from georank_zoo.errors import unknown_name

CONFIDENCE = 0.95
RESAMPLES = 2000
_CHUNK = 100  # replicates at a time: 48 MB where all of 60,000 places differ


@dataclass(frozen=True)
class Score:
    """A metric and its confidence interval, as fractions.

    Attributes:
        value: The metric on the test set.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def score(
    metric: str,
    predicted: npt.NDArray[np.int64],
    target: npt.NDArray[np.int64],
    num_classes: int,
    *,
    place: npt.NDArray[np.int64],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Score:
    """A metric with its 95 % percentile bootstrap interval over places.

    Places are resampled with all their samples (the cluster bootstrap of Davison and Hinkley
    1997, section 3.8): dates of a place are nearly one observation, and counting each for itself
    would make the interval too narrow. With one sample per place it is the bootstrap over
    samples. The model and the training samples stay what they are.

    Args:
        metric: Name in `METRICS`.
        predicted: Predicted classes (n,).
        target: True classes (n,). Classes without a sample do not count in a macro average.
        num_classes: Number of classes.
        place: Place of each sample (n,).
        seed: Seed of the resampling.
        resamples: Number of bootstrap replicates (Efron and Tibshirani 1993).

    Raises:
        UsageError: If there is no such metric.
    """
    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    value, replicate = METRICS[metric]
    hits, counts = _resample(predicted, target, num_classes, place, seed, resamples)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(replicate(hits, counts), (tail, 1 - tail))
    return Score(value(predicted, target, num_classes), float(low), float(high))


def accuracy_macro(
    predicted: npt.NDArray[np.int64], target: npt.NDArray[np.int64], num_classes: int
) -> float:
    """Mean of the classes' accuracies, over the classes that have a sample.

    torchmetrics' own macro average counts a class without a sample as 0 when it is predicted
    somewhere, so the mean is taken here.
    """
    per_class = multiclass_accuracy(
        torch.from_numpy(predicted),
        torch.from_numpy(target),
        num_classes=num_classes,
        average="none",
    ).numpy()
    return float(per_class[np.unique(target)].mean())


def accuracy_overall(
    predicted: npt.NDArray[np.int64], target: npt.NDArray[np.int64], num_classes: int
) -> float:
    """Share of the samples that are predicted right."""
    value = multiclass_accuracy(
        torch.from_numpy(predicted),
        torch.from_numpy(target),
        num_classes=num_classes,
        average="micro",
    )
    return float(value)


def _resample(
    predicted: npt.NDArray[np.int64],
    target: npt.NDArray[np.int64],
    num_classes: int,
    place: npt.NDArray[np.int64],
    seed: int,
    resamples: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Right predictions and samples per class (resamples, C) of bootstrap replicates.

    Accuracies depend only on how many samples each class has and how many of them are right, so
    places with equal counts are of one kind. Drawing places with replacement makes the numbers
    of places of each kind multinomial, and these are drawn: the same distribution without a
    resamples x n array.
    """
    places, index = np.unique(place, return_inverse=True)
    cells = 2 * num_classes
    cell = index * cells + target * 2 + (predicted == target)
    tables = np.bincount(cell, minlength=len(places) * cells).reshape(len(places), cells)
    kinds, frequency = np.unique(tables, axis=0, return_counts=True)
    kinds = kinds.astype(np.float64)  # for BLAS; counts below 2^53 stay exact
    generator = np.random.default_rng(seed)
    totals = np.empty((resamples, cells))
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        drawn = generator.multinomial(len(places), frequency / len(places), size=size)
        totals[start : start + size] = drawn.astype(np.float64) @ kinds
    wrong_right = totals.astype(np.int64).reshape(resamples, num_classes, 2)
    return wrong_right[:, :, 1], wrong_right.sum(axis=2)


def _replicate_macro(
    hits: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    drawn = counts > 0
    per_class = np.divide(hits, counts, out=np.zeros(hits.shape), where=drawn)
    means: npt.NDArray[np.float64] = per_class.sum(axis=1) / drawn.sum(axis=1)
    return means


def _replicate_overall(
    hits: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = hits.sum(axis=1) / counts.sum(axis=1)
    return shares


_Metric = Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64], int], float]
_Replicate = Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], npt.NDArray[np.float64]]

METRICS: dict[str, tuple[_Metric, _Replicate]] = {
    "accuracy_macro": (accuracy_macro, _replicate_macro),
    "accuracy_overall": (accuracy_overall, _replicate_overall),
}
