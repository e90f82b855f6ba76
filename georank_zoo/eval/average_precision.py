"""Average precision of several labels per sample, with its bootstrap replicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics.functional.classification import binary_average_precision

from georank_zoo.eval.bootstrap import Floats, Integers, resample_weights


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
            drawn = torch.from_numpy(weights)
            parts.append(torch.stack([_mean([c(drawn) for c in model]) for model in curves]))
        replicates: Floats = torch.cat(parts, dim=1).numpy()
        return replicates

    def _curves(self, scores: Floats, target: Integers) -> list[_Curve]:
        if self.micro:
            samples = np.repeat(np.arange(len(target)), target.shape[1])
            return [_Curve(scores.reshape(-1), target.reshape(-1), samples)]
        everyone = np.arange(len(target))
        # Where no label has one, any will do: its average precision counts as 0.
        there = np.flatnonzero(target.any(axis=0) | ~target.any())
        return [_Curve(scores[:, c], target[:, c], everyone) for c in there]


class _Curve:
    """The samples of a precision-recall curve in the order of their scores, the highest first."""

    def __init__(self, scores: Floats, target: Integers, sample: Integers) -> None:
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        self._sample = torch.from_numpy(sample[order])
        self._target = torch.from_numpy(target[order].astype(np.float64))
        # Equal scores are one point of the curve: their last.
        self._ends = torch.from_numpy(np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)))

    def __call__(self, weights: torch.Tensor) -> torch.Tensor:
        """Average precision (r,) with the weights of the samples (r, n); NaN without a positive."""
        weight = weights[:, self._sample]
        total = weight.cumsum(dim=1)[:, self._ends]
        hits = weight.mul_(self._target).cumsum(dim=1)[:, self._ends]
        precision = hits / total.clamp_(min=1)  # nothing is drawn before: no hits either
        gained = hits.diff(dim=1, prepend=torch.zeros(len(hits), 1, dtype=hits.dtype))
        return (precision * gained).sum(dim=1) / hits[:, -1]


def _mean(parts: list[torch.Tensor]) -> torch.Tensor:
    """The mean over the labels of which a positive was drawn; 0 where none was of any."""
    values = torch.stack(parts)
    there = ~values.isnan()
    return values.nan_to_num(0).sum(dim=0) / there.sum(dim=0).clamp_(min=1)


AP_MACRO = AveragePrecision(micro=False)
AP_MICRO = AveragePrecision(micro=True)
