"""Tile2Vec (Jean et al. 2019, "Tile2Vec: Unsupervised representation learning", AAAI).

z    = projector(backbone(view))
loss = max(0, margin + |z - z_near| - |z - z_far|),  near within 15 km, far beyond 50 km

The triplets are formed within the batch, from positions: each sample that has a neighbor in the
batch is an anchor once a step, and draws which neighbor and which distant sample it gets. A batch
of random places of a large store holds hardly any neighbors; `data.neighbors_km` makes batches
that do, and `triplets` in the log is the share of samples that are anchors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from georank_zoo.algorithms.base import Algorithm, StepOutput
from georank_zoo.algorithms.heads import ProjectionHead
from georank_zoo.losses.triplet import geo_triplet
from georank_zoo.utils.errors import UsageError


class Tile2Vec(Algorithm):
    """Tile2Vec: near places have nearer embeddings than far ones, by a margin.

    Args:
        backbone: Model that gives pooled features (B, backbone.num_features).
        hidden_dim: Width of the projection head.
        output_dim: Dimension of the embeddings.
        margin: Least lead of the positive, in the unit of the embeddings.
        positive_km: Largest distance of a positive; it is not at the anchor's own position.
        negative_km: Distance beyond which negatives lie.

    Raises:
        UsageError: If a setting is out of range.
    """

    num_views = 1

    def __init__(
        self,
        backbone: nn.Module,
        *,
        hidden_dim: int = 2048,
        output_dim: int = 512,
        margin: float = 1.0,
        positive_km: float = 15.0,
        negative_km: float = 50.0,
    ) -> None:
        super().__init__()
        if not margin > 0:
            raise UsageError(f"Tile2Vec: margin must be above 0, not {margin:g}.")
        if not 0 < positive_km <= negative_km:
            raise UsageError(
                "Tile2Vec: need 0 < positive_km <= negative_km, not "
                f"{positive_km:g} and {negative_km:g}."
            )
        self.backbone = backbone
        # A bias of the last layer would cancel in the differences of embeddings.
        self.projector = ProjectionHead(
            int(backbone.num_features),  # type: ignore[arg-type]
            hidden_dim,
            output_dim,
            last_bias=False,
        )
        self.embedding_dim = output_dim
        self.margin = margin
        self.positive_km = positive_km
        self.negative_km = negative_km

    def forward(self, views: Sequence[torch.Tensor], latlon: torch.Tensor) -> StepOutput:
        """The loss of a batch, from its one view (B, C, H, W) and its positions (B, 2)."""
        projected = self.projector(self.backbone(views[0])).float()
        # From torch's generator, which the training loop seeds at each step.
        uniform = torch.rand(len(projected), 2, device=projected.device)
        with torch.autocast(projected.device.type, enabled=False):
            loss, triplets = geo_triplet(
                projected,
                latlon,
                uniform,
                margin=self.margin,
                positive_km=self.positive_km,
                negative_km=self.negative_km,
            )
        return StepOutput(loss, embeddings=(projected,), logs={"triplets": triplets})
