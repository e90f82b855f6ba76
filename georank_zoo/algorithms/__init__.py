"""Self-supervised algorithms, and the registry of them that a recipe chooses from."""

from __future__ import annotations

from georank_zoo.algorithms.base import Algorithm, StepOutput
from georank_zoo.algorithms.byol import BYOL
from georank_zoo.algorithms.dino import DINO
from georank_zoo.algorithms.moco import MoCo
from georank_zoo.algorithms.simclr import SimCLR
from georank_zoo.algorithms.simsiam import SimSiam
from georank_zoo.algorithms.tile2vec import Tile2Vec

ALGORITHMS: dict[str, type[Algorithm]] = {
    "byol": BYOL,
    "dino": DINO,
    "moco": MoCo,
    "simclr": SimCLR,
    "simsiam": SimSiam,
    "tile2vec": Tile2Vec,
}

__all__ = [
    "ALGORITHMS",
    "BYOL",
    "DINO",
    "Algorithm",
    "MoCo",
    "SimCLR",
    "SimSiam",
    "StepOutput",
    "Tile2Vec",
]
