"""Geography-aware classification: the part of the world that an embedding comes from."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import nn

from georank_zoo.losses.base import Regularizer, to_tensor
from georank_zoo.losses.geo_clusters import fit_clusters, nearest_cluster
from georank_zoo.utils.errors import UsageError


class GeoClassesLoss(Regularizer):
    """Pretext task of Ayush et al. 2021, "Geography-Aware Self-Supervised Learning", section 4.2.

        c_i  = number of the cluster of places nearest to position i, on the unit sphere
        loss = mean over i of cross_entropy(W z_i + b, c_i)

    `fit` finds the clusters and makes the head W, b: call it before the optimizer is made.

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

    def fit(self, places: torch.Tensor | ArrayLike, embedding_dim: int) -> None:
        """Clusters the places and makes the head.

        Args:
            places: Positions (P, 2), latitude and longitude in degrees.
            embedding_dim: Dimension D of the embeddings.

        Raises:
            UsageError: If there are fewer places than clusters.
        """
        places = to_tensor(places, "GeoClassesLoss: places")
        self.register_buffer("centers", fit_clusters(places, self.clusters))
        self.head = nn.Linear(embedding_dim, self.clusters)

    def forward(
        self, embeddings: torch.Tensor | ArrayLike, latlon: torch.Tensor | ArrayLike
    ) -> torch.Tensor:
        """Mean cross-entropy of a batch.

        Args:
            embeddings: (B, D): a tensor, an array or a list of rows. Only tensors have a gradient.
            latlon: Positions (B, 2), latitude and longitude in degrees, likewise.

        Raises:
            UsageError: If `fit` has not been called, on other shapes or invalid positions.
        """
        if self.head is None:
            raise UsageError("GeoClassesLoss: call fit(places, embedding_dim) before training.")
        embeddings, latlon = self.to_batch(embeddings, latlon)
        clusters = nearest_cluster(latlon.to(self.centers.device), self.centers)
        with torch.autocast(embeddings.device.type, enabled=False):
            return F.cross_entropy(self.head(embeddings.to(self.head.weight.dtype)), clusters)
