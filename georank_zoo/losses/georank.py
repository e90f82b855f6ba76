"""GeoRank: the order of similarities in a batch follows the order of great-circle distances.

`GeoRankLoss` is the regularizer L_RankReg of Burgert, Hackel, Rota and Demir, "Rank-based
Geographical Regularization" (WACV 2026, arXiv 2601.02289), which is trained with a contrastive
loss L_SSL:

    L = alpha * L_SSL + (1 - alpha) * L_RankReg

Sources. Of the paper only the abstract was at hand; the steps, given in `GeoRankLoss`, are those of
the authors' code (github.com/tomburgert/georank at 4754634), whose values and gradients they
reproduce (tests/losses/test_georank.py). Soft ranks: Blondel et al. 2020, "Fast Differentiable
Sorting and Ranking"; see `georank_zoo.losses.soft_rank`.

Published settings. temperature 0.04, strength 0.001, min_km 0, max_km 3000, margin 1, distance
"mse", alpha 0.5 (the code's alpha weighs the geographic term, the paper's and ours the other one);
on the output of the projection head for the first view (BYOL: of the predictor; DINO: the mean over
student and teacher). Our defaults are these but for the strength.

Strength. Soft ranks differ from exact ones, and have a gradient, only where similarities are closer
than the strength, so what counts is how many gaps between neighbors it spans:

    strength * temperature * samples / (standard deviation of a row's cosines)

Between 1 and 10 of them most pairs get a gradient and it points best. The published strength
spans 0.1 to 0.2 in a batch of 512, and reaches a few percent of the pairs. Our default is 0.4 /
(temperature * samples): 2 to 4 gaps at the spreads of real embeddings, 0.1 to 0.25.
Measured: benchmarks/README.md, "Strength of the rank loss".

Where we depart from the published implementation:

- Equal distances share their average rank; there, their order in the batch decides. Two dates of
  one place are equally far from everything, and any order of theirs would be made up.
- A batch without a pair in range costs 0, with gradient 0; there, NaN.
- Ranks go over the batches of all processes; there, over one GPU's.
- All rows are ranked at once on the device of the embeddings; there, row by row in Python on the
  CPU, distances too. Time and memory: benchmarks/README.md, "The rank loss".
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F

from georank_zoo.losses.pairs import PairLoss
from georank_zoo.losses.soft_rank import average_rank_of_sorted, soft_rank, sort_rows
from georank_zoo.utils.errors import UsageError

# Distances are compared in steps of this many Earth radii (6 micrometers), so that rounding does
# not order places that are equally far.
DISTANCE_STEP = 2.0**-40


def default_strength(temperature: float, samples: int) -> float:
    """Regularization strength that suits so many ranked samples; see the head of this module."""
    return 0.4 / (temperature * samples)


class GeoRankLoss(PairLoss):
    """Rank regularizer L_RankReg (Burgert et al. 2026): similarities ordered as distances are.

    Each sample i of B ranks the n = B - 1 others j twice, by similarity of the embeddings z and by
    distance of the positions, and compares the ranks:

        s_ij  = cos(z_i, z_j) / temperature
        r_i   = soft_rank(s_i; strength)            1 to n, n for the most similar
        x_i   = (B - r_i) / |B - r_i|               ranks by similarity, 1 for the most similar,
                                                    as a unit vector
        d_ij  = great-circle distance in km
        y_i   = rank(d_i) / |rank(d_i)|             ranks by distance, 1 for the nearest, equal
                                                    distances share their average, as a unit vector
        kappa = |(1, ..., n)| = sqrt(n (n + 1) (2n + 1) / 6)
        e_ij  = (x_ij - y_ij)^2, or 0 where that is at most (margin / kappa)^2
        loss  = kappa * mean of e_ij over the pairs with min_km <= d_ij <= max_km

    kappa is the length of a row of ranks before it is made a unit vector: kappa * (x - y) is a
    deviation in ranks, so `margin` counts ranks. With `distance="l1"` e_ij is |x_ij - y_ij|, or 0
    where that is at most margin / kappa, and the loss is a mean deviation in ranks. All ranks count
    all samples; min_km and max_km choose the pairs that are compared. The right order costs 0, a
    random one of places all over the globe about sqrt(B) / 2 (`l1`: B / 2).

    The loss does not depend on the order of the batch. In a distributed run B counts the samples
    of all processes; see `PairLoss`. Nothing waits for the device.

    Args:
        temperature: Divisor of the cosine similarities.
        strength: Regularization strength of the soft ranks, in the unit of s. The smaller, the
            harder: gradients reach only nearly tied pairs. None, the default, is 0.4 /
            (temperature * B), 0.02 for a batch of 512. The published value is 0.001.
        min_km: Least distance of the pairs compared.
        max_km: Largest distance of the pairs compared.
        margin: Deviation that costs nothing, in ranks.
        distance: Comparison of the ranks: `mse`, the squared deviation, or `l1`, the absolute one.

    Raises:
        UsageError: If a setting is out of range.

    Example:
        >>> import georank_zoo as gz
        >>> import torch
        >>> rank_loss = gz.GeoRankLoss(max_km=3000)
        >>> embeddings = torch.randn(4, 128, requires_grad=True)  # of a projection head
        >>> latlon = [(48.1, 11.6), (52.5, 13.4), (41.9, 12.5), (40.4, -3.7)]  # degrees
        >>> loss = rank_loss(embeddings, latlon)
        >>> loss.backward()
        >>> embeddings.grad.shape
        torch.Size([4, 128])

        Arrays give a value without gradient. Here the similarities fall as the distances grow:

        >>> import numpy as np
        >>> angle = np.array([0.0, 0.1, 0.3, 0.8])
        >>> embeddings = np.stack((np.cos(angle), np.sin(angle)), axis=1)
        >>> latlon = np.stack((np.zeros(4), 20 * angle), axis=1)  # along the equator
        >>> float(gz.GeoRankLoss(strength=0.001)(embeddings, latlon))
        0.0
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
        """Sum of kappa * e over the pairs in range of some rows, and their number; see PairLoss.

        The columns of s, x, y and e stand in the order of the distances, the nearest first.
        """
        # The sample itself, at -1, comes first of its row and is dropped.
        d, column = sort_rows((chord * (1 / DISTANCE_STEP)).round_())
        d, column = d[:, 1:], column[:, 1:]
        in_range = self.in_range(d * DISTANCE_STEP)

        samples = column.shape[1] + 1
        s = ((own / self.temperature) @ everyone.T).gather(1, column)
        r = soft_rank(s, self.strength or default_strength(self.temperature, samples))
        x = F.normalize(samples - r, dim=1)
        y = F.normalize(average_rank_of_sorted(d), dim=1)

        kappa = norm_of_ranks(samples - 1)
        if self.distance == "mse":
            e, tolerance = (x - y).square(), (self.margin / kappa) ** 2
        else:
            e, tolerance = (x - y).abs(), self.margin / kappa
        # Not `e > tolerance`, which would hide a NaN.
        kept = torch.where(in_range & ~(e <= tolerance), e, 0.0)
        return kappa * kept.sum(), in_range.sum()


def norm_of_ranks(n: int) -> float:
    """kappa, the Euclidean norm of (1, ..., n)."""
    return math.sqrt(n * (n + 1) * (2 * n + 1) / 6)
