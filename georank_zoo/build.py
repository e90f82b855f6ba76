"""Recipe -> the objects of a run."""

from __future__ import annotations

import difflib

import timm
import torch
from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]
from torch import nn

from georank_zoo.algorithms import ALGORITHMS, Algorithm
from georank_zoo.errors import RecipeError
from georank_zoo.losses import REGULARIZERS
from georank_zoo.objective import Objective
from georank_zoo.recipe import Recipe
from georank_zoo.sections import RegularizerSection
from georank_zoo.views import VIEWS, GeometricViews

# timm calls SGD with Nesterov momentum `sgd` and the plain one `momentum`.
_TIMM_OPTIMIZERS = {"lars": "lars", "sgd": "momentum", "adam": "adam", "adamw": "adamw"}


def build_backbone(name: str, channels: int) -> nn.Module:
    """A randomly initialised timm model that gives pooled features.

    Raises:
        RecipeError: If timm has no such model.
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
    model: nn.Module = timm.create_model(name, pretrained=False, in_chans=channels, num_classes=0)
    return model


def check_backbone(recipe: Recipe, backbone: nn.Module) -> None:
    """Tries the backbone on one empty image of the views' size.

    Raises:
        RecipeError: If it does not take that size, or does not give one vector an image.
    """
    size = build_views(recipe).size
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


def build_algorithm(recipe: Recipe) -> Algorithm:
    """The algorithm around its backbone, initialised from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    backbone = build_backbone(recipe.backbone.name, len(recipe.bands))
    return ALGORITHMS[recipe.algorithm.name](backbone, **recipe.algorithm.options())


def build_objective(recipe: Recipe) -> Objective:
    """The algorithm and, unless the recipe is a baseline, its regularizer.

    Raises:
        RecipeError: If the backbone does not fit the views.
    """
    algorithm, section = build_algorithm(recipe), recipe.regularizer
    check_backbone(recipe, algorithm.backbone)
    if not isinstance(section, RegularizerSection):
        return Objective(algorithm)
    regularizer = REGULARIZERS[section.name](**section.options())
    return Objective(algorithm, regularizer, alpha=section.alpha, name=section.name)


def build_views(recipe: Recipe) -> GeometricViews:
    """The augmentation."""
    return VIEWS[recipe.views.name](**recipe.views.options())


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
