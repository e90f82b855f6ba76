"""Checks of a stranger's config: what of it may reach timm.

timm follows a config to other files, pickles and URLs, and some versions run code on the way
(1.0.9-1.0.25, `hf_hub_filename`). Here a config that points elsewhere is refused, and of the rest
only short texts, numbers and lists of them are handed on, under known names.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from georank_zoo import bands as s2
from georank_zoo.utils.documents import parse_json
from georank_zoo.utils.errors import ModelError, plain
from georank_zoo.utils.regular_files import require_regular

MAX_IMAGE_SIZE = 4096

# What makes timm read weights from somewhere else, or with a model's own loader.
_REDIRECTS = (
    "url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "custom_load", "source",
    "checkpoint_path", "pretrained_cfg_overlay",
)  # fmt: skip
# timm.create_model would take any keyword from here, `checkpoint_path` too.
MODEL_ARGS = ("in_chans", "num_classes", "global_pool", "img_size", "dynamic_img_size")
# What timm is told of the weights; anything else might lead it to other files.
PRETRAINED_CFG = (
    "tag", "input_size", "fixed_input_size", "interpolation", "crop_pct", "crop_mode", "mean",
    "std", "num_classes", "pool_size", "first_conv", "classifier", "license", "origin_url",
)  # fmt: skip

_MAX_DEPTH = 32  # a config has 5


def read_object(path: Path, *, max_bytes: int) -> dict[str, Any]:
    """Reads a file that holds one JSON object.

    Python's reader takes the last of two equal keys, and NaN, which JSON does not have; here both
    are errors, for what was checked must be what another reader sees.

    Args:
        path: The file.
        max_bytes: Most that it may hold.

    Raises:
        ModelError: If it is larger, not UTF-8, no valid JSON, or no object.
    """
    require_regular(path)
    with path.open("rb") as file:
        # Never more than the limit, whatever the file system says of its size.
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ModelError(f"{path} has more than {max_bytes} bytes: it is not a model's config.")
    try:
        raw = parse_json(data.decode("utf-8"))
        if isinstance(raw, dict):
            _check_depth(raw)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not valid JSON: {plain(error, 200)}.") from error
    if not isinstance(raw, dict):
        raise ModelError(f"{path} must hold a JSON object.")
    return raw


def refuse_redirects(section: Mapping[str, Any], path: Path) -> None:
    """Refuses a section of a config that names another source of weights.

    Raises:
        ModelError: Names the key.
    """
    for key in _REDIRECTS:
        if section.get(key):
            raise ModelError(
                f"{path}: {key!r} points to other weights ({plain(repr(section[key]))}). For "
                f"safety only the safetensors next to it are read; remove {key!r} if you trust "
                "the rest."
            )


def check_model_args(model_args: Mapping[str, Any], path: Path) -> None:
    """Checks the arguments for `timm.create_model`, all but the numbers of channels and classes.

    Raises:
        ModelError: If one is unknown or cannot be.
    """
    unknown = sorted(set(model_args) - set(MODEL_ARGS))
    if unknown:
        raise ModelError(
            f"{path}: model_args has {plain(', '.join(unknown))}, which this version does not "
            f"pass on. Valid: {', '.join(MODEL_ARGS)}."
        )
    pool = model_args.get("global_pool", "avg")
    # "" and "cat..." give features of another shape than num_features says.
    if not isinstance(pool, str) or not re.fullmatch(r"(?!cat)[a-z_]{1,20}", pool):
        raise ModelError(f"{path}: model_args.global_pool cannot be {plain(repr(pool))}.")
    if type(model_args.get("dynamic_img_size", False)) is not bool:
        raise ModelError(f"{path}: model_args.dynamic_img_size must be true or false.")
    size = model_args.get("img_size", 1)
    for side in size if isinstance(size, list) and len(size) == 2 else [size]:
        if type(side) is not int or not 1 <= side <= MAX_IMAGE_SIZE:
            raise ModelError(
                f"{path}: model_args.img_size must be 1 to {MAX_IMAGE_SIZE} pixels, not "
                f"{plain(repr(size))}."
            )


def check_pretrained_cfg(cfg: Mapping[str, Any], path: Path) -> None:
    """Checks that what timm is told of the weights is plain data.

    Raises:
        ModelError: Names the key that holds more than a short text, a number or a short list.
    """
    for key in PRETRAINED_CFG:
        value = cfg.get(key)
        parts = value if isinstance(value, list) else [value]
        if len(parts) > len(s2.BY_NAME) or not all(map(_is_scalar, parts)):
            raise ModelError(
                f"{path}: pretrained_cfg.{key} must be a short text, a finite number or a short "
                f"list of these, not {plain(repr(value))}."
            )


def _check_depth(value: Any) -> None:
    """Refuses what is nested so deeply that walking through it would exhaust the stack."""
    layer = [value]
    for _ in range(_MAX_DEPTH):
        inner = (v.values() if isinstance(v, dict) else v for v in layer)
        layer = [v for container in inner for v in container if isinstance(v, dict | list)]
        if not layer:
            return
    raise ValueError(f"it is nested deeper than {_MAX_DEPTH} levels")


def _is_scalar(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= 200
    # An integer of a thousand digits is finite, and no float.
    return value is None or (isinstance(value, int | float) and abs(value) <= sys.float_info.max)
