"""Geography-aware self-supervised learning on Sentinel-2."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from georank_zoo.data.merge import merge_stores as merge_stores
    from georank_zoo.data.prepare import prepare_store as prepare_store
    from georank_zoo.data.store.patch_store import PatchStore as PatchStore
    from georank_zoo.data.store.patch_store import open_store as open_store
    from georank_zoo.embed.raster import embed_scene as embed_scene
    from georank_zoo.embed.table import embed_store as embed_store
    from georank_zoo.eval.evaluate import evaluate as evaluate
    from georank_zoo.eval.results.compare import Comparison as Comparison
    from georank_zoo.eval.results.compare import compare as compare
    from georank_zoo.eval.results.scores import Scores as Scores
    from georank_zoo.eval.tasks import list_tasks as list_tasks
    from georank_zoo.health import doctor as doctor
    from georank_zoo.losses.georank import GeoRankLoss as GeoRankLoss
    from georank_zoo.models.encoder import Encoder as Encoder
    from georank_zoo.models.encoder import create_model as create_model
    from georank_zoo.publish.catalog import list_models as list_models
    from georank_zoo.publish.push import push as push
    from georank_zoo.training.recipe import Recipe as Recipe
    from georank_zoo.training.recipe import list_recipes as list_recipes
    from georank_zoo.training.recipe import load_recipe as load_recipe
    from georank_zoo.training.run import Run as Run
    from georank_zoo.training.run import open_run as open_run
    from georank_zoo.training.trainer import train as train

    __version__: str

# Resolved on first use: importing the package must not import torch.
_MODULES = {
    "data.merge": ("merge_stores",),
    "data.prepare": ("prepare_store",),
    "data.store.patch_store": ("PatchStore", "open_store"),
    "embed.raster": ("embed_scene",),
    "embed.table": ("embed_store",),
    "eval.evaluate": ("evaluate",),
    "eval.results.compare": ("Comparison", "compare"),
    "eval.results.scores": ("Scores",),
    "eval.tasks": ("list_tasks",),
    "health": ("doctor",),
    "losses.georank": ("GeoRankLoss",),
    "models.encoder": ("Encoder", "create_model"),
    "publish.catalog": ("list_models",),
    "publish.push": ("push",),
    "training.recipe": ("Recipe", "list_recipes", "load_recipe"),
    "training.run": ("Run", "open_run"),
    "training.trainer": ("train",),
}
_HOME = {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}

__all__ = sorted(["__version__", *_HOME])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("georank-zoo")
    elif name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return list(__all__)
