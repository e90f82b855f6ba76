"""Export of a trained network: a folder that timm loads."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from torch import nn

from georank_zoo import bands as s2
from georank_zoo.models.config import (
    CARD,
    CARD_MAP,
    CONFIG,
    RECIPE,
    WEIGHTS,
    check_architecture,
    check_statistics,
    has_fixed_size,
    load_config,
)
from georank_zoo.models.encoder import Encoder
from georank_zoo.models.fingerprint import FINGERPRINT, take_fingerprint
from georank_zoo.models.footprint import FOOTPRINT, Footprint
from georank_zoo.models.reload import require_timm_features
from georank_zoo.models.weights import check_finite
from georank_zoo.utils.errors import ModelError, UsageError
from georank_zoo.utils.files import new_file, new_folder
from georank_zoo.utils.leftovers import temporary_beside
from georank_zoo.utils.locks import output_lock

logger = logging.getLogger(__name__)

# What may lie in a folder that --overwrite deletes.
_OWN_FILES = {CONFIG, WEIGHTS, RECIPE, FOOTPRINT, CARD, CARD_MAP}
_OWN_FACTS = {"bands", "scale", "unit", FINGERPRINT}


def export_model(
    backbone: nn.Module,
    folder: str | Path,
    *,
    architecture: str,
    bands: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    image_size: int,
    tag: str,
    georank: dict[str, Any],
    recipe: str | None = None,
    footprint: Footprint | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a model folder and proves that timm loads the same network from it.

    The folder is written under a temporary name, loaded back with
    `timm.create_model('local-dir:...', pretrained=True)`, compared bit for bit (every tensor,
    and the features of fixed images), and only then renamed.

    Args:
        backbone: timm network without classifier. It is not changed; its memory format, its
            device and its mode do not matter.
        folder: Folder to be.
        architecture: Name of the timm model.
        bands: Bands of the input channels, in order.
        mean: Mean per band, in reflectance.
        std: Standard deviation per band, in reflectance.
        image_size: Side in pixels of the training images.
        tag: Short name of these weights, such as `georank_moco_s2`.
        georank: More facts for the config's `georank` key, JSON values: the recipe's `name`
            and `recipe_hash`, the store, versions.
        recipe: Text of the resolved recipe, for `recipe.yaml`.
        footprint: Cells of the pretraining places, for the model card.
        overwrite: Replace an earlier export.

    Returns:
        The folder.

    Raises:
        ModelError: If a weight is NaN or infinite, or the model does not reload exactly.
        UsageError: If an argument is invalid, or the folder exists.
        GeorankError: If another process writes the folder, or there is no room.
    """
    folder = Path(folder).absolute()
    architecture = check_architecture(architecture)
    bands = s2.resolve(bands)
    if image_size < 1:
        raise UsageError(f"image_size must be a number of pixels, not {image_size}.")
    config = _config(
        backbone,
        architecture=architecture,
        bands=bands,
        mean=check_statistics(mean, len(bands), name="mean"),
        std=check_statistics(std, len(bands), name="std"),
        image_size=image_size,
        tag=tag,
        georank=georank,
    )
    with output_lock(folder, temporary_beside(folder)) as taken:
        _check_target(folder, overwrite or taken.finished)
        tensors = _plain_tensors(backbone)
        check_finite(tensors, where=f"The network to be exported to {folder}")
        own = _as_written(backbone, tensors)
        config["georank"][FINGERPRINT] = _fingerprint(own, config)
        _write(folder, config, tensors, own, recipe, footprint)
    logger.info("Exported %s to %s; timm loads it back bit for bit.", architecture, folder)
    return folder


def _write(
    folder: Path,
    config: dict[str, Any],
    tensors: dict[str, torch.Tensor],
    own: nn.Module,
    recipe: str | None,
    footprint: Footprint | None,
) -> None:
    with new_folder(folder) as temporary:
        (temporary / CONFIG).write_text(_to_json(config), encoding="utf-8")
        # With more metadata than this, safetensors' bytes differ from process to process.
        with new_file(temporary / WEIGHTS) as file:
            save_file(tensors, file, metadata={"format": "pt"})
        if recipe is not None:
            (temporary / RECIPE).write_text(recipe, encoding="utf-8")
        if footprint is not None:
            (temporary / FOOTPRINT).write_text(footprint.to_json(), encoding="utf-8")
        _require_reload(own, temporary)


def _config(
    backbone: nn.Module,
    *,
    architecture: str,
    bands: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    image_size: int,
    tag: str,
    georank: dict[str, Any],
) -> dict[str, Any]:
    taken = sorted(_OWN_FACTS & set(georank))
    if taken:
        raise UsageError(f"georank must not hold {', '.join(taken)}: the export writes them.")
    default = timm.get_pretrained_cfg(architecture)
    pool = _global_pool(backbone)
    model_args: dict[str, Any] = {"in_chans": len(bands), "num_classes": 0}
    if pool:
        model_args["global_pool"] = pool
    if has_fixed_size(architecture):
        model_args["img_size"] = image_size
    # A transformer that was trained on crops of several sizes interpolates its positions.
    if getattr(backbone, "dynamic_img_size", False) is True:
        model_args["dynamic_img_size"] = True
    return {
        "architecture": architecture,
        "num_classes": 0,
        "num_features": int(backbone.num_features),  # type: ignore[arg-type]
        **({"global_pool": pool} if pool else {}),
        "model_args": model_args,
        "pretrained_cfg": {
            "tag": tag,
            "custom_load": False,
            "input_size": [len(bands), image_size, image_size],
            "fixed_input_size": has_fixed_size(architecture),
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(mean),
            "std": list(std),
            "num_classes": 0,
            "pool_size": None,
            # timm before 1.0.31 loads a 12-band conv1 that is named here as *random*.
            "first_conv": None,
            # Without its name, timm cannot add a classifier (num_classes=10).
            "classifier": default.classifier if default else None,
        },
        "georank": {
            "bands": list(bands),
            "scale": 1 / s2.DN_PER_REFLECTANCE,
            "unit": "reflectance",
            **georank,
        },
    }


def _global_pool(backbone: nn.Module) -> str | None:
    # A module in most convolutional networks, a word in transformers.
    pool = getattr(backbone, "global_pool", None)
    pool = getattr(pool, "pool_type", pool)
    return pool if isinstance(pool, str) and pool else None


def _to_json(config: dict[str, Any]) -> str:
    try:
        return json.dumps(config, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise UsageError(f"A fact for {CONFIG} is not a JSON value: {error}.") from error


def _check_target(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder.")
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in _OWN_FILES)
    if foreign:
        raise UsageError(
            f"{folder} holds {foreign[0]!r}, which no export wrote. Choose another folder."
        )
    if not overwrite and any(folder.iterdir()):
        raise UsageError(f"{folder} exists. Pass --overwrite to replace it.")


def _plain_tensors(backbone: nn.Module) -> dict[str, torch.Tensor]:
    """The state as float32 (and int64) tensors in the default memory format, on the CPU."""
    plain = {}
    for name, tensor in backbone.state_dict().items():
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        # A 1 x 1 kernel in channels_last calls itself contiguous, so `.contiguous()` is not
        # enough to give it the strides that it will have after loading.
        plain[name] = torch.empty(tensor.shape, dtype=dtype).copy_(tensor.detach())
    return plain


def _as_written(backbone: nn.Module, tensors: dict[str, torch.Tensor]) -> nn.Module:
    """The caller's own network with the tensors as written: same code, same memory format."""
    own = copy.deepcopy(backbone).cpu()
    own.load_state_dict(tensors, strict=True, assign=True)
    return own.eval()


def _fingerprint(own: nn.Module, config: dict[str, Any]) -> dict[str, Any]:
    pretrained_cfg = config["pretrained_cfg"]
    encoder = Encoder(
        own,
        model_bands=config["georank"]["bands"],
        mean=pretrained_cfg["mean"],
        std=pretrained_cfg["std"],
        image_size=pretrained_cfg["input_size"][-1],
        name="The network to be exported",
    )
    return take_fingerprint(encoder).model_dump()


def _require_reload(own: nn.Module, folder: Path) -> None:
    config = load_config(folder)
    try:
        require_timm_features(own, config, f"local-dir:{folder}", where="the export")
    except ModelError as error:
        raise ModelError(f"{error} Nothing was exported.") from error
