"""Interface of the self-supervised algorithms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn


@dataclass
class StepOutput:
    """Result of an algorithm on one batch of views.

    Attributes:
        loss: The self-supervised loss, a scalar.
        embeddings: Outputs (B, D) for a regularizer, whose loss is averaged over them.
        logs: Scalars for the log, without gradient.
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
        backbone: The timm model that is exported; gives pooled features (B, num_features).
        embedding_dim: Dimension D of the embeddings in `StepOutput`.
        num_views: Number of full-size views of each sample that `forward` takes.
        takes_local_views: Whether `forward` also takes small crops, after the full-size views.
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
        """Warning about a run of this length on so many places, or None.

        Args:
            places: Number of places that are trained on.
            epochs: Length of the whole run in passes over them.
        """
        return None

    def before_step(self, epoch: float) -> None:
        """Called before each optimizer step, after its backward pass; `epoch` counts from 0."""

    def end_step(self, progress: float) -> None:
        """Called after each optimizer step; `progress` in (0, 1] is its share of the run."""
