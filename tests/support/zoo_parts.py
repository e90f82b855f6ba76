"""Finished runs, and entries of a catalog, for tests."""

from __future__ import annotations

from pathlib import Path

from georank_zoo.bands import S2_12
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.publish.catalog import CatalogEntry, FileFacts
from georank_zoo.publish.checks import CheckedFolder
from georank_zoo.training.recipe import load_recipe
from georank_zoo.training.run import Run
from georank_zoo.training.trainer import train
from tests.support.training import TINY


def finished_run(store: PatchStore, folder: Path, name: str = "moco_georank") -> Run:
    """A run of a shipped recipe, as small as it goes."""
    settings = [f"data.store={store.path}", *TINY, "train.steps=2", "schedule.warmup_epochs=0"]
    return train(load_recipe(name, settings), folder)


def make_entry(weights: str = "a" * 64, **changes: object) -> CatalogEntry:
    """An entry of a catalog that no Hub knows."""
    sha256 = {"config.json": "b" * 64, "model.safetensors": weights}
    facts = {
        "recipe": "moco_georank", "recipe_hash": "0123456789abcdef", "trained_on": "somewhere",
        "repo": "org/georank-moco-r18", "revision": "c" * 40, "tag": None, "license": "cc-by-4.0",
        "architecture": "resnet18", "num_features": 512, "bands": S2_12, "image_size": 120,
        "files": {name: FileFacts(sha256=sha, size=1) for name, sha in sha256.items()},
    }  # fmt: skip
    return CatalogEntry.model_validate({**facts, **changes})


def entry_of(model: CheckedFolder, commit: str, **changes: object) -> CatalogEntry:
    """The entry of a model that was pushed as a commit."""
    files = {file.name: FileFacts(sha256=file.sha256, size=file.size) for file in model.files}
    config = model.config
    return make_entry(
        revision=commit, files=files, architecture=config.architecture,
        image_size=config.image_size, **changes,
    )  # fmt: skip
