"""Diagnostics of embeddings: collapse, effective rank, order by distance."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from georank_zoo.geo import chords, exact_dtype, unit_vectors
from georank_zoo.losses.soft_rank import average_rank


@torch.no_grad()
def embedding_std(embeddings: torch.Tensor) -> torch.Tensor:
    """Mean standard deviation of the unit embeddings (B, D), times sqrt(D).

    1 for directions that are spread evenly, 0 for a collapsed model (Chen & He 2021, SimSiam,
    section 4.1).
    """
    unit = F.normalize(embeddings.float(), dim=1)
    spread: torch.Tensor = unit.std(dim=0).mean()
    return spread * math.sqrt(unit.shape[1])


@torch.no_grad()
def effective_rank(embeddings: torch.Tensor) -> torch.Tensor:
    """Number of directions that the unit embeddings (B, D) use, between 1 and min(B, D).

    The exponential of the entropy of the normalized singular values (Roy & Vetterli 2007, "The
    effective rank"; Garrido et al. 2023, RankMe).
    """
    unit = F.normalize(embeddings.to(exact_dtype(embeddings.device)), dim=1)
    # Through the smaller Gram matrix: much cheaper than a singular value decomposition.
    gram = unit @ unit.T if len(unit) < unit.shape[1] else unit.T @ unit
    gram = gram.nan_to_num()  # it would fail on NaN, which the loss shows
    share = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    total = share.sum().clamp(min=torch.finfo(share.dtype).tiny)  # of embeddings that are all zero
    entropy: torch.Tensor = torch.special.entr(share / total).sum()
    return entropy.exp()


@torch.no_grad()
def geo_spearman(embeddings: torch.Tensor, latlon: torch.Tensor) -> torch.Tensor:
    """Spearman's correlation of similarity with nearness, mean over the samples.

    Args:
        embeddings: (B, D), B > 2.
        latlon: Positions (B, 2) in degrees.

    Returns:
        Scalar in [-1, 1]; 1 where each sample's most similar are its nearest, in order.
    """
    unit = F.normalize(embeddings.to(exact_dtype(embeddings.device)), dim=1)
    points = unit_vectors(latlon.to(unit.device))
    a, b = (_ranks_of_others(x) for x in (unit @ unit.T, -chords(points, points)))
    correlation: torch.Tensor = F.cosine_similarity(a, b, dim=1).mean()
    return correlation


def _ranks_of_others(values: torch.Tensor) -> torch.Tensor:
    """Each row's ranks (B, B) without the diagonal, less their mean; 0 on the diagonal."""
    ranks = average_rank(values.fill_diagonal_(math.inf))
    return (ranks - len(values) / 2).fill_diagonal_(0)
