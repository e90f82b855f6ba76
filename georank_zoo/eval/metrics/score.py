"""Metrics by name, and scores with bootstrap intervals.

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

from georank_zoo.eval.arrays import Floats, Integers
from georank_zoo.eval.metrics.average_precision import AP_MACRO, AP_MICRO
from georank_zoo.eval.metrics.bootstrap import RESAMPLES, interval
from georank_zoo.eval.metrics.counts import (
    ACCURACY_MACRO,
    ACCURACY_OVERALL,
    F1_MACRO,
    F1_MICRO,
    MIOU,
    PIXEL_ACCURACY,
)
from georank_zoo.utils.errors import unknown_name


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


METRICS_BY_NAME: dict[str, Metric] = {
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
    if name not in METRICS_BY_NAME:
        raise unknown_name("metric", name, METRICS_BY_NAME)
    return METRICS_BY_NAME[name]


def score_with_interval(
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

    The model and the training samples stay what they are. Of few places the resamples, which lose
    classes, may all lie on one side of the metric: the interval then begins or ends there.

    Args:
        metric: Name in `METRICS_BY_NAME`.
        predicted: Predictions of n samples, as the metric takes it.
        target: Their true classes, labels or masks.
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
    value = chosen.value(predicted, target, num_classes)
    low, high = interval(replicates[0])
    return Score(value, min(low, value), max(high, value))


@dataclass(frozen=True)
class Difference:
    """A difference of two scores, as a fraction.

    Attributes:
        value: First model minus second model.
        low: Lower end of the 95 % interval.
        high: Upper end.
        above: Share of the resamples in which the first model is better; ties count half.
    """

    value: float
    low: float
    high: float
    above: float


def paired_difference(
    metric: str,
    first: npt.NDArray[Any],
    second: npt.NDArray[Any],
    target: Integers,
    num_classes: int,
    *,
    place: Integers,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Difference:
    """The difference of two models and its 95 % percentile interval over places.

    In each replicate both models are scored on the same drawn places (Efron and Tibshirani 1993,
    chapter 16; Koehn 2004), so what is hard for both cancels. It speaks of other test places, not
    of other training runs: the models stay what they are.

    Args:
        metric: Name in `georank_zoo.eval.metrics.score.METRICS_BY_NAME`.
        first: Predictions of n samples by the first model, as the metric takes it.
        second: Predictions by the second model.
        target: Their true classes, labels or masks.
        num_classes: Number of classes.
        place: Place of each sample (n,); drawn with all its samples.
        seed: Seed of the resampling.
        resamples: Number of replicates.

    Raises:
        UsageError: If there is no such metric.
    """
    chosen = get_metric(metric)
    of_first, of_second = chosen.replicates(
        [first, second], target, num_classes, place=place, seed=seed, resamples=resamples
    )
    # Rounded, or sums in another order would make a difference of equal scores.
    drawn = np.round(of_first - of_second, 12)
    values = [chosen.value(predicted, target, num_classes) for predicted in (first, second)]
    low, high = interval(drawn)
    return Difference(
        value=round(values[0] - values[1], 12),
        low=low,
        high=high,
        above=float((drawn > 0).mean() + (drawn == 0).mean() / 2),
    )
