"""NT-Xent against a queue of negatives (InfoNCE)."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def nt_xent_queue(
    queries: torch.Tensor, keys: torch.Tensor, negatives: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Each query must find its key among the negatives.

    Source: He et al. 2020, "Momentum Contrast", equation 1.

    Args:
        queries: Unit vectors (B, D), with gradient.
        keys: Unit vectors (B, D): the i-th is the positive of the i-th query.
        negatives: Unit vectors (K, D).
        temperature: Divides the similarities.

    Returns:
        Scalar: the mean cross-entropy.
    """
    positive = (queries * keys).sum(dim=1, keepdim=True)
    logits = torch.cat((positive, queries @ negatives.T), dim=1) / temperature
    return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))
