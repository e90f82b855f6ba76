"""What a regularizer is to the trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn


class Regularizer(nn.Module, ABC):
    """A loss that brings geography into the embeddings.

    Its keyword-only constructor arguments are its keys in a recipe, with these defaults. State
    that a resumed run needs lies in parameters and persistent buffers.
    """

    @abstractmethod
    def forward(self, embeddings: torch.Tensor, latlon: torch.Tensor) -> torch.Tensor:
        """The loss of a batch: embeddings (B, D), positions (B, 2) in degrees -> scalar."""

    def fit(self, places: torch.Tensor, embedding_dim: int) -> None:
        """Called once before training; for what depends on the data.

        Args:
            places: Positions (P, 2) in degrees of all places that will be trained on.
            embedding_dim: D.
        """

    def diagnostics(self, latlon: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scalars worth logging now and then, for a batch at these positions (B, 2)."""
        return {}
