"""From logits to losses, predictions and what validation compares, for classes and for labels.

Targets are classes (N,), or labels (N, C) as 0 and 1 where a sample may have several.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from georank_zoo.eval.metrics.average_precision import AP_MACRO
from georank_zoo.eval.metrics.counts import ACCURACY_MACRO


def cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean over the samples; of labels the sum of the binary entropies of a sample."""
    if target.ndim == 1:
        return F.cross_entropy(logits, target)
    losses = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
    return losses.sum(dim=1).mean()


def predict(logits: torch.Tensor, *, multi_label: bool) -> npt.NDArray[Any]:
    """Classes (N,), or scores (N, C) between 0 and 1, on the CPU."""
    if multi_label:
        return logits.double().sigmoid().float().cpu().numpy()
    return logits.argmax(dim=1).cpu().numpy()


def validation_score(logits: torch.Tensor, label: npt.NDArray[np.int64]) -> tuple[float, float]:
    """What validation compares: the task's macro score and, where that is equal, the entropy.

    Args:
        logits: (N, C).
        label: Classes (N,) or labels (N, C).

    Returns:
        The larger, the better.
    """
    metric = AP_MACRO if label.ndim == 2 else ACCURACY_MACRO
    predicted = predict(logits, multi_label=label.ndim == 2)
    entropy = float(cross_entropy(logits, torch.from_numpy(label)))
    return metric.value(predicted, label, logits.shape[1]), -entropy
