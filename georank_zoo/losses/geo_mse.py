"""GeoBasic: cosine distances in a batch are proportional to great-circle distances."""

from __future__ import annotations

import torch

from georank_zoo.geo import km_of_chord
from georank_zoo.losses.pairs import PairLoss
from georank_zoo.utils.errors import UsageError


class GeoMSELoss(PairLoss):
    """Regularizer of GeoBasic, the rival without ranks in GeoRank's comparison.

    For embeddings z_i at positions that are d_ij km apart:

        e_ij = (1 - cos(z_i, z_j) - spacing - d_ij / max_km) / temperature
        loss = mean over the pairs with min_km <= d_ij <= max_km
               of e_ij^2, or 0 where that is at most (margin / temperature)^2

    Source: the code of Burgert et al. 2026 (see `georank_zoo.losses.georank`), which takes latitude
    for longitude; fed with (longitude, latitude) it gives this.

    Args:
        temperature: Divisor of both distances.
        spacing: Cosine distance of samples at 0 km.
        min_km: Least distance of the pairs compared.
        max_km: Largest distance of the pairs compared; there the cosine distance should be
            1 + spacing.
        margin: Deviation of the two distances that costs nothing.

    Raises:
        UsageError: If a setting is out of range.

    Example:
        >>> import numpy as np
        >>> from georank_zoo.losses import GeoMSELoss
        >>> latlon = [(48.1, 11.6), (52.5, 13.4), (41.9, 12.5)]  # degrees
        >>> loss = GeoMSELoss()(np.eye(3), latlon)
    """

    def __init__(
        self,
        *,
        temperature: float = 0.04,
        spacing: float = 0.1,
        min_km: float = 0.0,
        max_km: float = 8000.0,
        margin: float = 0.1,
    ) -> None:
        super().__init__(min_km, max_km)
        if not temperature > 0:
            raise UsageError(f"GeoMSELoss: temperature must be above 0, not {temperature:g}.")
        if margin < 0:
            raise UsageError(f"GeoMSELoss: margin must not be negative, not {margin:g}.")
        self.temperature = temperature
        self.spacing = spacing
        self.margin = margin

    def extra_repr(self) -> str:
        """The settings, for `print(loss)`."""
        return (
            f"temperature={self.temperature}, spacing={self.spacing}, min_km={self.min_km}, "
            f"max_km={self.max_km}, margin={self.margin}"
        )

    def rows_sum(
        self, own: torch.Tensor, everyone: torch.Tensor, chord: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum of the elements over the pairs in range of some rows, and their number."""
        in_range = self.in_range(chord)
        target = km_of_chord(chord) / self.max_km
        element = ((1 - own @ everyone.T - self.spacing - target) / self.temperature).square()
        # Equal embeddings of one place lie on the edge where `spacing` is the margin, as it is by
        # default: rounding must not decide there.
        tolerance = (self.margin / self.temperature) ** 2 * (1 + 1e-9)
        return torch.where(in_range & ~(element <= tolerance), element, 0.0).sum(), in_range.sum()
