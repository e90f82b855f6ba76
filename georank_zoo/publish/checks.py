"""Checks of a model folder that is to be published: its files, and that timm loads it alike."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from georank_zoo.data.files.text import read_text
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
from georank_zoo.models.reload import require_timm_features
from georank_zoo.publish.card import folder_card
from georank_zoo.publish.card.metadata import read_card
from georank_zoo.training.finding_words import known_findings
from georank_zoo.training.recipe import parse_recipe
from georank_zoo.training.recipe_yaml import read_recipe_text
from georank_zoo.utils.errors import GeorankError, ModelError, RecipeError, plain
from georank_zoo.utils.files import sha256_of

NEEDED = (WEIGHTS, CONFIG, CARD, RECIPE)
OPTIONAL = ("LICENSE", FOOTPRINT, CARD_MAP)


@dataclass(frozen=True)
class LocalFile:
    """A file to be published."""

    path: Path

    @property
    def name(self) -> str:
        """Path in the repository."""
        return self.path.name

    @cached_property
    def size(self) -> int:
        """Size in bytes."""
        return self.path.stat().st_size

    @cached_property
    def sha256(self) -> str:
        """Name of a large file on the Hub."""
        return sha256_of(self.path)

    @cached_property
    def git_sha1(self) -> str:
        """Name of a small file on the Hub: that of its blob in git."""
        content = self.path.read_bytes()
        blob = b"blob %d\0" % len(content) + content
        return hashlib.sha1(blob, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class CheckedFolder:
    """A checked model folder.

    Attributes:
        folder: The folder.
        config: Its config.
        files: Files to be published.
        features: Features of `fixed_images`, which timm must reproduce after the download.
    """

    folder: Path
    config: ModelConfig
    files: tuple[LocalFile, ...]
    features: torch.Tensor


def check_publishable(
    folder: str | Path, *, repo: str | None = None, force: bool = False
) -> CheckedFolder:
    """Checks that a folder can be published: its files, and that timm computes our features.

    A folder without `README.md` gets a card without scores.

    Args:
        folder: Folder of an export.
        repo: Repository on the Hub, `org/name`, from which the card's programs load the model.
        force: Let a model pass that its training found to have learned nothing.

    Raises:
        ModelError: If the training found that the model learned nothing, a file is missing,
            unsafe, damaged or not one of those that are published, or timm computes other
            features.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise ModelError(
            f"{folder} has no {CONFIG}: give a run folder, or the folder of an export."
        )
    _refuse_others(folder)
    config = load_config(folder)
    _check_recipe(folder, config)
    if not force:
        _refuse_failed(folder, config)
    read_footprint(folder)
    if not (folder / CARD).exists():
        folder_card(folder, repo=repo).write()
    _check_card(folder / CARD)
    names = (*NEEDED, *(name for name in OPTIONAL if (folder / name).is_file()))
    files = tuple(LocalFile(folder / name) for name in names)
    for file in files:
        _ = file.sha256, file.git_sha1  # now: a later change is found by the download
    return CheckedFolder(folder, config, files, _compare_with_timm(folder, config))


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
            f"{folder} holds files that are not published ({listed}). Published are "
            f"{', '.join(NEEDED + OPTIONAL)}. Move the others elsewhere; delete a pickle, which "
            "can run code on the machine of whoever loads it."
        )
    missing = [name for name in (WEIGHTS, RECIPE) if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"{folder} has no {' and no '.join(missing)}. Export the run again: `georank export "
            "RUN --overwrite`."
        )


def _refuse_failed(folder: Path, config: ModelConfig) -> None:
    if findings := known_findings(config.georank.get("findings")):
        raise ModelError(
            f"The training of {folder} ended with a warning: {' '.join(findings)} Train again, or "
            "publish it as it is, with the warning on its card: `georank push --force` (in Python: "
            "force=True)."
        )


def _check_recipe(folder: Path, config: ModelConfig) -> None:
    path = folder / RECIPE
    try:
        found = parse_recipe(read_recipe_text(path), where=str(path))
    except RecipeError as error:
        raise ModelError(f"{path} is not a recipe: {error}") from error
    if config.name and found.name != config.name:
        raise ModelError(
            f"{path} is the recipe of {found.name}, but {CONFIG} says {config.name}. Export the "
            "run again."
        )


def _check_card(path: Path) -> None:
    try:
        read_card(read_text(path), where=str(path))
    except GeorankError as error:
        raise ModelError(str(error)) from error


def _compare_with_timm(folder: Path, config: ModelConfig) -> torch.Tensor:
    own = load_network(config, folder)
    try:
        source = f"local-dir:{folder.absolute()}"
        return require_timm_features(own, config, source, where=str(folder))
    except ModelError as error:
        raise ModelError(f"{error} Export the run again.") from error
