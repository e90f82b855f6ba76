"""Losses, and the registry of regularizers that a recipe chooses from.

A regularizer is a module called as `loss(embeddings, latlon)`, embeddings (B, D), positions
(B, 2) in degrees. Its keyword-only arguments are its keys in a recipe.
"""

from __future__ import annotations

from torch import nn

from georank_zoo.losses.georank import GeoRankLoss
from georank_zoo.losses.nt_xent import nt_xent_queue

REGULARIZERS: dict[str, type[nn.Module]] = {
    "georank": GeoRankLoss,
}

__all__ = ["REGULARIZERS", "GeoRankLoss", "nt_xent_queue"]
