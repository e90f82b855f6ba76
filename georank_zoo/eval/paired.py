"""The difference of two models on the same samples, by the paired bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from georank_zoo.eval.bootstrap import RESAMPLES, Integers, interval
from georank_zoo.eval.metrics import get_metric


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
        metric: Name in `georank_zoo.eval.metrics.METRICS`.
        first: What the first model predicts of n samples, as the metric takes it.
        second: What the second model predicts.
        target: What is true of them.
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
