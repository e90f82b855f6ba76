"""Geography-aware self-supervised learning on Sentinel-2."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from georank_zoo.data.store.patch_store import PatchStore
    from georank_zoo.losses.georank import GeoRankLoss
    from georank_zoo.models.encoder import create_model

__all__ = ["GeoRankLoss", "PatchStore", "create_model"]

# Resolved on first use: importing the package must not import torch.
_EXPORTS = {
    "GeoRankLoss": "georank_zoo.losses.georank",
    "PatchStore": "georank_zoo.data.store.patch_store",
    "create_model": "georank_zoo.models.encoder",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)
