"""Training objective: a self-supervised loss and a regularizer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from georank_zoo.algorithms import Algorithm
from georank_zoo.losses import Regularizer
from georank_zoo.training import diagnostics


class Objective(nn.Module):
    """alpha * L_SSL + (1 - alpha) * L_Reg (GeoRank paper); L_SSL alone without a regularizer.

    Args:
        algorithm: Self-supervised algorithm, which gives a loss and embeddings.
        regularizer: Loss of embeddings (B, D) and positions (B, 2) in degrees.
        alpha: Weight of the self-supervised loss.
        name: Name of the regularizer in logs.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        regularizer: Regularizer | None = None,
        *,
        alpha: float = 1.0,
        name: str = "regularizer",
    ) -> None:
        super().__init__()
        self.algorithm = algorithm
        self.regularizer = regularizer
        self.alpha = alpha
        self.name = name

    def fit(self, places: torch.Tensor) -> None:
        """Fits the regularizer to the places (P, 2) in degrees that will be trained on."""
        if self.regularizer is not None:
            self.regularizer.fit(places, self.algorithm.embedding_dim)

    def forward(
        self, views: Sequence[torch.Tensor], latlon: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """The loss of a batch.

        Args:
            views: The views (B, C, H, W) of the algorithm.
            latlon: Positions (B, 2) in degrees.

        Returns:
            The scalar loss, its parts for the log, and the first embeddings (B, D), detached.
        """
        output = self.algorithm(views, latlon)
        loss, logs = output.loss, {"loss_ssl": output.loss.detach(), **output.logs}
        if self.regularizer is not None:
            term = torch.stack([self.regularizer(z, latlon) for z in output.embeddings]).mean()
            loss = self.alpha * loss + (1 - self.alpha) * term
            logs[f"loss_{self.name}"] = term.detach()
        return loss, {"loss": loss.detach(), **logs}, output.embeddings[0].detach()

    def diagnostics(
        self, embeddings: torch.Tensor, latlon: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Diagnostics of a batch's embeddings (B, D) at positions (B, 2)."""
        own = {} if self.regularizer is None else self.regularizer.diagnostics(latlon)
        return {
            "embedding_std": diagnostics.embedding_std(embeddings),
            "effective_rank": diagnostics.effective_rank(embeddings),
            "geo_spearman": diagnostics.geo_spearman(embeddings, latlon),
            **own,
        }
