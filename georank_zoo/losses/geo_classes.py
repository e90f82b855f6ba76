"""Geography-aware classification: tell from the embedding in which part of the world it lies."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from georank_zoo.losses.base import Regularizer
from georank_zoo.losses.geo_clusters import fit_clusters, nearest_cluster
from georank_zoo.utils.errors import UsageError


class GeoClassesLoss(Regularizer):
    """The pretext task of Ayush et al. 2021, "Geography-Aware Self-Supervised Learning", sec. 4.2.

    The places are clustered beforehand, on the unit sphere; a linear head on the embedding
    predicts the cluster, with cross-entropy. `fit` must be called before the first batch.

    Args:
        clusters: Number of clusters.

    Raises:
        UsageError: If there are fewer than 2 clusters.
    """

    centers: torch.Tensor

    def __init__(self, *, clusters: int = 10) -> None:
        super().__init__()
        if clusters < 2:
            raise UsageError(f"GeoClassesLoss: clusters must be 2 or more, not {clusters}.")
        self.clusters = clusters
        self.head: nn.Linear | None = None

    def extra_repr(self) -> str:
        """The settings, for `print(loss)`."""
        return f"clusters={self.clusters}"

    def fit(self, places: torch.Tensor, embedding_dim: int) -> None:
        """Clusters the places (P, 2) and makes the head.

        Raises:
            UsageError: If there are fewer places than clusters.
        """
        self.register_buffer("centers", fit_clusters(places, self.clusters))
        self.head = nn.Linear(embedding_dim, self.clusters)

    def forward(self, embeddings: torch.Tensor, latlon: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of a batch: embeddings (B, D), positions (B, 2) in degrees.

        Raises:
            UsageError: If `fit` has not been called.
        """
        if self.head is None:
            raise UsageError("GeoClassesLoss: call fit(places, embedding_dim) before training.")
        clusters = nearest_cluster(latlon.to(self.centers.device), self.centers)
        with torch.autocast(embeddings.device.type, enabled=False):
            return F.cross_entropy(self.head(embeddings.to(self.head.weight.dtype)), clusters)
