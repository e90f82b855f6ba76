"""GeoRank: the order of similarities in a batch follows the order of great-circle distances."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from georank_zoo import distributed
from georank_zoo.errors import UsageError
from georank_zoo.geo import check_latlon, great_circle_km
from georank_zoo.ranking import average_rank, soft_rank

# The more samples, the closer their similarities lie, and the smaller the strength at which most
# pairs get a gradient while the ranks are still near the exact ones. Measured on embeddings of
# real patches at batches of 128, 256 and 512: see benchmarks/README.md, "Strength".
STRENGTH_TIMES_BATCH = 10.0


class GeoRankLoss(nn.Module):
    """The rank regulariser L_RankReg of GeoRank (Burgert et al., WACV 2026, arXiv 2601.02289).

    For each sample the others are ranked twice, by similarity (soft ranks, 1 for the most
    similar) and by great-circle distance (1 for the nearest, equal distances share their average
    rank); the loss is the mean deviation of the normalised ranks over the pairs in range.

        loss = GeoRankLoss()(embeddings, latlon)

    In a distributed run the ranks go over the batches of all processes: each process takes the
    rows of its own samples, and the mean of the processes' losses and gradients (what DDP forms)
    is that of one process with the joined batch. All processes must bring batches of one size.

    Args:
        temperature: Divides the cosine similarities.
        strength: Regularisation strength of the soft ranks, in the unit of similarity /
            temperature. Small is hard: gradients reach only nearly tied pairs. None, the default,
            takes `STRENGTH_TIMES_BATCH` over the number of samples that are ranked. The
            published value is 0.001, for batches of 512.
        min_km: Pairs nearer than this are left out.
        max_km: Pairs farther than this are left out.
        margin: Deviations of up to this many ranks cost nothing.
        distance: `mse` squares the deviation of normalised ranks, `l1` takes its absolute value.

    Raises:
        UsageError: If a setting is out of range.
    """

    def __init__(
        self,
        *,
        temperature: float = 0.04,
        strength: float | None = None,
        min_km: float = 0.0,
        max_km: float = 3000.0,
        margin: float = 1.0,
        distance: Literal["mse", "l1"] = "mse",
    ) -> None:
        super().__init__()
        if not (temperature > 0 and (strength is None or strength > 0)):
            raise UsageError("GeoRank: temperature and strength must be above 0.")
        if not 0 <= min_km < max_km:
            raise UsageError(f"GeoRank: need 0 <= min_km < max_km, not {min_km:g} and {max_km:g}.")
        if margin < 0:
            raise UsageError(f"GeoRank: margin must not be negative, not {margin:g}.")
        if distance not in ("mse", "l1"):
            raise UsageError(f"GeoRank: unknown distance {distance!r}. Choose from: l1, mse.")
        self.temperature = temperature
        self.strength = strength
        self.min_km = min_km
        self.max_km = max_km
        self.margin = margin
        self.distance = distance

    def extra_repr(self) -> str:
        """The settings, for `print(loss)`."""
        return (
            f"temperature={self.temperature}, strength={self.strength}, min_km={self.min_km}, "
            f"max_km={self.max_km}, margin={self.margin}, distance={self.distance!r}"
        )

    def forward(self, embeddings: torch.Tensor, latlon: torch.Tensor) -> torch.Tensor:
        """The loss of a batch.

        Args:
            embeddings: (B, D), any scale; computed in float32 or better, whatever comes in.
            latlon: Positions (B, 2), latitude and longitude in degrees, on any device.

        Returns:
            Scalar loss; 0 with gradient 0 when no pair is in range.

        Raises:
            UsageError: On fewer than 2 samples, unequal lengths or invalid positions.
        """
        latlon = latlon.to(embeddings.device)
        _check(embeddings, latlon)
        with torch.autocast(embeddings.device.type, enabled=False):
            return self._loss(embeddings, latlon)

    def _loss(self, embeddings: torch.Tensor, latlon: torch.Tensor) -> torch.Tensor:
        if embeddings.dtype != torch.float64:
            embeddings = embeddings.float()
        own = F.normalize(embeddings, dim=1)
        everyone, positions = distributed.gather(own), distributed.gather(latlon)
        others = _others(len(own), len(everyone), own.device)

        similarity = (own @ everyone.T / self.temperature).gather(1, others)
        km = great_circle_km(latlon, positions).gather(1, others)

        n = similarity.shape[1]
        # Ranks by similarity ascend with it, so n + 1 - rank is 1 for the most similar.
        strength = self.strength or STRENGTH_TIMES_BATCH / (n + 1)
        feature_rank = n + 1 - soft_rank(similarity, strength)
        geo_rank = average_rank(km).to(feature_rank.dtype)
        deviation = F.normalize(feature_rank, dim=1) - F.normalize(geo_rank, dim=1)

        # kappa = ||(1, ..., n)||, the norm of an untied row of ranks.
        kappa = math.sqrt(n * (n + 1) * (2 * n + 1) / 6)
        free = self.margin / kappa
        if self.distance == "mse":
            element, free = deviation.square(), free**2
        else:
            element = deviation.abs()
        in_range = (km >= self.min_km) & (km <= self.max_km)
        kept = element * (in_range & (element > free))

        # Over all processes; DDP's mean of the gradients makes up for the factor.
        processes = distributed.world()[0]
        pairs = distributed.all_sum(in_range.sum()).clamp(min=1)
        return kappa * kept.sum() * processes / pairs


def _check(embeddings: torch.Tensor, latlon: torch.Tensor) -> None:
    if embeddings.ndim != 2 or len(embeddings) != len(latlon):
        raise UsageError(
            f"GeoRank needs embeddings (B, D) and latlon (B, 2), not "
            f"{tuple(embeddings.shape)} and {tuple(latlon.shape)}."
        )
    if len(embeddings) * distributed.world()[0] < 2:
        raise UsageError("GeoRank compares samples with each other: it needs a batch of 2 or more.")
    check_latlon(latlon)


def _others(own: int, total: int, device: torch.device) -> torch.Tensor:
    """For each of this process's rows the columns of all samples but itself (own, total - 1)."""
    first = distributed.world()[1] * own
    column = torch.arange(total - 1, device=device)
    row = torch.arange(first, first + own, device=device)[:, None]
    return column + (column >= row)
