"""Negative cosine similarity with a stop-gradient."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def negative_cosine(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Negative mean cosine of predictions and targets; the targets are constants.

        loss = mean over i of -p_i . t_i / (|p_i| |t_i|)

    Source: Chen and He 2021, "Exploring Simple Siamese Representation Learning", equation 1 and
    algorithm 1. BYOL's loss (Grill et al. 2020, equation 2) is 2 + 2 times it.

    Args:
        predictions: Vectors (B, D) of any length, with gradient.
        targets: Vectors (B, D) of any length; no gradient flows into them.

    Returns:
        Scalar in [-1, 1].
    """
    return -F.cosine_similarity(predictions, targets.detach(), dim=1).mean()
