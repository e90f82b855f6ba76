"""MoCo v2 (He et al. 2020, "Momentum Contrast"; Chen et al. 2020, "Improved Baselines").

queries = student(view 1);  keys = teacher(view 2)              # unit vectors
loss    = cross_entropy([queries . keys, queries . queue] / T, 0)
queue   <- keys;  after the step: teacher <- m * teacher + (1 - m) * student

Unlike He et al. (section 3.3) the keys are not shuffled between processes for BatchNorm: each
process normalizes queries and keys over its own samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from georank_zoo.algorithms.base import Algorithm, StepOutput
from georank_zoo.algorithms.heads import ProjectionHead
from georank_zoo.algorithms.momentum import make_teacher, momentum_at, update_teacher
from georank_zoo.algorithms.queue import NegativeQueue
from georank_zoo.losses.nt_xent import nt_xent_queue
from georank_zoo.utils.errors import UsageError


class MoCo(Algorithm):
    """MoCo v2: a student's queries find a momentum teacher's keys among a queue of old keys.

    Args:
        backbone: Model that gives pooled features (B, backbone.num_features).
        hidden_dim: Width of the projection head.
        output_dim: Dimension of queries and keys.
        temperature: Temperature T of NT-Xent.
        queue_size: Number of negatives.
        momentum: Teacher's momentum at the start; rises to 1 along a half cosine over the run.

    Raises:
        UsageError: If a setting is out of range.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        hidden_dim: int = 2048,
        output_dim: int = 128,
        temperature: float = 0.04,
        queue_size: int = 4096,
        momentum: float = 0.996,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise UsageError(f"MoCo: temperature must be above 0, not {temperature:g}.")
        if not 0 <= momentum <= 1:
            raise UsageError(f"MoCo: momentum must lie in [0, 1], not {momentum:g}.")
        self.backbone = backbone
        self.projector = ProjectionHead(int(backbone.num_features), hidden_dim, output_dim)  # type: ignore[arg-type]
        self.teacher = make_teacher(nn.Sequential(self.backbone, self.projector))
        self.queue = NegativeQueue(queue_size, output_dim)
        self.embedding_dim = output_dim
        self.temperature = temperature
        self.momentum = momentum

    def forward(self, views: Sequence[torch.Tensor], latlon: torch.Tensor) -> StepOutput:
        """The loss of a batch, from its two views (B, C, H, W) each."""
        projected = self.projector(self.backbone(views[0])).float()
        queries = F.normalize(projected, dim=1)
        with torch.no_grad():
            keys = F.normalize(self.teacher(views[1]).float(), dim=1)
        negatives = self.queue.keys.clone()  # the backward pass needs them after the push
        with torch.autocast(queries.device.type, enabled=False):
            loss = nt_xent_queue(queries, keys, negatives, self.temperature)
        self.queue.push(keys)
        return StepOutput(loss, embeddings=(projected,))

    def advice(self, places: int, epochs: float) -> str | None:
        """Warning about a queue in which places meet their own older keys as negatives."""
        # An epoch is a permutation of the places, so with a queue of a quarter of them 3 % of
        # the queries find a key of their own place in it; with a queue of half of them, 12 %.
        size = len(self.queue.keys)
        if size <= places / 4:
            return None
        return (
            f"The queue of {size} keys is long for {places} places: many places will meet their "
            f"own older keys among the negatives. Better: algorithm.queue_size={places // 4}."
        )

    def end_step(self, progress: float) -> None:
        """Moves the teacher toward the student."""
        student = nn.Sequential(self.backbone, self.projector)
        update_teacher(self.teacher, student, momentum_at(progress, self.momentum))
