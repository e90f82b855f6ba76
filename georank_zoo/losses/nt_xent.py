"""NT-Xent (InfoNCE) within the batch, as in SimCLR, and against a queue, as in MoCo."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from georank_zoo.utils import distributed


def nt_xent(first: torch.Tensor, second: torch.Tensor, temperature: float) -> torch.Tensor:
    """NT-Xent of the 2N views of a batch: each must find the other view of its sample.

        l(i, j) = -log(exp(z_i . z_j / T) / sum over k != i of exp(z_i . z_k / T))
        loss    = mean of l(i, j) over the 2N ordered pairs (i, j) of views of one sample

    N counts the samples of all processes. Each process takes the mean over its own views; the mean
    over the processes, which DDP takes of their gradients, is the loss of the joined batch.

    Source: Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual
    Representations", equation 1 and algorithm 1.

    Args:
        first: Unit vectors (B, D) of the first views, with gradient.
        second: Unit vectors (B, D) of the second views of the same samples, with gradient.
        temperature: Divisor T of the similarities.

    Returns:
        Scalar: the mean cross-entropy over this process's 2B views.
    """
    batch = len(first)
    pairs = distributed.gather(torch.stack((first, second), dim=1))  # (N, 2, D)
    candidates = pairs.transpose(0, 1).flatten(0, 1)  # (2N, D): all first views, then all second
    own = torch.arange(batch, device=first.device) + distributed.world()[1] * batch
    itself = torch.cat((own, own + len(pairs)))
    positive = torch.cat((own + len(pairs), own))
    logits = torch.cat((first, second)) @ candidates.T / temperature
    return F.cross_entropy(logits.scatter(1, itself[:, None], -torch.inf), positive)


def nt_xent_queue(
    queries: torch.Tensor, keys: torch.Tensor, negatives: torch.Tensor, temperature: float
) -> torch.Tensor:
    """NT-Xent of queries: each must find its key among the negatives.

        p_i  = exp(q_i . k_i / T);  n_i = sum over negatives n of exp(q_i . n / T)
        loss = mean over i of -log(p_i / (p_i + n_i))

    Source: He et al. 2020, "Momentum Contrast", equation 1.

    Args:
        queries: Unit vectors (B, D), with gradient.
        keys: Unit vectors (B, D): the i-th is the positive of the i-th query.
        negatives: Unit vectors (K, D).
        temperature: Divisor T of the similarities.

    Returns:
        Scalar: the mean cross-entropy.
    """
    positive = (queries * keys).sum(dim=1, keepdim=True)
    logits = torch.cat((positive, queries @ negatives.T), dim=1) / temperature
    return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))
