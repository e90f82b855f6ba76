"""Proof that timm, in one line, loads from a model folder the network that the folder holds."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn

from georank_zoo import bands as s2
from georank_zoo.models.config import ModelConfig
from georank_zoo.models.fingerprint import IMAGES, fixed_images
from georank_zoo.utils.errors import ModelError

# What timm may raise on a model that it cannot build or fill.
TIMM_ERRORS = (RuntimeError, TypeError, ValueError, KeyError, AssertionError, OSError)


def require_timm_features(
    network: nn.Module, config: ModelConfig, source: str, *, where: str
) -> torch.Tensor:
    """Checks that timm loads a network bit for bit: every tensor, and the features.

    Args:
        network: The network that timm has to load, on the CPU. It is left in evaluation mode.
        config: Its config.
        source: Name for timm: `local-dir:<folder>` or `hf-hub:<id>`.
        where: Name of the source in messages.

    Returns:
        Features (IMAGES, D) of `fixed_images`.

    Raises:
        ModelError: If timm does not load it, or something differs.
    """
    try:
        loaded = load_with_timm(source)
    except TIMM_ERRORS as error:
        raise ModelError(f"timm {timm.__version__} does not load {where}: {error}") from error
    expected, found = network.state_dict(), loaded.state_dict()
    unequal = sorted(
        name
        for name in expected.keys() | found.keys()
        if name not in expected or name not in found or not torch.equal(expected[name], found[name])
    )
    if unequal:
        raise ModelError(
            f"{len(unequal)} tensor(s) differ after loading {where} with timm {timm.__version__}, "
            f"the first is {unequal[0]}."
        )
    features = fixed_features(network, config)
    width = (IMAGES, loaded.num_features)
    if features.shape != width or not torch.equal(features, fixed_features(loaded, config)):
        raise ModelError(
            f"The features differ after loading {where} with timm {timm.__version__}: the network "
            f"is not what timm builds as {config.architecture}."
        )
    return features


def load_with_timm(source: str, *, cache: str | None = None) -> nn.Module:
    """The network that timm loads in one line; the random state is left alone.

    Args:
        source: Name for timm.
        cache: Folder of downloads, in place of the Hub's own cache.
    """
    # timm first fills the network with random numbers, which are not to be the caller's.
    with torch.random.fork_rng(devices=[]):
        options: dict[str, Any] = {} if cache is None else {"cache_dir": cache}
        network: nn.Module = timm.create_model(source, pretrained=True, **options)
    return network


def timm_features(source: str, config: ModelConfig, *, cache: str | None = None) -> torch.Tensor:
    """Features (IMAGES, D) of `fixed_images` by the network that timm loads in one line."""
    return fixed_features(load_with_timm(source, cache=cache), config)


def fixed_features(network: nn.Module, config: ModelConfig) -> torch.Tensor:
    """Features (IMAGES, D) of `fixed_images`, standardized as the config says.

    Args:
        network: The network, on the CPU. It is left in evaluation mode.
        config: Its config.
    """
    dn = torch.from_numpy(fixed_images(config.bands, config.image_size))
    z = s2.standardize(s2.to_reflectance(dn, "dn"), config.mean, config.std)
    with torch.inference_mode():
        features: torch.Tensor = network.eval()(z)
    return features
