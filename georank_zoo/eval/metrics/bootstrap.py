"""Resampling of places, shared by intervals and paired differences.

Places are resampled with all their samples (the cluster bootstrap of Davison and Hinkley 1997,
section 3.8): dates of a place are nearly one observation, and counting each for itself would make
an interval too narrow. With one sample per place it is the bootstrap over samples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from georank_zoo.eval.arrays import Floats, Integers

CONFIDENCE = 0.95
RESAMPLES = 2000
_CHUNK = 100  # replicates at a time: 48 MB where all of 60,000 places differ
# Numbers of kinds are drawn one by one up to this share of the places, else place by place.
_FEW_KINDS = 1 / 8


def interval(replicates: Floats) -> tuple[float, float]:
    """The 95 % percentile interval (Efron and Tibshirani 1993)."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(replicates, (tail, 1 - tail))
    return float(low), float(high)


def resample_totals(counts: Integers, place: Integers, *, seed: int, resamples: int) -> Floats:
    """Sums of counts over resampled places.

    Places with equal counts are of one kind. Drawing places with replacement makes the numbers of
    places of each kind multinomial, and these are drawn: the same distribution without a
    resamples x n array.

    Args:
        counts: Counts of each sample (n, cells).
        place: Place of each sample (n,).
        seed: Seed of the draws.
        resamples: Number of replicates.

    Returns:
        Whole numbers (resamples, cells).
    """
    places, index = np.unique(place, return_inverse=True)
    tables = np.zeros((len(places), counts.shape[1]), np.int64)
    np.add.at(tables, index, counts)
    kinds, kind, frequency = np.unique(tables, axis=0, return_inverse=True, return_counts=True)
    kind, kinds = kind.reshape(-1), kinds.astype(np.float64)  # for BLAS; exact below 2^53
    generator = np.random.default_rng(seed)
    totals = np.empty((resamples, counts.shape[1]))
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        if len(kinds) <= max(1000, _FEW_KINDS * len(places)):
            drawn = generator.multinomial(len(places), frequency / len(places), size=size)
        else:
            drawn = np.stack([_draw(generator, kind, len(kinds)) for _ in range(size)])
        totals[start : start + size] = drawn.astype(np.float64) @ kinds
    return totals


def resample_weights(
    place: Integers, *, seed: int, resamples: int
) -> Iterator[npt.NDArray[np.float32]]:
    """How often each sample (n,) is drawn in replicates, in chunks (r, n) of them."""
    places, index = np.unique(place, return_inverse=True)
    generator = np.random.default_rng(seed)
    everyone = np.arange(len(places))
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        drawn = [_draw(generator, everyone, len(places)) for _ in range(size)]
        yield np.stack(drawn).astype(np.float32)[:, index]


def _draw(generator: np.random.Generator, kind: Integers, kinds: int) -> Integers:
    return np.bincount(kind[generator.integers(0, len(kind), len(kind))], minlength=kinds)
