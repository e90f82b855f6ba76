"""DINO: cross-entropy between crops, and the center of the teacher's outputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from georank_zoo.utils import distributed


def dino_loss(
    student: Sequence[torch.Tensor], targets: Sequence[torch.Tensor], temperature: float
) -> torch.Tensor:
    """Cross-entropy of the teacher's view of a crop with the student's views of the others.

        loss = mean over i != j and the batch of  -sum over K of P_i log softmax(s_j / temperature)

    Source: Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers",
    equation 3.

    Args:
        student: Logits s_j (B, K) of each crop; crop i is the same as target i.
        targets: Probabilities P_i (B, K) of the first crops, without gradient.
        temperature: Divisor of the student's logits.

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
    """Moving average of the teacher's outputs over all processes (equation 4 of the paper).

        center <- momentum * center + (1 - momentum) * mean of the outputs

    Subtracted from these, it keeps any one dimension from winning everywhere. The buffer is
    persistent: a resumed run continues with the same center.

    Args:
        dim: Dimension K of the outputs.
        momentum: Share of the old center in the new one.
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
