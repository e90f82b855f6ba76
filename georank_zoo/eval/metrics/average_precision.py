"""Average precision of several labels per sample, with its bootstrap replicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array

from georank_zoo.eval.arrays import Floats, Integers
from georank_zoo.eval.metrics.bootstrap import resample_weights

_CELLS = 4_000_000  # of a table of points and replicates: 32 MB in float64


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision, the sum of (R_n - R_n-1) P_n over the distinct scores.

    Attributes:
        micro: Over all pairs of sample and label at once; else the mean over the labels that have
            a positive sample. (torchmetrics' own macro average has counted labels without one as
            NaN in some versions and as 0 in others.)
    """

    micro: bool

    def value(
        self, predicted: npt.NDArray[np.generic], target: Integers, num_classes: int
    ) -> float:
        """The metric of scores (n, C) against labels (n, C)."""
        # A second to import, which every start of a training would wait for.
        from torchmetrics.functional.classification import binary_average_precision

        if not target.any():
            return 0.0
        scores = torch.from_numpy(np.asarray(predicted, np.float64))
        labels = torch.from_numpy(target)
        if self.micro:
            return float(binary_average_precision(scores.flatten(), labels.flatten()))
        there = np.flatnonzero(target.any(axis=0))
        values = [float(binary_average_precision(scores[:, c], labels[:, c])) for c in there]
        return float(np.mean(values))

    def replicates(
        self,
        predictions: Sequence[npt.NDArray[np.generic]],
        target: Integers,
        num_classes: int,
        *,
        place: Integers,
        seed: int,
        resamples: int,
    ) -> Floats:
        """The metric (m, resamples) of m models on the same resampled places."""
        del num_classes
        curves = [self._curves(np.asarray(p, np.float64), target) for p in predictions]
        parts = []
        for weights in resample_weights(place, seed=seed, resamples=resamples):
            drawn = np.ascontiguousarray(weights.T)
            parts.append(np.stack([_mean([c(drawn) for c in model]) for model in curves]))
        return np.concatenate(parts, axis=1)

    def _curves(self, scores: Floats, target: Integers) -> list[_Curve]:
        if self.micro:
            samples = np.repeat(np.arange(len(target)), target.shape[1])
            return [_Curve(scores.reshape(-1), target.reshape(-1), samples, len(target))]
        everyone = np.arange(len(target))
        # Where no label has one, any will do: its average precision counts as 0.
        there = np.flatnonzero(target.any(axis=0) | ~target.any())
        return [_Curve(scores[:, c], target[:, c], everyone, len(target)) for c in there]


class _Curve:
    """A precision-recall curve whose samples can be weighted.

    Only scores that a positive has are points of the sum. The weights are added up between these
    points by sparse products, which is many times faster than walking through all samples.
    """

    def __init__(self, scores: Floats, target: Integers, sample: Integers, count: int) -> None:
        order = np.argsort(-scores, kind="stable")
        ranked, positive = scores[order], target[order] == 1
        group = np.cumsum(np.append(True, ranked[1:] != ranked[:-1])) - 1  # of equal scores
        points = np.unique(group[positive])
        # What ranks below the last positive changes nothing.
        last = np.searchsorted(group, points[-1], side="right") if len(points) else 0
        point = np.searchsorted(points, group[:last])
        shape = (len(points), count)
        rows, hits = sample[order[:last]], positive[:last]
        ones = np.ones(last, np.float32)  # sums are whole numbers, exact below 2^24
        self._all = csr_array((ones, (point, rows)), shape)
        self._hits = csr_array((ones[hits], (point[hits], rows[hits])), shape)
        self._step = max(1, _CELLS // max(1, len(points)))

    def __call__(self, weights: npt.NDArray[np.float32]) -> Floats:
        """Average precision (r,) with the weights of the samples (n, r); NaN without a positive."""
        if self._hits.shape[0] == 0:
            return np.full(weights.shape[1], np.nan)
        steps = range(0, weights.shape[1], self._step)
        return np.concatenate([self._of(weights[:, s : s + self._step]) for s in steps])

    def _of(self, weights: npt.NDArray[np.float32]) -> Floats:
        gained = self._hits @ weights
        hits, total = (
            part.cumsum(axis=0, dtype=np.float64) for part in (gained, self._all @ weights)
        )
        np.divide(hits, total, out=total, where=total > 0)  # no draw yet: no hits either
        with np.errstate(invalid="ignore"):
            precision: Floats = np.einsum("pr,pr->r", total, gained) / hits[-1]
        return precision


def _mean(parts: list[Floats]) -> Floats:
    """The mean over the labels of which a positive was drawn; 0 where none was of any."""
    values = np.stack(parts)
    there = ~np.isnan(values)
    means: Floats = np.where(there, values, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    return means


AP_MACRO = AveragePrecision(micro=False)
AP_MICRO = AveragePrecision(micro=True)
