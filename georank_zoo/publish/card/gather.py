"""Facts of a model card, gathered from a model folder or a shipped recipe.

From a model folder: `config.json` (input contract, recipe, data and compute, as training recorded
them), `model.safetensors` (its hash), `footprint.json`. From the package: band names, and the
descriptions of algorithm and regularizer in methods.yaml. Scores come from results.csv alone; see
`evaluation.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
import yaml
from pydantic import TypeAdapter, ValidationError
from torch import nn

from georank_zoo import bands as s2
from georank_zoo.models.config import CONFIG, WEIGHTS, ModelConfig, load_config, own_file
from georank_zoo.models.folder import skeleton
from georank_zoo.models.footprint import read_footprint
from georank_zoo.publish.card.facts import (
    Change,
    Compute,
    Data,
    Facts,
    InputBand,
    Network,
    Weights,
    published_models,
)
from georank_zoo.training.finding_words import known_findings
from georank_zoo.training.recipe import (
    Recipe,
    list_recipes,
    load_recipe,
    parse_recipe,
    recipes_by_model,
)
from georank_zoo.utils.errors import ModelError, RecipeError
from georank_zoo.utils.files import sha256_of


def folder_facts(folder: Path) -> Facts:
    """The facts of a model folder.

    Raises:
        ModelError: If it is damaged, or a fact in its config has the wrong type.
    """
    config = load_config(folder)
    weights = own_file(folder, WEIGHTS)
    recipe = _recipe(config, folder)
    shipped = recipes_by_model().get(config.name)
    store = config.georank.get("store")
    with torch.random.fork_rng(devices=[]):
        network = skeleton(config)
    return Facts(
        name=config.name or folder.name,
        network=_describe(network, config.architecture, config.model_args),
        bands=tuple(
            InputBand(s2.BY_NAME[name], mean, std)
            for name, mean, std in zip(config.bands, config.mean, config.std, strict=True)
        ),
        image_size=config.image_size,
        recipe=recipe,
        recipe_hash=config.recipe_hash,
        shipped=shipped,
        changes=_changes(recipe, shipped),
        data=None if store is None else _typed(Data, store, "georank.store", folder),
        compute=(
            _typed(Compute, config.georank, "georank", folder) if "step" in config.georank else None
        ),
        weights=Weights(
            sha256_of(weights), sha256_of(folder / CONFIG), weights.stat().st_size
        ),
        footprint=read_footprint(folder),
        findings=tuple(known_findings(config.georank.get("findings"))),
    )  # fmt: skip


def recipe_facts(name: str) -> Facts:
    """The facts of a shipped recipe, whose weights are not at hand.

    Raises:
        RecipeError: If there is no such recipe.
    """
    if name not in list_recipes():
        raise RecipeError(
            f"No shipped recipe {name!r}. Choose from: {', '.join(list_recipes())}. A recipe of "
            "your own has a card when it is trained: georank card <run folder>."
        )
    recipe = load_recipe(name)
    return Facts(
        name=recipe.name,
        network=_recipe_network(recipe.backbone.name, len(recipe.bands)),
        bands=tuple(InputBand(s2.BY_NAME[band], None, None) for band in recipe.bands),
        image_size=recipe.image_size,
        recipe=recipe,
        recipe_hash=recipe.hash,
        shipped=name,
        published=published_models().get(recipe.name),
    )


@cache  # the recipes share a few architectures
def _recipe_network(architecture: str, channels: int) -> Network:
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        network = timm.create_model(architecture, num_classes=0, in_chans=channels)
    return _describe(network, architecture, {"in_chans": channels})


def _describe(network: nn.Module, architecture: str, model_args: Mapping[str, Any]) -> Network:
    """The facts of a network, and of its feature maps, where timm gives any."""
    arguments = {k: v for k, v in model_args.items() if k not in ("num_classes", "global_pool")}
    try:
        # Which layers these are, only timm's own feature extractor of the architecture knows.
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            maps: Any = timm.create_model(architecture, features_only=True, **arguments)
        info = maps.feature_info
        channels, strides = tuple(info.channels()), tuple(info.reduction())
    except (RuntimeError, TypeError, AttributeError, AssertionError, KeyError):
        channels, strides = (), ()  # timm takes no feature maps out of this architecture
    return Network(
        architecture=architecture,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        num_features=int(network.num_features),  # type: ignore[arg-type]
        channels=channels,
        strides=strides,
    )


def _recipe(config: ModelConfig, folder: Path) -> Recipe | None:
    raw = config.georank.get("recipe")
    if raw is None:
        return None
    where = f"{folder / CONFIG}: georank.recipe"
    return parse_recipe(yaml.safe_dump(raw), where=where)


def _changes(recipe: Recipe | None, shipped: str | None) -> tuple[Change, ...]:
    """How a recipe differs from the shipped one."""
    if recipe is None or shipped is None:
        return ()
    different = recipe.differences(load_recipe(shipped))
    return tuple(Change(key, here, there) for key, (here, there) in different.items())


def _typed(kind: type[Any], raw: object, key: str, folder: Path) -> Any:
    try:
        return TypeAdapter(kind).validate_python(raw)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join([key, *map(str, problem["loc"])])
        raise ModelError(
            f"{folder / CONFIG}: {place}: {problem['msg']}. Export the model again with this "
            "version."
        ) from error
