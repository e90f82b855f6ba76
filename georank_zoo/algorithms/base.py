"""What an algorithm is to the trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn


@dataclass
class StepOutput:
    """What an algorithm makes of one batch of views.

    Attributes:
        loss: The self-supervised loss, a scalar.
        embeddings: Outputs (B, D) that a regularizer works on; it is averaged over them.
        logs: Scalars worth logging, without gradient.
    """

    loss: torch.Tensor
    embeddings: tuple[torch.Tensor, ...]
    logs: dict[str, torch.Tensor] = field(default_factory=dict)


class Algorithm(nn.Module, ABC):
    """A self-supervised algorithm around a backbone.

    The constructor takes the backbone and then keyword-only arguments: these are the keys of the
    recipe's `algorithm` section, with these defaults. State that a resumed run needs lies in
    parameters and persistent buffers.

    Attributes:
        backbone: A timm model that gives pooled features (B, num_features); what is exported.
        embedding_dim: Dimension D of the embeddings that `forward` gives to regularizers.
        num_views: Full-size views of each sample that `forward` takes.
        takes_local_views: Whether it also takes small crops, after the full-size views.
    """

    backbone: nn.Module
    embedding_dim: int
    num_views: int = 2
    takes_local_views: bool = False

    @abstractmethod
    def forward(self, views: Sequence[torch.Tensor], latlon: torch.Tensor) -> StepOutput:
        """The loss of a batch.

        Args:
            views: One batch (B, C, H, W) per view.
            latlon: Positions (B, 2) in degrees; for algorithms that choose their pairs by place.
        """

    def advice(self, places: int, epochs: float) -> str | None:
        """What the user should hear before training, if anything.

        Args:
            places: Places that are trained on.
            epochs: Length of the whole run in passes over them.
        """
        return None

    def before_step(self, epoch: float) -> None:
        """Called before each optimizer step, with its gradients there; `epoch` counts from 0."""

    def end_step(self, progress: float) -> None:
        """Called after each optimizer step; `progress` in (0, 1] is its share of the run."""
