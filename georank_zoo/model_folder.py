"""A model folder, `config.json` and `model.safetensors`, made into a network.

Nothing but these two files is ever opened: no pickle, and no file that the config names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from georank_zoo.errors import ModelError
from georank_zoo.model_config import WEIGHTS, ModelConfig

PICKLES = (".bin", ".pth", ".pt", ".ckpt", ".pkl", ".pickle", ".tar")
# What timm is told of the weights; anything else might lead it to other files.
_PRETRAINED_CFG = (
    "tag", "input_size", "fixed_input_size", "interpolation", "crop_pct", "crop_mode", "mean",
    "std", "num_classes", "pool_size", "first_conv", "classifier", "license", "origin_url",
)  # fmt: skip


def build_network(config: ModelConfig) -> nn.Module:
    """The network of a config, with random weights.

    Raises:
        ModelError: If timm cannot build it.
    """
    known = {
        key: config.pretrained_cfg[key] for key in _PRETRAINED_CFG if key in config.pretrained_cfg
    }
    try:
        network: nn.Module = timm.create_model(
            config.architecture, pretrained=False, pretrained_cfg=known, **config.model_args
        )
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(
            f"timm {timm.__version__} cannot build {config.architecture} with "
            f"{config.model_args}: {error}"
        ) from error
    return network


def load_weights(network: nn.Module, folder: str | Path) -> None:
    """Fills a network with `model.safetensors`: every tensor of the one, none besides.

    Raises:
        ModelError: If the file is missing or damaged, a tensor is missing, unexpected or of
            another shape or type, or a weight is NaN or infinite.
    """
    path = weights_path(folder)
    wanted = network.state_dict()
    try:
        with safe_open(path, framework="pt") as file:
            _compare_names(set(wanted), set(file.keys()), path)
            for name, tensor in wanted.items():
                # From the header: a wrong shape is refused before its bytes are read.
                shape = list(file.get_slice(name).get_shape())
                if shape != list(tensor.shape):
                    raise ModelError(
                        f"{path}: {name} has shape {shape}, but the model takes "
                        f"{list(tensor.shape)}."
                    )
            tensors = {name: file.get_tensor(name) for name in wanted}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is damaged: {error}. Download or export it again.") from error
    for name, tensor in tensors.items():
        if tensor.dtype != wanted[name].dtype:
            raise ModelError(f"{path}: {name} is {tensor.dtype}, not {wanted[name].dtype}.")
    check_finite(tensors, where=str(path))
    network.load_state_dict(tensors, strict=True)


def weights_path(folder: str | Path) -> Path:
    """The weights file of a model folder.

    Raises:
        ModelError: If there is none; says so when there are only pickles.
    """
    path = Path(folder) / WEIGHTS
    if path.is_file():
        return path
    pickles = sorted(p.name for p in Path(folder).iterdir() if p.suffix.lower() in PICKLES)
    if pickles:
        raise ModelError(
            f"{folder} holds its weights only as a pickle ({', '.join(pickles)}), which can run "
            f"code when it is read. Only {WEIGHTS} is read: ask its author for one."
        )
    raise ModelError(f"No {WEIGHTS} in {folder}.")


def _compare_names(wanted: set[str], found: set[str], path: Path) -> None:
    for kind, names in (("lacks", wanted - found), ("has unexpected", found - wanted)):
        if names:
            shown = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
            raise ModelError(f"{path} {kind} {len(names)} tensor(s): {shown}.")


def check_finite(tensors: Mapping[str, torch.Tensor], *, where: str) -> None:
    """Refuses NaN and infinite weights.

    Raises:
        ModelError: Names the first tensor that has one.
    """
    broken = [
        name
        for name, tensor in tensors.items()
        # Smallest and largest are NaN where any is, and found ten times faster than by isfinite.
        if tensor.is_floating_point()
        and tensor.numel()
        and not all(map(math.isfinite, (float(end) for end in tensor.aminmax())))
    ]
    if broken:
        raise ModelError(
            f"{where}: {len(broken)} tensor(s) hold NaN or infinite weights, the first is "
            f"{broken[0]}. The training diverged or the file is damaged."
        )
