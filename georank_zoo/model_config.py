"""The `config.json` of a model folder, read without trusting it.

timm follows a config to other files, pickles and URLs, and some versions run code on the way
(1.0.9-1.0.25, `hf_hub_filename`). Here a config that points elsewhere is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm

from georank_zoo import bands as s2
from georank_zoo.errors import ModelError, UsageError, unknown_name

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
RECIPE = "recipe.yaml"
CARD = "README.md"

# A config of this project is about 2 kB.
_MAX_CONFIG_BYTES = 2**20
_MAX_IMAGE_SIZE = 4096

# What makes timm read weights from somewhere else, or with a model's own loader.
_REDIRECTS = (
    "url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "custom_load", "source",
    "checkpoint_path", "pretrained_cfg_overlay",
)  # fmt: skip
# timm.create_model would take any keyword from here, `checkpoint_path` too.
_MODEL_ARGS = ("in_chans", "num_classes", "global_pool", "img_size", "dynamic_img_size")

# As a recipe's name: nothing that a terminal or a table would take for more than text.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class ModelConfig:
    """What `config.json` says of a model.

    Attributes:
        architecture: Name of a timm model.
        model_args: Arguments for `timm.create_model`.
        bands: Bands in channel order.
        mean: Per band, in reflectance.
        std: Per band, in reflectance.
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
        """Name that the exporter gave it; empty if the config tells none, or no plain one."""
        name = self.georank.get("name")
        return name if isinstance(name, str) and _NAME.fullmatch(name) else ""

    @property
    def recipe(self) -> str:
        """Name and short hash of the recipe that trained it, as far as the config tells."""
        parts = (str(self.georank.get("name", "")), str(self.georank.get("recipe_hash", ""))[:12])
        return "@".join(part for part in parts if part)


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


def _near(name: object) -> list[str]:
    stem = re.split(r"\W|_", str(name))[0][:6]
    return timm.list_models(f"{stem}*")[:12] if stem else ["resnet18", "resnet50"]


def load_config(folder: str | Path) -> ModelConfig:
    """Reads and checks `config.json` of a model folder.

    Raises:
        ModelError: If it is missing, damaged, points to other files, or does not name the
            Sentinel-2 bands of the model's channels.
    """
    path = Path(folder) / CONFIG
    raw = _read_json(path)
    pretrained_cfg = _mapping(raw, "pretrained_cfg", path)
    model_args = _mapping(raw, "model_args", path) if "model_args" in raw else {}
    for section in (raw, pretrained_cfg, model_args):
        _refuse_redirects(section, path)
    unknown = sorted(set(model_args) - set(_MODEL_ARGS))
    if unknown:
        raise ModelError(
            f"{path}: model_args has {', '.join(unknown)}, which this version does not pass on. "
            f"Valid: {', '.join(_MODEL_ARGS)}."
        )
    try:
        architecture = check_architecture(raw.get("architecture"))
        bands = _bands(raw, path)
    except UsageError as error:
        raise ModelError(f"{path}: {error}") from error
    mean = _numbers(pretrained_cfg, "mean", len(bands), path)
    std = _numbers(pretrained_cfg, "std", len(bands), path)
    if min(std) <= 0:
        raise ModelError(f"{path}: pretrained_cfg.std must be positive, but one is {min(std):g}.")
    return ModelConfig(
        architecture=architecture,
        model_args={
            **model_args,
            "in_chans": _exactly(model_args.get("in_chans", len(bands)), len(bands), path),
            "num_classes": _no_classifier(raw, model_args, path),
        },
        bands=bands,
        mean=mean,
        std=std,
        image_size=_image_size(pretrained_cfg, len(bands), path),
        pretrained_cfg=dict(pretrained_cfg),
        georank=dict(_mapping(raw, "georank", path)),
    )


def _read_json(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise ModelError(f"No {path.name} in {path.parent}: it is no model folder.")
    if path.stat().st_size > _MAX_CONFIG_BYTES:
        raise ModelError(f"{path} has {path.stat().st_size} bytes: it is no model's config.")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no valid JSON: {error}.") from error
    if not isinstance(raw, dict):
        raise ModelError(f"{path} must hold a JSON object.")
    return raw


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


def _refuse_redirects(section: Mapping[str, Any], path: Path) -> None:
    for key in _REDIRECTS:
        if section.get(key):
            raise ModelError(
                f"{path}: {key!r} points to other weights ({str(section[key])[:80]!r}). For "
                f"safety only {WEIGHTS} beside it is read; remove {key!r} if you trust the rest."
            )


def _bands(raw: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    names = _mapping(raw, "georank", path).get("bands")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelError(f"{path}: 'georank.bands' must list the bands in channel order.")
    return s2.resolve(names)


def _numbers(cfg: Mapping[str, Any], key: str, count: int, path: Path) -> tuple[float, ...]:
    values = cfg.get(key)
    if (
        not isinstance(values, list)
        or len(values) != count
        or not all(type(v) in (int, float) and math.isfinite(v) for v in values)
    ):
        raise ModelError(f"{path}: pretrained_cfg.{key} must be {count} finite numbers.")
    return tuple(float(value) for value in values)


def _exactly(value: object, expected: int, path: Path) -> int:
    if type(value) is not int or value != expected:
        raise ModelError(
            f"{path}: the model has {value!r} input channels, but georank.bands names {expected}."
        )
    return expected


def _no_classifier(raw: Mapping[str, Any], model_args: Mapping[str, Any], path: Path) -> int:
    for value in (raw.get("num_classes", 0), model_args.get("num_classes", 0)):
        if value != 0:
            raise ModelError(f"{path}: the model has a classifier ({value!r} classes), no encoder.")
    return 0


def _image_size(cfg: Mapping[str, Any], channels: int, path: Path) -> int:
    size = cfg.get("input_size")
    valid = isinstance(size, list) and len(size) == 3 and all(type(n) is int for n in size)
    if not valid or size[1] != size[2] or not 1 <= size[1] <= _MAX_IMAGE_SIZE:  # type: ignore[index]
        raise ModelError(f"{path}: pretrained_cfg.input_size must be [channels, side, side].")
    assert size is not None
    _exactly(size[0], channels, path)
    return int(size[1])


def check_statistics(values: Sequence[float], count: int, *, name: str) -> tuple[float, ...]:
    """Checks means or standard deviations that are to be written or used.

    Raises:
        UsageError: If there are not `count` finite numbers.
    """
    numbers = tuple(float(value) for value in values)
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise UsageError(f"{name} must be {count} finite numbers, one per band, not {numbers}.")
    if name == "std" and min(numbers) <= 0:
        raise UsageError(f"std must be positive, but one is {min(numbers):g}.")
    return numbers
