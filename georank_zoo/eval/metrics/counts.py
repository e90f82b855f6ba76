"""Metrics that follow from counts which add up over samples: accuracies, F1 and IoU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from georank_zoo.data.store.patch import UNKNOWN
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.eval.arrays import Floats, Integers
from georank_zoo.eval.metrics.bootstrap import resample_totals
from georank_zoo.eval.splits.make import Split

_CHUNK = 256  # masks at a time


def confusion(
    masks: npt.NDArray[np.uint8], predicted: npt.NDArray[np.integer], num_classes: int
) -> npt.NDArray[np.int64]:
    """Pixels per true and predicted class.

    Args:
        masks: True classes (n, H, W); pixels that are `UNKNOWN` do not count.
        predicted: Predicted classes (n, H, W).
        num_classes: Number of classes, C.

    Returns:
        Counts (n, C, C); the true class is the first of the two.
    """
    known = masks != UNKNOWN
    sample = np.broadcast_to(np.arange(len(masks))[:, None, None], masks.shape)[known]
    cell = (sample * num_classes + masks[known]) * num_classes + predicted[known]
    counts = np.bincount(cell, minlength=len(masks) * num_classes**2)
    return counts.reshape(len(masks), num_classes, num_classes)


def absent_from_masks(
    store: PatchStore, split: Split, class_names: tuple[str, ...]
) -> tuple[str, ...]:
    """Classes without a test pixel."""
    samples = split.samples[split.test]
    present = np.zeros(UNKNOWN + 1, bool)
    for start in range(0, len(samples), _CHUNK):
        present[np.unique(store.masks(samples[start : start + _CHUNK]))] = True
    return tuple(name for number, name in enumerate(class_names) if not present[number])


# F1 needs a decision: a label is predicted where its score is above this. The scores of k-NN grow
# with the similarities, so F1 is lower for a model whose features all differ more, at equal votes.
THRESHOLD = 0.5


@dataclass(frozen=True)
class CountMetric:
    """A metric as a function of summed counts.

    Attributes:
        counts: Predictions, targets and number of classes to the counts of each sample (n, cells).
        of: Summed counts (..., cells) and number of classes to the metric (...).
    """

    counts: Callable[[npt.NDArray[np.generic], Integers, int], Integers]
    of: Callable[[Floats, int], Floats]

    def value(
        self, predicted: npt.NDArray[np.generic], target: Integers, num_classes: int
    ) -> float:
        """The metric of all samples."""
        totals = self.counts(predicted, target, num_classes).sum(axis=0).astype(np.float64)
        return float(self.of(totals, num_classes))

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
        counts = [self.counts(predicted, target, num_classes) for predicted in predictions]
        totals = resample_totals(
            np.concatenate(counts, axis=1), place, seed=seed, resamples=resamples
        )
        parts = np.split(totals, len(predictions), axis=1)
        return np.stack([self.of(part, num_classes) for part in parts])


def _class_counts(
    predicted: npt.NDArray[np.generic], target: Integers, num_classes: int
) -> Integers:
    """Wrong and right predictions per class (n, 2 C)."""
    counts = np.zeros((len(target), 2 * num_classes), np.int64)
    counts[np.arange(len(target)), 2 * target + (predicted == target)] = 1
    return counts


def _label_counts(scores: npt.NDArray[np.generic], target: Integers, num_classes: int) -> Integers:
    """True positives, predicted positives and positives per label (n, 3 C)."""
    del num_classes
    positive = np.asarray(scores > THRESHOLD, np.int64)  # type: ignore[operator]
    return np.stack((positive * target, positive, target), axis=2).reshape(len(target), -1)


def _confusion(confusion: npt.NDArray[np.generic], target: Integers, num_classes: int) -> Integers:
    """Pixels per true and predicted class (n, C C), which is what segmentation gives."""
    del target
    return np.asarray(confusion, np.int64).reshape(-1, num_classes**2)


def _mean_where(values: Floats, there: npt.NDArray[np.bool_]) -> Floats:
    """Means over the last axis of the values that count; 0 where none does."""
    return np.asarray(np.where(there, values, 0).sum(axis=-1) / np.maximum(there.sum(axis=-1), 1))


def _divide(a: Floats, b: Floats) -> Floats:
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b > 0)


def _of_classes(totals: Floats, num_classes: int) -> tuple[Floats, Floats]:
    table = totals.reshape(*totals.shape[:-1], num_classes, 2)
    return table[..., 1], table.sum(axis=-1)


def _accuracy_macro(totals: Floats, num_classes: int) -> Floats:
    right, counts = _of_classes(totals, num_classes)
    return _mean_where(_divide(right, counts), counts > 0)


def _accuracy_overall(totals: Floats, num_classes: int) -> Floats:
    right, counts = _of_classes(totals, num_classes)
    return _divide(right.sum(axis=-1), counts.sum(axis=-1))


def _f1_macro(totals: Floats, num_classes: int) -> Floats:
    table = totals.reshape(*totals.shape[:-1], num_classes, 3)
    both = table[..., 1] + table[..., 2]
    # A label without a positive has no recall; it does not count, as in the other averages.
    return _mean_where(_divide(2 * table[..., 0], both), table[..., 2] > 0)


def _f1_micro(totals: Floats, num_classes: int) -> Floats:
    table = totals.reshape(*totals.shape[:-1], num_classes, 3).sum(axis=-2)
    return _divide(2 * table[..., 0], table[..., 1] + table[..., 2])


def _miou(totals: Floats, num_classes: int) -> Floats:
    table = totals.reshape(*totals.shape[:-1], num_classes, num_classes)
    inside = np.diagonal(table, axis1=-2, axis2=-1)
    true, found = table.sum(axis=-1), table.sum(axis=-2)
    return _mean_where(_divide(inside, true + found - inside), true > 0)


def _pixel_accuracy(totals: Floats, num_classes: int) -> Floats:
    table = totals.reshape(*totals.shape[:-1], num_classes, num_classes)
    inside = np.diagonal(table, axis1=-2, axis2=-1).sum(axis=-1)
    return _divide(inside, table.sum(axis=(-2, -1)))


ACCURACY_MACRO = CountMetric(_class_counts, _accuracy_macro)
ACCURACY_OVERALL = CountMetric(_class_counts, _accuracy_overall)
F1_MACRO = CountMetric(_label_counts, _f1_macro)
F1_MICRO = CountMetric(_label_counts, _f1_micro)
MIOU = CountMetric(_confusion, _miou)
PIXEL_ACCURACY = CountMetric(_confusion, _pixel_accuracy)
