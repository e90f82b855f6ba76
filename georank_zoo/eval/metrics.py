"""The registry of metrics, and scores with bootstrap intervals.

What a protocol predicts, and every metric takes, depends on the task's target:

- `class`: the predicted classes (n,) against the classes (n,);
- `labels`: scores between 0 and 1 (n, C) against labels as 0 and 1 (n, C);
- `mask`: the pixels per true and predicted class of each sample (n, C, C).

Classes without a sample, label or pixel in the test set do not count in a macro average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from georank_zoo.errors import unknown_name
from georank_zoo.eval.average_precision import AP_MACRO, AP_MICRO
from georank_zoo.eval.bootstrap import RESAMPLES, Floats, Integers, interval
from georank_zoo.eval.counted import (
    ACCURACY_MACRO,
    ACCURACY_OVERALL,
    F1_MACRO,
    F1_MICRO,
    MIOU,
    PIXEL_ACCURACY,
)


class Metric(Protocol):
    """A metric and its bootstrap replicates."""

    def value(self, predicted: npt.NDArray[Any], target: Integers, num_classes: int) -> float:
        """The metric of all samples, as a fraction."""

    def replicates(
        self,
        predictions: Sequence[npt.NDArray[Any]],
        target: Integers,
        num_classes: int,
        *,
        place: Integers,
        seed: int,
        resamples: int,
    ) -> Floats:
        """The metric (m, resamples) of m models on the same resampled places."""


METRICS: dict[str, Metric] = {
    "accuracy_macro": ACCURACY_MACRO,
    "accuracy_overall": ACCURACY_OVERALL,
    "ap_macro": AP_MACRO,
    "ap_micro": AP_MICRO,
    "f1_macro": F1_MACRO,
    "f1_micro": F1_MICRO,
    "miou": MIOU,
    "pixel_accuracy": PIXEL_ACCURACY,
}


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


def get_metric(name: str) -> Metric:
    """The metric of a name.

    Raises:
        UsageError: If there is none.
    """
    if name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    return METRICS[name]


def score(
    metric: str,
    predicted: npt.NDArray[Any],
    target: npt.NDArray[np.int64],
    num_classes: int,
    *,
    place: npt.NDArray[np.int64],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Score:
    """A metric with its 95 % percentile bootstrap interval over places.

    The model and the training samples stay what they are.

    Args:
        metric: Name in `METRICS`.
        predicted: What was predicted of n samples, as the metric takes it.
        target: What is true of them.
        num_classes: Number of classes.
        place: Place of each sample (n,).
        seed: Seed of the resampling.
        resamples: Number of bootstrap replicates.

    Raises:
        UsageError: If there is no such metric.
    """
    chosen = get_metric(metric)
    replicates = chosen.replicates(
        [predicted], target, num_classes, place=place, seed=seed, resamples=resamples
    )
    return Score(chosen.value(predicted, target, num_classes), *interval(replicates[0]))
