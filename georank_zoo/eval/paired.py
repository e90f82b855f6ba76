"""The difference of two models on the same samples, by the paired bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from georank_zoo.errors import unknown_name
from georank_zoo.eval.metrics import CONFIDENCE, RESAMPLES

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_CHUNK = 100  # replicates at a time: 48 MB where all of 60,000 places differ


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


def macro(hits: Floats, counts: Floats) -> Floats:
    """Mean accuracy over the classes that have a sample: (..., C) and (..., C) to (...)."""
    there = counts > 0
    per_class = np.divide(hits, counts, out=np.zeros(hits.shape), where=there)
    means: Floats = per_class.sum(axis=-1) / there.sum(axis=-1)
    return means


def overall(hits: Floats, counts: Floats) -> Floats:
    """Share of the samples that are right: (..., C) and (..., C) to (...)."""
    shares: Floats = hits.sum(axis=-1) / counts.sum(axis=-1)
    return shares


# The metrics that follow from right predictions and samples per class.
PAIRED: dict[str, Callable[[Floats, Floats], Floats]] = {
    "accuracy_macro": macro,
    "accuracy_overall": overall,
}


def paired_difference(
    metric: str,
    first: Indices,
    second: Indices,
    target: Indices,
    *,
    place: Indices,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Difference:
    """The difference of two models and its 95 % percentile interval over places.

    In each replicate both models are scored on the same drawn places (Efron and Tibshirani 1993,
    chapter 16; Koehn 2004), so what is hard for both cancels. It speaks of other test places, not
    of other training runs: the models stay what they are.

    Args:
        metric: Name in `PAIRED`.
        first: Classes (n,) that the first model predicts.
        second: Classes (n,) that the second model predicts.
        target: True classes (n,).
        place: Place of each sample (n,); drawn with all its samples.
        seed: Seed of the resampling.
        resamples: Number of replicates.

    Raises:
        UsageError: If there is no such metric.
    """
    if metric not in PAIRED:
        raise unknown_name("metric for paired differences", metric, PAIRED)
    score = PAIRED[metric]
    # Places of equal counts are of one kind, and numbers of kinds are drawn: see `metrics`.
    kinds, frequency = np.unique(_tables(first, second, target, place), axis=0, return_counts=True)
    kinds = kinds.astype(np.float64)  # for BLAS; counts below 2^53 stay exact
    places = int(frequency.sum())
    generator = np.random.default_rng(seed)
    differences = []
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        drawn = generator.multinomial(places, frequency / places, size=size)
        differences.append(_difference(score, drawn.astype(np.float64) @ kinds))
    drawn_differences = np.concatenate(differences)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn_differences, (tail, 1 - tail))
    return Difference(
        value=float(_difference(score, frequency.astype(np.float64) @ kinds)),
        low=float(low),
        high=float(high),
        above=float((drawn_differences > 0).mean() + (drawn_differences == 0).mean() / 2),
    )


def _tables(first: Indices, second: Indices, target: Indices, place: Indices) -> Indices:
    """Per place: samples, and right predictions of each model, per class (places, 3 C)."""
    places, index = np.unique(place, return_inverse=True)
    names, label = np.unique(target, return_inverse=True)  # absent classes do not count
    size = len(places) * len(names)
    cell = index * len(names) + label
    counts = (
        np.bincount(cell[chosen], minlength=size).reshape(len(places), len(names))
        for chosen in (np.full(len(target), True), first == target, second == target)
    )
    return np.concatenate(list(counts), axis=1)


def _difference(score: Callable[[Floats, Floats], Floats], totals: Floats) -> Floats:
    counts, first, second = np.split(totals, 3, axis=-1)
    # Rounded, or sums in another order would make a difference of equal scores.
    return np.round(score(first, counts) - score(second, counts), 12)
