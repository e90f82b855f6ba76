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
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Score:
    """A metric with its 95 % percentile bootstrap interval over samples.

    Args:
        metric: Name in `METRICS`.
        predicted: Predicted classes (n,).
        target: True classes (n,). Classes without a sample do not count in a macro average.
        num_classes: Number of classes.
        seed: Seed of the resampling.
        resamples: Number of bootstrap replicates (Efron and Tibshirani 1993).

    Raises:
        UsageError: If there is no such metric.
    """
    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    value, replicate = METRICS[metric]
    hits, counts = _resample(predicted, target, num_classes, seed, resamples)
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
    seed: int,
    resamples: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Right predictions and samples per class (resamples, C) of bootstrap replicates.

    Accuracies depend only on how many samples each class has and how many of them are right.
    Drawing n samples with replacement makes these counts multinomial, so they are drawn
    directly: the same distribution without an n x resamples array.
    """
    cell = target * 2 + (predicted == target)
    share = np.bincount(cell, minlength=2 * num_classes) / len(target)
    draws = np.random.default_rng(seed).multinomial(len(target), share, size=resamples)
    wrong_right = draws.reshape(resamples, num_classes, 2)
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
