"""Losses of a batch, and the registry of regularizers that a recipe chooses from."""

from __future__ import annotations

from georank_zoo.losses.base import Regularizer
from georank_zoo.losses.cosine import negative_cosine
from georank_zoo.losses.dino import dino_loss
from georank_zoo.losses.geo_classes import GeoClassesLoss
from georank_zoo.losses.geo_mse import GeoMSELoss
from georank_zoo.losses.georank import GeoRankLoss
from georank_zoo.losses.nt_xent import nt_xent, nt_xent_queue
from georank_zoo.losses.triplet import geo_triplet

REGULARIZERS: dict[str, type[Regularizer]] = {
    "georank": GeoRankLoss,
    "geobasic": GeoMSELoss,
    "geo_classes": GeoClassesLoss,
}

__all__ = [
    "REGULARIZERS",
    "GeoClassesLoss",
    "GeoMSELoss",
    "GeoRankLoss",
    "Regularizer",
    "dino_loss",
    "geo_triplet",
    "negative_cosine",
    "nt_xent",
    "nt_xent_queue",
]
