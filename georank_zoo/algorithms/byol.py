"""BYOL (Grill et al. 2020, "Bootstrap Your Own Latent").

z_1, z_2 = student(view 1), student(view 2)                     # backbone and projector
t_1, t_2 = teacher(view 1), teacher(view 2)                     # without gradient
loss     = -cos(predictor(z_1), t_2) / 2 - cos(predictor(z_2), t_1) / 2
after the step: teacher <- m * teacher + (1 - m) * student

The paper's loss, the squared distance of unit vectors in both directions, is 4 + 4 times this one.
As in the authors' code the views go through the networks one after the other, so a BatchNorm sees
one view at a time; unlike there each process normalizes over its own samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from georank_zoo.algorithms.base import Algorithm, StepOutput
from georank_zoo.algorithms.heads import BatchNormHead
from georank_zoo.algorithms.momentum import make_teacher, momentum_at, update_teacher
from georank_zoo.losses.cosine import negative_cosine
from georank_zoo.utils.errors import UsageError


class BYOL(Algorithm):
    """BYOL: a predictor maps the student's projection of a view to the teacher's of the other.

    Args:
        backbone: Model that gives pooled features (B, backbone.num_features).
        hidden_dim: Width of the projection head.
        output_dim: Dimension of projections and predictions.
        predictor_dim: Width of the predictor.
        momentum: Teacher's momentum at the start; rises to 1 along a half cosine over the run.

    Raises:
        UsageError: If a setting is out of range.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        hidden_dim: int = 1024,
        output_dim: int = 256,
        predictor_dim: int = 1024,
        momentum: float = 0.996,
    ) -> None:
        super().__init__()
        if predictor_dim < 1:
            raise UsageError(f"BYOL: predictor_dim must be 1 or more, not {predictor_dim}.")
        if not 0 <= momentum <= 1:
            raise UsageError(f"BYOL: momentum must lie in [0, 1], not {momentum:g}.")
        self.backbone = backbone
        self.projector = BatchNormHead(int(backbone.num_features), hidden_dim, output_dim)  # type: ignore[arg-type]
        self.predictor = BatchNormHead(output_dim, predictor_dim, output_dim)
        self.teacher = make_teacher(nn.Sequential(self.backbone, self.projector))
        self.embedding_dim = output_dim
        self.momentum = momentum

    def forward(self, views: Sequence[torch.Tensor], latlon: torch.Tensor) -> StepOutput:
        """The loss of a batch, from its two views (B, C, H, W) each."""
        z1, z2 = (self.projector(self.backbone(view)) for view in views[:2])
        p1, p2 = self.predictor(z1).float(), self.predictor(z2).float()
        with torch.no_grad():
            t1, t2 = (self.teacher(view).float() for view in views[:2])
        with torch.autocast(p1.device.type, enabled=False):
            loss = negative_cosine(p1, t2) / 2 + negative_cosine(p2, t1) / 2
        return StepOutput(loss, embeddings=(z1.float(),))

    def end_step(self, progress: float) -> None:
        """Moves the teacher toward the student."""
        student = nn.Sequential(self.backbone, self.projector)
        update_teacher(self.teacher, student, momentum_at(progress, self.momentum))
