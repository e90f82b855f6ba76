"""Configs of models: `config.json`, read without trusting it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm

from georank_zoo import bands as s2
from georank_zoo.models.untrusted import (
    MAX_IMAGE_SIZE,
    check_model_args,
    check_pretrained_cfg,
    read_object,
    refuse_redirects,
)
from georank_zoo.utils.errors import ModelError, UsageError, plain, unknown_name
from georank_zoo.utils.files import leads_out

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
RECIPE = "recipe.yaml"
CARD, CARD_MAP = "README.md", "footprint.png"  # which `georank card` adds

# A config of this project is about 2 kB.
MAX_CONFIG_BYTES = 2**20
# What is divided by it stays finite in float32; that of no store of integers is smaller, but 0.
_MIN_STD = 1e-12

# As a recipe's name: nothing that a terminal or a table would take for more than text.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_HASH = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True)
class ModelConfig:
    """Config of a model.

    Attributes:
        architecture: Name of a timm model.
        model_args: Arguments for `timm.create_model`.
        bands: Bands in channel order.
        mean: Mean per band, in reflectance.
        std: Standard deviation per band, in reflectance.
        image_size: Side in pixels that the model was trained for.
        pretrained_cfg: timm's description of the weights, as in the file.
        georank: Facts that the exporter added: bands, recipe, store, versions.
    """

    architecture: str
    model_args: dict[str, Any]
    bands: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    pretrained_cfg: dict[str, Any]
    georank: dict[str, Any]

    @property
    def name(self) -> str:
        """Name that the exporter gave it; empty if the config has none, or not a plain one."""
        name = self.georank.get("name")
        return name if isinstance(name, str) and _NAME.fullmatch(name) else ""

    @property
    def baseline(self) -> str:
        """Name of the model that this one is a variant of; empty if the config tells none."""
        name = self.georank.get("baseline")
        return name if isinstance(name, str) and _NAME.fullmatch(name) else ""

    @property
    def recipe_hash(self) -> str:
        """Hash of the recipe that trained it; empty if the config has none, or not a plain one."""
        digest = self.georank.get("recipe_hash")
        return digest if isinstance(digest, str) and _HASH.fullmatch(digest) else ""

    @property
    def recipe(self) -> str:
        """Name and short hash of the recipe that trained it, as far as the config tells."""
        return "@".join(part for part in (self.name, self.recipe_hash[:12]) if part)


def check_architecture(name: object) -> str:
    """Returns the name of a timm model.

    Raises:
        UsageError: If timm has no model of that name.
    """
    # A tag ("resnet18.a1_in1k") would name ImageNet weights, a colon another source.
    if not isinstance(name, str) or not re.fullmatch(r"\w+", name) or not timm.is_model(name):
        raise unknown_name("timm architecture", name, _near(name))
    return name


def has_fixed_size(architecture: str) -> bool:
    """Whether timm builds this architecture for images of one size, as most transformers."""
    default = timm.get_pretrained_cfg(architecture)
    return bool(default.fixed_input_size) if default else False


def load_config(folder: str | Path) -> ModelConfig:
    """Reads and checks `config.json` of a model folder.

    Raises:
        ModelError: If it is missing, damaged, points to other files, or does not name the
            Sentinel-2 bands of the model's channels.
    """
    path = own_file(folder, CONFIG)
    raw = read_object(path, max_bytes=MAX_CONFIG_BYTES)
    pretrained_cfg = _mapping(raw, "pretrained_cfg", path)
    model_args = _mapping(raw, "model_args", path) if "model_args" in raw else {}
    for section in (raw, pretrained_cfg, model_args):
        refuse_redirects(section, path)
    check_model_args(model_args, path)
    check_pretrained_cfg(pretrained_cfg, path)
    try:
        architecture = check_architecture(raw.get("architecture"))
        bands = _bands(raw, path)
    except UsageError as error:
        raise ModelError(f"{path}: {error}") from error
    return ModelConfig(
        architecture=architecture,
        model_args={
            **model_args,
            "in_chans": _exactly(model_args.get("in_chans", len(bands)), len(bands), path),
            "num_classes": _no_classifier((raw, pretrained_cfg, model_args), path),
        },
        bands=bands,
        mean=_numbers(pretrained_cfg, "mean", len(bands), path),
        std=_numbers(pretrained_cfg, "std", len(bands), path),
        image_size=_image_size(pretrained_cfg, len(bands), path),
        pretrained_cfg=dict(pretrained_cfg),
        georank=_georank(raw, path),
    )


def own_file(folder: str | Path, name: str) -> Path:
    """A file of a model folder.

    Raises:
        ModelError: If there is none, or it is a link that leads out of the folder.
    """
    path = Path(folder) / name
    if not path.is_file():
        raise ModelError(f"No {name} in {folder}: it is not a model folder.")
    if leads_out(path):
        raise ModelError(
            f"{path} is a link that leads out of the folder. Put the file itself there if you "
            "trust it."
        )
    return path


def check_statistics(values: Sequence[float], count: int, *, name: str) -> tuple[float, ...]:
    """Checks means or standard deviations, in reflectance, that are to be written or used.

    Statistics in DN with images in reflectance make every feature nonsense, without an error.

    Raises:
        UsageError: If there are not `count` finite numbers, or they cannot be of reflectance.
    """
    numbers = tuple(float(value) for value in values)
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise UsageError(f"{name} must be {count} finite numbers, one per band, not {numbers}.")
    if name == "std" and min(numbers) <= 0:
        raise UsageError(f"std must be positive, but one is {min(numbers):g}.")
    if name == "std" and min(numbers) < _MIN_STD:
        raise UsageError(f"std must be at least {_MIN_STD:g}, but one is {min(numbers):g}.")
    if min(numbers) < s2.MIN_REFLECTANCE or max(numbers) > s2.MAX_REFLECTANCE:
        extreme = max(numbers, key=abs)
        raise UsageError(
            f"{name} has {extreme:g}, which is not a reflectance (valid: {s2.MIN_REFLECTANCE:g} to "
            f"{s2.MAX_REFLECTANCE:g}). Statistics of digital numbers must be divided by "
            f"{s2.DN_PER_REFLECTANCE:g}."
        )
    return numbers


def _near(name: object) -> list[str]:
    stem = re.split(r"\W|_", str(name))[0][:6]
    return timm.list_models(f"{stem}*")[:12] if stem else ["resnet18", "resnet50"]


def _mapping(raw: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    value = raw.get(key)
    if isinstance(value, dict):
        return value
    if key == "georank":
        raise ModelError(
            f"{path} has no 'georank.bands', so the Sentinel-2 bands of the model's channels are "
            "unknown. Load a model of another project with timm.create_model."
        )
    raise ModelError(f"{path}: {key!r} must be an object.")


def _bands(raw: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    names = _mapping(raw, "georank", path).get("bands")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelError(f"{path}: 'georank.bands' must list the bands in channel order.")
    return s2.resolve(names)


def _georank(raw: Mapping[str, Any], path: Path) -> dict[str, Any]:
    facts = _mapping(raw, "georank", path)
    for key, only in (("unit", "reflectance"), ("scale", 1 / s2.DN_PER_REFLECTANCE)):
        if facts.get(key, only) != only:
            raise ModelError(
                f"{path}: georank.{key} is {plain(repr(facts[key]))}, but models of this version "
                f"take standardized reflectance ({key} {only!r})."
            )
    return dict(facts)


def _numbers(cfg: Mapping[str, Any], key: str, count: int, path: Path) -> tuple[float, ...]:
    values = cfg.get(key)
    if (
        not isinstance(values, list)
        or len(values) != count
        or not all(type(value) in (int, float) for value in values)
    ):
        raise ModelError(f"{path}: pretrained_cfg.{key} must be {count} finite numbers.")
    try:
        return check_statistics(values, count, name=key)
    except UsageError as error:
        raise ModelError(f"{path}: pretrained_cfg.{error}") from error


def _exactly(value: object, expected: int, path: Path) -> int:
    if type(value) is not int or value != expected:
        raise ModelError(
            f"{path}: the model has {plain(repr(value))} input channels, but georank.bands names "
            f"{expected}."
        )
    return expected


def _no_classifier(sections: Sequence[Mapping[str, Any]], path: Path) -> int:
    for value in (section.get("num_classes", 0) for section in sections):
        if type(value) is not int or value != 0:
            raise ModelError(
                f"{path}: the model has a classifier (num_classes is {plain(repr(value))}), so "
                "it is not an encoder."
            )
    return 0


def _image_size(cfg: Mapping[str, Any], channels: int, path: Path) -> int:
    size = cfg.get("input_size")
    valid = isinstance(size, list) and len(size) == 3 and all(type(n) is int for n in size)
    if not valid or size[1] != size[2] or not 1 <= size[1] <= MAX_IMAGE_SIZE:  # type: ignore[index]
        raise ModelError(f"{path}: pretrained_cfg.input_size must be [channels, side, side].")
    assert size is not None
    _exactly(size[0], channels, path)
    return int(size[1])
