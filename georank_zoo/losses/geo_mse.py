"""GeoBasic: dissimilarity in a batch is proportional to great-circle distance."""

from __future__ import annotations

import torch

from georank_zoo.geo import km_of_chord
from georank_zoo.losses.pairs import PairLoss
from georank_zoo.utils.errors import UsageError


class GeoMSELoss(PairLoss):
    """The regularizer of GeoBasic, the rival without ranks in GeoRank's comparison.

    For each pair in range the cosine distance beyond `spacing` should be the distance of the
    places over `max_km`; the loss is the mean squared error of the two, both over `temperature`.

        loss = GeoMSELoss()(embeddings, latlon)

    Args:
        temperature: Divides both distances.
        spacing: Cosine distance that places at 0 km should keep.
        min_km: Pairs nearer than this are left out.
        max_km: Distance at which the cosine distance should be 1 + spacing. Pairs farther than
            this are left out.
        margin: Deviations of the two distances of up to this cost nothing.

    Raises:
        UsageError: If a setting is out of range.
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
        """Sum of the squared errors over the pairs in range; see PairLoss."""
        in_range = self.in_range(chord)
        target = km_of_chord(chord) / self.max_km
        deviation = (1 - own @ everyone.T - self.spacing - target) / self.temperature
        element = deviation.square()
        # Equal embeddings of one place lie on the edge where `spacing` is the margin, as it is by
        # default: rounding must not decide there.
        free = (self.margin / self.temperature) ** 2 * (1 + 1e-9)
        return torch.where(in_range & ~(element <= free), element, 0.0).sum(), in_range.sum()
