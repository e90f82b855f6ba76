"""SimSiam (Chen and He 2021, "Exploring Simple Siamese Representation Learning").

z_1, z_2 = projector(backbone(view 1)), projector(backbone(view 2))
p_1, p_2 = predictor(z_1), predictor(z_2)
D(p, z)  = -cos(p, stopgrad(z))
loss     = D(p_1, z_2) / 2 + D(p_2, z_1) / 2

As in the authors' code the views go through the network one after the other, so a BatchNorm sees
one view at a time; unlike there (section 3) each process normalizes over its own samples, and the
predictor's learning rate falls like all others (section 4.2 leaves it constant).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from georank_zoo.algorithms.base import Algorithm, StepOutput
from georank_zoo.algorithms.heads import BatchNormHead, SimSiamHead
from georank_zoo.losses.cosine import negative_cosine
from georank_zoo.utils.errors import UsageError


class SimSiam(Algorithm):
    """SimSiam: a predictor maps each view's projection to that of the other view.

    No negatives and no teacher: the stop-gradient keeps it from collapsing.

    Args:
        backbone: Model that gives pooled features (B, backbone.num_features).
        hidden_dim: Width of the projection head's two hidden layers.
        output_dim: Dimension of projections and predictions.
        predictor_dim: Width of the predictor, a bottleneck.

    Raises:
        UsageError: If a width is below 1.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        hidden_dim: int = 512,
        output_dim: int = 128,
        predictor_dim: int = 64,
    ) -> None:
        super().__init__()
        if predictor_dim < 1:
            raise UsageError(f"SimSiam: predictor_dim must be 1 or more, not {predictor_dim}.")
        self.backbone = backbone
        self.projector = SimSiamHead(int(backbone.num_features), hidden_dim, output_dim)  # type: ignore[arg-type]
        self.predictor = BatchNormHead(output_dim, predictor_dim, output_dim)
        self.embedding_dim = output_dim

    def forward(self, views: Sequence[torch.Tensor], latlon: torch.Tensor) -> StepOutput:
        """The loss of a batch, from its two views (B, C, H, W) each."""
        z1, z2 = (self.projector(self.backbone(view)) for view in views[:2])
        p1, p2 = self.predictor(z1).float(), self.predictor(z2).float()
        z1, z2 = z1.float(), z2.float()
        with torch.autocast(p1.device.type, enabled=False):
            loss = negative_cosine(p1, z2) / 2 + negative_cosine(p2, z1) / 2
        return StepOutput(loss, embeddings=(z1,))
