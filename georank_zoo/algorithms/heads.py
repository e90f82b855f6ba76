"""Projection and prediction heads.

Layers before a BatchNorm have no bias: it would be subtracted again.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from georank_zoo.utils.errors import UsageError


def _check(**widths: int) -> None:
    for name, width in widths.items():
        if width < 1:
            raise UsageError(f"{name} must be 1 or more, not {width}.")


class ProjectionHead(nn.Sequential):
    """Linear, ReLU, linear: the head of MoCo v2 (Chen et al. 2020, section 3)."""

    def __init__(
        self, in_dim: int, hidden_dim: int, out_dim: int, *, last_bias: bool = True
    ) -> None:
        _check(hidden_dim=hidden_dim, output_dim=out_dim)
        super().__init__(
            nn.Linear(in_dim, hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, out_dim, bias=last_bias),
        )


class BatchNormHead(nn.Sequential):
    """Linear, BatchNorm, ReLU, linear: both heads of BYOL and the predictor of SimSiam.

    Sources: Grill et al. 2020 (BYOL), section 3.3; Chen and He 2021 (SimSiam), section 3.
    """

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int) -> None:
        _check(hidden_dim=hidden_dim, output_dim=out_dim)
        super().__init__(
            nn.Linear(in_dim, hidden_dim, bias=False),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, out_dim),
        )


class SimCLRHead(nn.Sequential):
    """Linear, BatchNorm, ReLU, linear, BatchNorm: the head of SimCLR.

    The paper (Chen et al. 2020, section 2.1) writes W2 relu(W1 h); its code, and lightly, have a
    BatchNorm after each of the two layers.
    """

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int) -> None:
        _check(hidden_dim=hidden_dim, output_dim=out_dim)
        super().__init__(
            nn.Linear(in_dim, hidden_dim, bias=False),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, out_dim, bias=False),
            nn.BatchNorm1d(out_dim),
        )


class SimSiamHead(nn.Sequential):
    """Three linear layers, each with BatchNorm, the first two with ReLU: SimSiam's projector.

    Source: Chen and He 2021, section 3, and their code, whose last BatchNorm has no parameters.
    """

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int) -> None:
        _check(hidden_dim=hidden_dim, output_dim=out_dim)
        super().__init__(
            nn.Linear(in_dim, hidden_dim, bias=False),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, hidden_dim, bias=False),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, out_dim, bias=False),
            nn.BatchNorm1d(out_dim, affine=False),
        )


class DINOHead(nn.Module):
    """Three linear layers with GELU, then the cosines with K prototypes: DINO's head.

    Caron et al. 2021, section 3.1: a bottleneck, its L2 norm, and a weight-normed last layer whose
    lengths stay 1, so that its outputs are the cosines of the bottleneck with the rows of
    `last_layer.weight`, whatever the length of these. They are computed in float32 under autocast
    too: a temperature of 0.04 turns the rounding of bfloat16 into a tenth of a logit.
    """

    def __init__(self, in_dim: int, hidden_dim: int, bottleneck_dim: int, out_dim: int) -> None:
        _check(hidden_dim=hidden_dim, bottleneck_dim=bottleneck_dim, output_dim=out_dim)
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(in_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, bottleneck_dim),
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)  # the authors' code
                nn.init.zeros_(layer.bias)
        self.last_layer = nn.Linear(bottleneck_dim, out_dim, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, in_dim) -> cosines (B, out_dim)."""
        bottleneck = self.mlp(features)
        prototypes = self.last_layer.weight
        with torch.autocast(features.device.type, enabled=False):
            bottleneck = F.normalize(bottleneck.to(prototypes.dtype), dim=1)
            return F.linear(bottleneck, F.normalize(prototypes, dim=1))
