"""A model folder that is to be published: what must lie in it, and what must not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import timm
import torch
import yaml
from huggingface_hub import ModelCard
from torch import nn

from georank_zoo.models.config import (
    CARD,
    CARD_MAP,
    CONFIG,
    RECIPE,
    WEIGHTS,
    ModelConfig,
    load_config,
)
from georank_zoo.models.folder import disallowed_files, load_network
from georank_zoo.models.footprint import FOOTPRINT, read_footprint
from georank_zoo.publish.card import write_folder
from georank_zoo.training import recipe
from georank_zoo.utils.errors import ModelError, RecipeError, plain
from georank_zoo.utils.files import sha256_of

NEEDED = (WEIGHTS, CONFIG, CARD, RECIPE)
OPTIONAL = ("LICENSE", FOOTPRINT, CARD_MAP)

# What timm may raise on a model that it cannot build or fill.
TIMM_ERRORS = (RuntimeError, TypeError, ValueError, KeyError, AssertionError)


@dataclass(frozen=True)
class LocalFile:
    """A file to be published."""

    path: Path

    @property
    def name(self) -> str:
        """Its path in the repository."""
        return self.path.name

    @cached_property
    def size(self) -> int:
        """In bytes."""
        return self.path.stat().st_size

    @cached_property
    def sha256(self) -> str:
        """What the Hub calls a large file by."""
        return sha256_of(self.path)

    @cached_property
    def git_sha1(self) -> str:
        """What the Hub calls a small file by: its blob's name in git."""
        content = self.path.read_bytes()
        blob = b"blob %d\0" % len(content) + content
        return hashlib.sha1(blob, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Publishable:
    """A checked model folder.

    Attributes:
        features: Of `fixed_images`, which timm has to give again after the download.
    """

    folder: Path
    config: ModelConfig
    files: tuple[LocalFile, ...]
    features: torch.Tensor


def check_folder(folder: str | Path, *, repo: str | None = None) -> Publishable:
    """Checks that a folder may be published: its files, and that timm loads it as we do.

    A folder without `README.md` gets a card that knows of no evaluation.

    Args:
        folder: The folder.
        repo: `org/name` on the Hub, from which the card's commands load the model.

    Raises:
        ModelError: If a file is missing, unsafe, not one of those that are published, or damaged,
            or timm's features are not ours.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise ModelError(
            f"{folder} holds no {CONFIG}: give a run folder, or the folder of an export."
        )
    _refuse_others(folder)
    config = load_config(folder)
    _check_recipe(folder, config)
    read_footprint(folder)
    if not (folder / CARD).exists():
        write_folder(folder, repo=repo)
    _check_card(folder / CARD)
    names = (*NEEDED, *(name for name in OPTIONAL if (folder / name).is_file()))
    files = tuple(LocalFile(folder / name) for name in names)
    for file in files:
        _ = file.sha256, file.git_sha1  # now: what changes from here on is found by the download
    return Publishable(folder, config, files, _compare_with_timm(folder, config))


def fixed_images(config: ModelConfig) -> torch.Tensor:
    """Two standardized images (2, C, H, W) to compare networks on."""
    shape = (2, len(config.bands), config.image_size, config.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def timm_features(source: str, config: ModelConfig, *, cache: str | None = None) -> torch.Tensor:
    """Features of `fixed_images` as timm gives them, loaded from `source` in one line."""
    with torch.random.fork_rng(devices=[]):  # timm first fills the network with random numbers
        network: nn.Module = timm.create_model(source, pretrained=True, cache_dir=cache)
    return _features(network, config)


def _features(network: nn.Module, config: ModelConfig) -> torch.Tensor:
    with torch.inference_mode():
        features: torch.Tensor = network.eval()(fixed_images(config))
    return features


def _refuse_others(folder: Path) -> None:
    disallowed = {
        name: reason
        for name, reason in disallowed_files(folder, allowed=NEEDED + OPTIONAL).items()
        # Hidden files are the file manager's; they are not sent.
        if not name.startswith(".")
    }
    if disallowed:
        listed = "; ".join(f"{plain(name)}: {why}" for name, why in disallowed.items())
        raise ModelError(
            f"{folder} holds what is not published ({listed}). What is: "
            f"{', '.join(NEEDED + OPTIONAL)}. Move the rest elsewhere; delete a pickle, which can "
            "run code on the machine of whoever loads it."
        )
    missing = [name for name in (WEIGHTS, RECIPE) if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"{folder} lacks {' and '.join(missing)}. Export the run again: `georank export RUN "
            "--overwrite`."
        )


def _check_recipe(folder: Path, config: ModelConfig) -> None:
    path = folder / RECIPE
    try:
        found = recipe.parse_recipe(path.read_text(encoding="utf-8"), where=str(path))
    except (RecipeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is no recipe: {error}") from error
    if config.name and found.name != config.name:
        raise ModelError(
            f"{path} is the recipe of {found.name}, but {CONFIG} says {config.name}. Export the "
            "run again."
        )


def _check_card(path: Path) -> None:
    try:
        ModelCard(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"The metadata at the top of {path} are damaged: {reason}") from error


def _compare_with_timm(folder: Path, config: ModelConfig) -> torch.Tensor:
    own = load_network(config, folder)
    try:
        found = timm_features(f"local-dir:{folder.absolute()}", config)
    except (*TIMM_ERRORS, OSError) as error:
        raise ModelError(f"timm {timm.__version__} does not load {folder}: {error}") from error
    features = _features(own, config)
    if features.shape != (2, own.num_features) or not torch.equal(features, found):
        raise ModelError(
            f"timm {timm.__version__} gives other features from {folder} than georank-zoo. Export "
            "the run again."
        )
    return features
