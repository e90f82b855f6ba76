"""Pixels per true and predicted class, which all metrics of masks follow from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from georank_zoo.data.patch import UNKNOWN
from georank_zoo.data.store import PatchStore
from georank_zoo.eval.splits import Split

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
