"""DINO (Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers").

s_j  = student(crop j) for all crops;  t_i = teacher(crop i) for the two global ones
P_i  = softmax((t_i - C) / T_teacher)                           # centered and sharpened
loss = mean over i != j of the cross-entropy H(P_i, softmax(s_j / T_student))
C    <- c * C + (1 - c) * mean(t);  after the step: teacher <- m * teacher + (1 - m) * student

As in the authors' code crops of one size go through the backbone as one batch, so a BatchNorm sees
them together, and the head takes all crops at once; unlike there each process normalizes over its
own samples. The teacher sees the global crops once a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import nn

from georank_zoo.algorithms.base import Algorithm, StepOutput
from georank_zoo.algorithms.heads import DINOHead
from georank_zoo.algorithms.momentum import make_teacher, momentum_at, update_teacher
from georank_zoo.losses.dino import Center, dino_loss
from georank_zoo.utils.errors import UsageError


class DINO(Algorithm):
    """DINO: from any crop, the student predicts what a momentum teacher sees in the global crops.

    Args:
        backbone: Model that gives pooled features (B, backbone.num_features), for any image size.
        hidden_dim: Width of the head's two hidden layers.
        bottleneck_dim: Dimension of the unit vectors that meet the prototypes.
        output_dim: Number of prototypes, K.
        student_temperature: Temperature of the student's softmax.
        teacher_temperature: Temperature of the teacher's softmax; the lower, the sharper.
        center_momentum: Momentum c of the center, constant.
        momentum: Teacher's momentum at the start; rises to 1 along a half cosine over the run.
        freeze_last_layer_epochs: Epochs at the start in which the prototypes do not move.

    Raises:
        UsageError: If a setting is out of range.
    """

    takes_local_views = True

    def __init__(
        self,
        backbone: nn.Module,
        *,
        hidden_dim: int = 512,
        bottleneck_dim: int = 64,
        output_dim: int = 2048,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        center_momentum: float = 0.9,
        momentum: float = 0.996,
        freeze_last_layer_epochs: float = 1.0,
    ) -> None:
        super().__init__()
        if not (student_temperature > 0 and teacher_temperature > 0):
            raise UsageError(
                "DINO: student_temperature and teacher_temperature must be above 0, not "
                f"{student_temperature:g} and {teacher_temperature:g}."
            )
        if not (0 <= center_momentum <= 1 and 0 <= momentum <= 1):
            raise UsageError(
                "DINO: center_momentum and momentum must lie in [0, 1], not "
                f"{center_momentum:g} and {momentum:g}."
            )
        if not freeze_last_layer_epochs >= 0:
            raise UsageError(
                "DINO: freeze_last_layer_epochs must be 0 or more, not "
                f"{freeze_last_layer_epochs:g}."
            )
        features = int(backbone.num_features)  # type: ignore[arg-type]
        self.backbone = backbone
        self.projector = DINOHead(features, hidden_dim, bottleneck_dim, output_dim)
        self.teacher = make_teacher(nn.Sequential(self.backbone, self.projector))
        self.center = Center(output_dim, center_momentum)
        self.embedding_dim = output_dim
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        self.momentum = momentum
        self.freeze_last_layer_epochs = freeze_last_layer_epochs

    def forward(self, views: Sequence[torch.Tensor], latlon: torch.Tensor) -> StepOutput:
        """The loss of a batch, from two global crops (B, C, H, W), then local ones (B, C, h, w)."""
        student = self._student(views)
        with torch.no_grad():
            outputs = self.teacher(torch.cat((views[0], views[1]))).float()
        with torch.autocast(outputs.device.type, enabled=False):
            targets = torch.softmax((outputs - self.center.value) / self.teacher_temperature, dim=1)
            loss = dino_loss(student, targets.chunk(2), self.student_temperature)
            # log K: the teacher is indifferent to its input; 0: it always chooses one prototype.
            entropy = torch.special.entr(targets).sum(dim=1).mean()
        self.center.update(outputs)
        return StepOutput(
            loss,
            embeddings=(student[0], outputs.chunk(2)[0]),
            logs={"teacher_entropy": entropy},
        )

    def _student(self, views: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """The student's outputs (B, K) of each crop."""
        sizes = groupby(views, key=lambda view: view.shape[-2:])
        features = torch.cat([self.backbone(torch.cat(tuple(crops))) for _, crops in sizes])
        return tuple(self.projector(features).float().chunk(len(views)))

    def advice(self, places: int, epochs: float) -> str | None:
        """Warning about a run that ends before the prototypes begin to move."""
        if epochs > self.freeze_last_layer_epochs:
            return None
        return (
            f"The run is {epochs:.3g} epochs long and the prototypes stand still for the first "
            f"{self.freeze_last_layer_epochs:g}: they will never move. Better: a longer run, or "
            "algorithm.freeze_last_layer_epochs=0."
        )

    def before_step(self, epoch: float) -> None:
        """Keeps the prototypes as they are in the first epochs, as the authors' code does."""
        if epoch < self.freeze_last_layer_epochs:
            self.projector.last_layer.weight.grad = None

    def end_step(self, progress: float) -> None:
        """Moves the teacher toward the student."""
        student = nn.Sequential(self.backbone, self.projector)
        update_teacher(self.teacher, student, momentum_at(progress, self.momentum))
