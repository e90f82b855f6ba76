"""What to watch while a model trains."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from georank_zoo.geo import exact_dtype, great_circle_km
from georank_zoo.ranking import average_rank


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
def geo_spearman(embeddings: torch.Tensor, latlon: torch.Tensor) -> torch.Tensor:
    """How far similarity follows nearness: Spearman's correlation, mean over the samples.

    Args:
        embeddings: (B, D), B > 2.
        latlon: Positions (B, 2) in degrees.

    Returns:
        Scalar in [-1, 1]; 1 where each sample's most similar are its nearest, in order.
    """
    unit = F.normalize(embeddings.to(exact_dtype(embeddings.device)), dim=1)
    off_diagonal = ~torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    similarity = (unit @ unit.T)[off_diagonal].view(len(unit), -1)
    nearness = -great_circle_km(latlon, latlon)[off_diagonal].view(len(unit), -1)
    a, b = (average_rank(x) for x in (similarity, nearness.to(similarity.dtype)))
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    correlation: torch.Tensor = F.cosine_similarity(a, b, dim=1).mean()
    return correlation
