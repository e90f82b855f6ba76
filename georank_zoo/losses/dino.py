"""DINO's cross-entropy between crops, and the center of its teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from georank_zoo.utils import distributed


def dino_loss(
    student: Sequence[torch.Tensor], targets: Sequence[torch.Tensor], temperature: float
) -> torch.Tensor:
    """The student's view of each crop must predict the teacher's view of the other crops.

    Source: Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers",
    equation 3: the mean of H(target i, student j) over all pairs of crops with i != j.

    Args:
        student: Logits (B, K) of each crop; crop i is the same as target i.
        targets: Probabilities (B, K) of the first crops, without gradient.
        temperature: Divides the student's logits.

    Returns:
        Scalar: the mean over pairs of crops and over the batch.
    """
    predictions = [F.log_softmax(logits / temperature, dim=1) for logits in student]
    terms = [
        -(target * prediction).sum(dim=1).mean()
        for i, target in enumerate(targets)
        for j, prediction in enumerate(predictions)
        if i != j
    ]
    return torch.stack(terms).mean()


class Center(nn.Module):
    """The moving average of the teacher's outputs over all processes (equation 4 of the paper).

    Subtracted from these, it keeps any one dimension from winning everywhere. The buffer is
    persistent: a resumed run goes on with the same center.

    Args:
        dim: Of the outputs, K.
        momentum: Share of the old center that an update keeps.
    """

    value: torch.Tensor

    def __init__(self, dim: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.zeros(dim))

    @torch.no_grad()
    def update(self, outputs: torch.Tensor) -> None:
        """Moves toward the mean of the outputs (n, K) of this process and all others."""
        processes = distributed.world()[0]
        mean = distributed.all_sum(outputs.to(self.value.dtype).mean(dim=0)) / processes
        self.value.lerp_(mean, 1 - self.momentum)
