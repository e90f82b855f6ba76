"""Pushes to the local Hub, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch

from georank_zoo.models.reload import fixed_features
from georank_zoo.publish.checks import CheckedFolder, check_publishable
from georank_zoo.publish.plan import plan_push
from georank_zoo.publish.upload import PushedModel, execute_plan
from georank_zoo.training.recipe import load_recipe
from tests.support.hub import Hub
from tests.support.models import make_export, make_network

REPO = "org/georank-moco-r18"


def make_model(folder: Path, seed: int = 0) -> CheckedFolder:
    """An export as a training run writes it, checked."""
    recipe = load_recipe("moco_georank", ["data.store=/home/somebody/stores/mine"])
    georank = {"name": recipe.name, "recipe_hash": recipe.hash, "step": 2, "versions": {}}
    make_export(
        folder, make_network(seed=seed), georank=georank, recipe=recipe.for_others().to_yaml()
    )
    return check_publishable(folder)


def push(model: CheckedFolder, repo: str = REPO, **options: Any) -> tuple[PushedModel, list[str]]:
    """Plans and publishes; what was published, and what was said meanwhile."""
    said: list[str] = []
    return execute_plan(plan_push(model, repo, **options), said.append), said


def kinds(hub: Hub) -> list[str]:
    """What was written, in order, without names."""
    return [write.split()[0] for write in hub.writes]


def shown(model: CheckedFolder) -> dict[str, bytes]:
    """Content by name, as it is to be found on the Hub."""
    return {file.name: file.path.read_bytes() for file in model.files}


def on_hub(hub: Hub, repo: str = REPO, revision: str = "main") -> dict[str, bytes]:
    """Content by name, without what the Hub puts into a new repository."""
    commit = hub.repos[repo].at(revision)
    assert commit is not None
    files = {name: blob.content for name, blob in commit.files.items()}
    files.pop(".gitattributes")
    return files


def loads_as(source: str, model: CheckedFolder) -> bool:
    """Whether timm gets the model's features from the Hub."""
    network = timm.create_model(source, pretrained=True).eval()
    return torch.equal(fixed_features(network, model.config), model.features)
