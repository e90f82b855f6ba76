"""What `rank_loss.py` compares `GeoRankLoss` with: the same loss made in two other ways."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import isotonic_regression

from georank_zoo.geo import EARTH_RADIUS_KM, great_circle_km

TEMPERATURE, MAX_KM, MARGIN = 0.04, 3000.0, 1.0  # as published


class SoftRankOfRow(torch.autograd.Function):
    """Soft rank of one row on the CPU (Blondel et al. 2020, l2 regularization)."""

    @staticmethod
    def forward(ctx: Any, row: torch.Tensor, strength: float) -> torch.Tensor:
        scaled = row.numpy() / strength
        order = np.argsort(scaled)[::-1]
        ordered = scaled[order]
        fit = isotonic_regression(ordered - np.arange(len(row), 0, -1), increasing=False)
        ctx.order, ctx.fit, ctx.strength = order, fit.x, strength
        ranks = np.empty_like(scaled)
        ranks[order] = ordered - fit.x
        return torch.from_numpy(ranks)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        ordered = gradient.numpy()[ctx.order]
        means = np.empty_like(ordered)
        # As the published implementation does it, in Python: looks for the blocks, then takes their
        # means one by one. At its strength most blocks are single entries.
        starts = [0]
        for place in range(1, len(ordered)):
            if abs(ctx.fit[place] - ctx.fit[place - 1]) > 1e-9:
                starts.append(place)
        for start, stop in itertools.pairwise([*starts, len(ordered)]):
            means[start:stop] = np.sum(ordered[start:stop]) / (stop - start)
        result = np.empty_like(ordered)
        result[ctx.order] = (ordered - means) / ctx.strength
        return torch.from_numpy(result), None


def per_row(embeddings: torch.Tensor, latlon: torch.Tensor, strength: float) -> torch.Tensor:
    """The loss with soft ranks row by row and distances in numpy, both on the CPU in float64."""
    device, batch = embeddings.device, len(embeddings)
    rows = cosine_similarity(embeddings).cpu().double().unbind()
    soft = torch.stack([SoftRankOfRow.apply(row, strength) for row in rows]).to(device)
    km = torch.from_numpy(haversine_km(latlon.cpu().numpy())).to(device)
    return rank_term(batch - soft, without_diagonal(km))


def with_torchsort(embeddings: torch.Tensor, latlon: torch.Tensor, strength: float) -> torch.Tensor:
    """The loss in batched torch, with torchsort's soft ranks."""
    import torchsort

    similarity = cosine_similarity(embeddings)
    # In float64, as in the other two.
    soft = torchsort.soft_rank(
        similarity.double(), regularization="l2", regularization_strength=strength
    ).to(similarity.dtype)
    return rank_term(len(embeddings) - soft, without_diagonal(great_circle_km(latlon, latlon)))


def cosine_similarity(embeddings: torch.Tensor) -> torch.Tensor:
    """Cosine similarities over the temperature (B, B - 1), each sample with the others."""
    unit = F.normalize(embeddings, dim=1)
    return without_diagonal(unit @ unit.T / TEMPERATURE)


def without_diagonal(square: torch.Tensor) -> torch.Tensor:
    """(B, B) -> (B, B - 1)."""
    batch = len(square)
    # Rows of B + 1 entries put the diagonal into one column; cheaper than a boolean mask.
    return square.flatten()[1:].view(batch - 1, batch + 1)[:, :-1].reshape(batch, batch - 1)


def haversine_km(latlon: np.ndarray) -> np.ndarray:
    """Great-circle distances (B, B) in km of positions (B, 2) in degrees."""
    lat, lon = np.radians(latlon).T
    half = np.sin((lat[:, None] - lat) / 2) ** 2
    half += np.cos(lat[:, None]) * np.cos(lat) * np.sin((lon[:, None] - lon) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(half.clip(0, 1)))


def rank_term(feature_rank: torch.Tensor, km: torch.Tensor) -> torch.Tensor:
    """The loss of ranks by similarity (B, n) and distances (B, n), both without the diagonal."""
    geo_rank = (km.argsort(dim=1).argsort(dim=1) + 1).to(feature_rank.dtype)
    element = (F.normalize(feature_rank, dim=1) - F.normalize(geo_rank, dim=1)).square()
    norm = torch.arange(1, km.shape[1] + 1, dtype=torch.float64).norm().item()
    in_range = km <= MAX_KM
    kept = element * (in_range & (element > (MARGIN / norm) ** 2))
    return norm * kept.sum() / in_range.sum()
