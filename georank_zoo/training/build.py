"""Construction of backbone, algorithm, objective, views and optimizer from a recipe."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]
from torch import nn

from georank_zoo.algorithms import ALGORITHMS, Algorithm
from georank_zoo.losses import REGULARIZERS
from georank_zoo.models.config import has_fixed_size
from georank_zoo.training.objective import Objective
from georank_zoo.training.recipe import Recipe
from georank_zoo.training.recipe_schema import RegularizerSection
from georank_zoo.utils.errors import RecipeError
from georank_zoo.views import VIEWS, Views

# timm calls SGD with Nesterov momentum `sgd` and the plain one `momentum`.
_TIMM_OPTIMIZERS = {"lars": "lars", "sgd": "momentum", "adam": "adam", "adamw": "adamw"}


def build_views(recipe: Recipe) -> Views:
    """The augmentation."""
    return VIEWS[recipe.views.name](**recipe.views.options())


def build_backbone(name: str, channels: int, sizes: Sequence[int] = ()) -> nn.Module:
    """A randomly initialized timm model that gives pooled features.

    Args:
        name: timm's architecture.
        channels: Bands of an image.
        sizes: Sides in pixels of the images to come, the model's own first; architectures that
            are built for one size are built for that one, and to interpolate for others.

    Raises:
        RecipeError: If timm has no such model, or not for these sizes.
    """
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise RecipeError(f"backbone.name: timm has no model {name!r}.{hint}")
    if "." in name:
        raise RecipeError(
            f"backbone.name: {name!r} names published weights; give the architecture alone "
            f"({name.split('.')[0]!r}): training starts from random weights."
        )
    options: dict[str, Any] = {"in_chans": channels, "num_classes": 0}
    if sizes and has_fixed_size(name):
        options["img_size"] = sizes[0]
        if len(sizes) > 1:
            options["dynamic_img_size"] = True
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, **options)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise RecipeError(
            f"backbone.name: timm does not build {name} for images of "
            f"{' and '.join(map(str, sizes))} px: {error}"
        ) from error
    return model


def check_backbone(recipe: Recipe, backbone: nn.Module, sizes: Sequence[int]) -> None:
    """Runs the backbone on an empty image of each size that the views have.

    Raises:
        RecipeError: If it does not take that size, or does not give one vector an image.
    """
    for size in sizes:
        _check_patches(recipe, backbone, size)
        _try(recipe, backbone, size)


def _check_patches(recipe: Recipe, backbone: nn.Module, size: int) -> None:
    patch_size = getattr(getattr(backbone, "patch_embed", None), "patch_size", None)
    side = patch_size[0] if isinstance(patch_size, tuple) else 1
    if size % side:
        key = "size" if size == recipe.image_size else "local_size"
        below = size // side * side
        fitting = f"{below} or {below + side}" if below else str(side)
        raise RecipeError(
            f"views.{key}: {recipe.backbone.name} cuts images into patches of {side} px and would "
            f"not see the last {size % side} px of {size}. Choose {fitting}."
        )


def _try(recipe: Recipe, backbone: nn.Module, size: int) -> None:
    images = torch.zeros(1, len(recipe.bands), size, size)
    training = backbone.training
    try:
        with torch.no_grad():
            features = backbone.eval()(images)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise RecipeError(
            f"backbone.name: {recipe.backbone.name} does not take images of {size} px: {error}"
        ) from error
    finally:
        backbone.train(training)
    if features.shape != (1, backbone.num_features):
        raise RecipeError(
            f"backbone.name: {recipe.backbone.name} does not give pooled features: an image "
            f"becomes {tuple(features.shape[1:])}."
        )


def build_algorithm(recipe: Recipe, views: Views) -> Algorithm:
    """The algorithm around its backbone, initialized from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    backbone = build_backbone(recipe.backbone.name, len(recipe.bands), views.sizes)
    return ALGORITHMS[recipe.algorithm.name](backbone, **recipe.algorithm.options())


def build_objective(recipe: Recipe, views: Views) -> Objective:
    """The algorithm and, unless the recipe is a baseline, its regularizer.

    Raises:
        RecipeError: If the backbone does not fit the views.
    """
    algorithm, section = build_algorithm(recipe, views), recipe.regularizer
    check_backbone(recipe, algorithm.backbone, views.sizes)
    if not isinstance(section, RegularizerSection):
        return Objective(algorithm)
    regularizer = REGULARIZERS[section.name](**section.options())
    return Objective(algorithm, regularizer, alpha=section.alpha, name=section.name)


def build_optimizer(recipe: Recipe, algorithm: nn.Module) -> torch.optim.Optimizer:
    """The optimizer over all trainable parameters, without decay of biases and norms."""
    section = recipe.optimizer
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        algorithm,
        opt=_TIMM_OPTIMIZERS[section.name],
        lr=section.lr,
        weight_decay=section.weight_decay,
        # Adam takes betas instead, and timm drops the argument for it.
        momentum=section.momentum,
    )
    return optimizer
