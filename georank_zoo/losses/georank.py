"""GeoRank: the order of similarities in a batch follows the order of great-circle distances."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F

from georank_zoo.losses.pairs import PairLoss
from georank_zoo.losses.soft_rank import average_rank_of_sorted, soft_rank, sort_rows
from georank_zoo.utils.errors import UsageError

# What counts is the strength in gaps between neighboring similarities: strength * temperature *
# batch / spread of the cosines. Between 1 and 10 of them most pairs get a gradient and it points
# best; with the spread of real embeddings, 0.1 to 0.25, this constant gives 2 to 4. Measured:
# benchmarks/README.md, "Strength of the rank loss".
STRENGTH_TEMPERATURE_BATCH = 0.4

# Distances are compared in steps of this many Earth radii (6 micrometers), so that rounding does
# not order places that are equally far.
DISTANCE_STEP = 2.0**-40


class GeoRankLoss(PairLoss):
    """The rank regularizer L_RankReg of GeoRank (Burgert et al., WACV 2026, arXiv 2601.02289).

    For each sample the others are ranked twice, by similarity (soft ranks, 1 for the most
    similar) and by great-circle distance (1 for the nearest, equal distances share their average
    rank); the loss is the mean deviation of the normalized ranks over the pairs in range.

        loss = GeoRankLoss()(embeddings, latlon)

    Equal distances (two dates of one place) share their average rank because any other order
    would be one that the data does not have: the loss does not depend on the order of the batch.

    Args:
        temperature: Divides the cosine similarities.
        strength: Regularization strength of the soft ranks, in the unit of similarity /
            temperature. Small is hard: gradients reach only nearly tied pairs. None, the default,
            takes 0.4 / (temperature * samples that are ranked), 0.02 for a batch of 512. The
            published value is 0.001.
        min_km: Pairs nearer than this are left out.
        max_km: Pairs farther than this are left out.
        margin: Deviations of up to this many ranks cost nothing.
        distance: `mse` squares the deviation of normalized ranks, `l1` takes its absolute value.

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
        super().__init__(min_km, max_km)
        if not (temperature > 0 and (strength is None or strength > 0)):
            raise UsageError("GeoRankLoss: temperature and strength must be above 0.")
        if margin < 0:
            raise UsageError(f"GeoRankLoss: margin must not be negative, not {margin:g}.")
        if distance not in ("mse", "l1"):
            raise UsageError(f"GeoRankLoss: unknown distance {distance!r}. Choose from: l1, mse.")
        self.temperature = temperature
        self.strength = strength
        self.margin = margin
        self.distance = distance

    def extra_repr(self) -> str:
        """The settings, for `print(loss)`."""
        return (
            f"temperature={self.temperature}, strength={self.strength}, min_km={self.min_km}, "
            f"max_km={self.max_km}, margin={self.margin}, distance={self.distance!r}"
        )

    def rows_sum(
        self, own: torch.Tensor, everyone: torch.Tensor, chord: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum of kappa * element over the pairs in range; see PairLoss."""
        # All columns from the nearest to the farthest. First comes the sample itself, at -1.
        steps, column = sort_rows((chord * (1 / DISTANCE_STEP)).round_())
        steps, column = steps[:, 1:], column[:, 1:]
        in_range = self.in_range(steps * DISTANCE_STEP)
        geo_rank = average_rank_of_sorted(steps)

        n = column.shape[1]
        similarity = ((own / self.temperature) @ everyone.T).gather(1, column)
        # Ranks by similarity ascend with it, so n + 1 - rank is 1 for the most similar.
        strength = self.strength or STRENGTH_TEMPERATURE_BATCH / (self.temperature * (n + 1))
        feature_rank = n + 1 - soft_rank(similarity, strength)
        deviation = F.normalize(feature_rank, dim=1) - F.normalize(geo_rank, dim=1)

        # kappa = ||(1, ..., n)||, the norm of an untied row of ranks.
        kappa = math.sqrt(n * (n + 1) * (2 * n + 1) / 6)
        free = self.margin / kappa
        if self.distance == "mse":
            element, free = deviation.square(), free**2
        else:
            element = deviation.abs()
        # Not `element > free`, which would hide a NaN.
        kept = torch.where(in_range & ~(element <= free), element, 0.0)
        return kappa * kept.sum(), in_range.sum()
