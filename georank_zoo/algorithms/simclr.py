"""SimCLR (Chen et al. 2020, "A Simple Framework for Contrastive Learning").

z_1, z_2 = projector(backbone(view 1, view 2))                  # unit vectors
l(i, j)  = -log(exp(z_i . z_j / T) / sum of exp(z_i . z_k / T) over all views k != i)
loss     = mean of l over the 2N pairs (view, other view of the same sample)

Negatives are the other views of the whole batch, over all processes. As in the authors' code both
views go through the network as one batch, so a BatchNorm sees them together; unlike there
(section 2.2) each process normalizes over its own samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from georank_zoo.algorithms.base import Algorithm, StepOutput
from georank_zoo.algorithms.heads import SimCLRHead
from georank_zoo.losses.nt_xent import nt_xent
from georank_zoo.utils.errors import UsageError


class SimCLR(Algorithm):
    """SimCLR: each view finds the other view of its sample among all views of the batch.

    Args:
        backbone: Model that gives pooled features (B, backbone.num_features).
        hidden_dim: Width of the projection head.
        output_dim: Dimension of the projections.
        temperature: Temperature T of NT-Xent; 0.1 is the paper's for ImageNet (table 5).

    Raises:
        UsageError: If a setting is out of range.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        hidden_dim: int = 2048,
        output_dim: int = 2048,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise UsageError(f"SimCLR: temperature must be above 0, not {temperature:g}.")
        self.backbone = backbone
        self.projector = SimCLRHead(int(backbone.num_features), hidden_dim, output_dim)  # type: ignore[arg-type]
        self.embedding_dim = output_dim
        self.temperature = temperature

    def forward(self, views: Sequence[torch.Tensor], latlon: torch.Tensor) -> StepOutput:
        """The loss of a batch, from its two views (B, C, H, W) each."""
        projected = self.projector(self.backbone(torch.cat((views[0], views[1])))).float()
        first, second = projected.chunk(2)
        with torch.autocast(projected.device.type, enabled=False):
            loss = nt_xent(F.normalize(first, dim=1), F.normalize(second, dim=1), self.temperature)
        return StepOutput(loss, embeddings=(first,))
