"""Projection heads."""

from __future__ import annotations

from torch import nn


class ProjectionHead(nn.Sequential):
    """Linear, ReLU, linear: the head of MoCo v2 (Chen et al. 2020, section 3)."""

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int) -> None:
        super().__init__(
            nn.Linear(in_dim, hidden_dim), nn.ReLU(inplace=True), nn.Linear(hidden_dim, out_dim)
        )
