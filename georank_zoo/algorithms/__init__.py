"""Self-supervised algorithms, and the registry that a recipe chooses from."""

from __future__ import annotations

from georank_zoo.algorithms.base import Algorithm, StepOutput
from georank_zoo.algorithms.moco import MoCo

ALGORITHMS: dict[str, type[Algorithm]] = {
    "moco": MoCo,
}

__all__ = ["ALGORITHMS", "Algorithm", "MoCo", "StepOutput"]
