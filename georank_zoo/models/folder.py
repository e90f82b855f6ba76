"""Networks from model folders: `config.json` and `model.safetensors`.

Nothing but these two files is ever opened: no pickle, and no file that the config names.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain
from pathlib import Path

import timm
import torch
from torch import nn

from georank_zoo.models.config import (
    CARD,
    CARD_MAP,
    CONFIG,
    RECIPE,
    WEIGHTS,
    ModelConfig,
    load_config,
    own_file,
)
from georank_zoo.models.footprint import FOOTPRINT
from georank_zoo.models.untrusted import PRETRAINED_CFG
from georank_zoo.models.weights import check_weights, largest_file, num_bytes, read_weights
from georank_zoo.utils.errors import ModelError, plain
from georank_zoo.utils.files import leads_out

# Of a run folder.
FACTS, EXPORT = "run.json", "export"

MODEL_FILES = (CONFIG, WEIGHTS, RECIPE, CARD, CARD_MAP, FOOTPRINT, "LICENSE")

# What timm, torch, numpy or joblib would unpickle.
PICKLES = (
    ".bin", ".pth", ".pt", ".pt2", ".ckpt", ".pkl", ".pickle", ".tar", ".joblib", ".dill", ".npy",
    ".npz",
)  # fmt: skip

# Seven times the largest encoder that Sentinel-2 is trained with today (ViT-L/16).
_MAX_NETWORK_BYTES = 8 * 2**30
# What timm raises for arguments that an architecture does not take or that do not go together.
_BUILD_ERRORS = (
    TypeError, ValueError, RuntimeError, AssertionError, AttributeError, LookupError,
    ArithmeticError,
)  # fmt: skip


def check_model_folder(
    folder: str | Path, *, allowed: Collection[str] = MODEL_FILES
) -> ModelConfig:
    """Checks a model folder whole, without trusting it and without building its network.

    Args:
        folder: The folder.
        allowed: Names that may lie in it.

    Raises:
        ModelError: If a file lies in it that is not allowed, the config or the weights are
            missing, damaged or unsafe, or they do not fit each other.
    """
    disallowed = disallowed_files(folder, allowed=allowed)
    if disallowed:
        listed = "; ".join(f"{plain(name)}: {why}" for name, why in disallowed.items())
        raise ModelError(f"{folder} holds what a model folder must not: {plain(listed, 500)}.")
    config = load_config(folder)
    read_weights(skeleton(config).state_dict(), own_file(folder, WEIGHTS))
    return config


def disallowed_files(
    folder: str | Path, *, allowed: Collection[str] = MODEL_FILES
) -> dict[str, str]:
    """Files of a folder that are not part of a model, each with the reason.

    Args:
        folder: The folder. Only names and kinds are looked at; nothing is opened.
        allowed: Names that may lie in it.

    Raises:
        ModelError: If there is no such folder.
    """
    if not Path(folder).is_dir():
        raise ModelError(f"{folder} is not a folder.")
    reasons = {p.name: _why_not(p, allowed) for p in sorted(Path(folder).iterdir())}
    return {name: reason for name, reason in reasons.items() if reason}


def refuse_pickles(folder: str | Path) -> None:
    """Refuses a folder that holds a pickle, although it would not be read here.

    Raises:
        ModelError: Names the pickles.
    """
    found = sorted(path.name for path in Path(folder).iterdir() if _is_pickle(path))
    if not found:
        return
    names = plain(", ".join(found))
    if not (Path(folder) / WEIGHTS).is_file():
        raise ModelError(
            f"{folder} holds its weights only as a pickle ({names}), which can run code when it "
            f"is read. Only {WEIGHTS} is read: ask its author for one."
        )
    raise ModelError(
        f"{folder} holds a pickle next to {WEIGHTS} ({names}). Nothing of it is read here, but "
        "other programs may prefer it, and it can run code then. No export holds one: delete it "
        "if you trust the rest."
    )


def skeleton(config: ModelConfig) -> nn.Module:
    """The network of a config on the meta device: names, shapes and types, no memory.

    Raises:
        ModelError: If timm cannot build it, or it would be larger than any encoder.
    """
    with torch.device("meta"):
        network = _build(config)
    # Buffers that are not saved count too: some grow with the fourth power of the image size.
    size = num_bytes(chain(network.parameters(), network.buffers()))
    if size > _MAX_NETWORK_BYTES:
        raise ModelError(
            f"{config.architecture} with {config.model_args} would take {size / 2**30:.0f} GiB; "
            f"at most {_MAX_NETWORK_BYTES / 2**30:.0f} GiB are built on a config's word."
        )
    return network


def build_network(config: ModelConfig) -> nn.Module:
    """The network of a config, with random weights.

    Raises:
        ModelError: If timm cannot build it, or it would be larger than any encoder.
    """
    skeleton(config)
    return _build(config)


def load_network(config: ModelConfig, folder: str | Path) -> nn.Module:
    """The network of a model folder: every tensor is from the file.

    It is built only when the file's header fits, so that it takes no more memory than the file
    on the disk does.

    Raises:
        ModelError: If timm cannot build the network, the weights file is missing or damaged, a
            tensor is missing, unexpected or of another shape or type, or a weight is NaN or
            infinite.
    """
    path = own_file(folder, WEIGHTS)
    check_weights(skeleton(config).state_dict(), path)
    network = _build(config)
    network.load_state_dict(read_weights(network.state_dict(), path), strict=True)
    return network


def largest_weights(config: ModelConfig) -> int:
    """Most bytes that the weights file of a config may have."""
    return largest_file(skeleton(config).state_dict())


def _why_not(path: Path, allowed: Collection[str]) -> str:
    if path.is_symlink() and (not path.exists() or leads_out(path)):
        return "a link that leads out of the folder"
    if _is_pickle(path):
        return "a pickle, which can run code when it is read"
    if not path.is_file():
        return "a folder" if path.is_dir() else "not a regular file"
    return "" if path.name in allowed else "not part of a model"


def _is_pickle(path: Path) -> bool:
    return path.suffix.lower() in PICKLES and not path.is_dir()


def _build(config: ModelConfig) -> nn.Module:
    known = {
        key: config.pretrained_cfg[key] for key in PRETRAINED_CFG if key in config.pretrained_cfg
    }
    try:
        network: nn.Module = timm.create_model(
            config.architecture, pretrained=False, pretrained_cfg=known, **config.model_args
        )
    except _BUILD_ERRORS as error:
        raise ModelError(
            f"timm {timm.__version__} cannot build {config.architecture} with "
            f"{config.model_args}: {plain(error, 300)}"
        ) from error
    return network
