"""Floors: what features reach that nobody trained. A model must stand above them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from georank_zoo.models.encoder import Encoder
from georank_zoo.models.folder import build_network
from georank_zoo.utils.errors import ModelError

IMAGE_STATISTICS = "image statistics"


class ImageStatistics(nn.Module):
    """Per-band mean and standard deviation: images (B, C, H, W) to features (B, 2 C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_features = 2 * channels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Means, then standard deviations."""
        std, mean = torch.std_mean(images, dim=(2, 3), correction=0)
        return torch.cat((mean, std), dim=1)


def image_statistics(model: Encoder) -> Encoder:
    """The floor of the input itself, on the model's bands and standardization."""
    return _with_backbone(model, ImageStatistics(len(model.model_bands)), IMAGE_STATISTICS)


def random_initialization(model: Encoder, *, seed: int = 0) -> Encoder:
    """The floor of the architecture: the model's network as timm initializes it.

    Raises:
        ModelError: If the encoder does not know its architecture.
    """
    if model.config is None:
        raise ModelError(f"{model.name} does not say its architecture: no random floor.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(model.config)
    return _with_backbone(model, network, f"random {model.config.architecture}")


Floor = tuple[Encoder, tuple[int, ...]]


def floors(models: Sequence[Encoder], *, seed: int = 0) -> list[Floor]:
    """The floors of frozen features, each once: models of one architecture and input share them.

    Returns:
        Each floor with the image sizes of the models that it belongs to.
    """
    return _by_input(
        models, lambda model: [image_statistics(model), random_initialization(model, seed=seed)]
    )


def from_scratch(models: Sequence[Encoder], *, seed: int = 0) -> list[Floor]:
    """The floor of finetuning, supervised training alone: the networks before any training.

    Returns:
        Each floor with the image sizes of the models that it belongs to.
    """

    def untrained(model: Encoder) -> list[Encoder]:
        floor = random_initialization(model, seed=seed)
        floor.name = f"{floor.name.removeprefix('random ')} from scratch"
        return [floor]

    return _by_input(models, untrained)


def _by_input(models: Sequence[Encoder], make: Callable[[Encoder], list[Encoder]]) -> list[Floor]:
    groups: dict[object, list[Encoder]] = {}
    for model in models:
        architecture = model.config.architecture if model.config else None
        statistics = (tuple(model.mean.tolist()), tuple(model.std.tolist()))
        groups.setdefault((architecture, model.model_bands, statistics), []).append(model)
    result = []
    for group in groups.values():
        sizes = tuple(sorted({model.image_size for model in group}))
        for floor in make(group[0]):
            if len(groups) > 1:
                floor.name += f" (input of {group[0].name})"
            result.append((floor, sizes))
    return result


def _with_backbone(model: Encoder, backbone: nn.Module, name: str) -> Encoder:
    return Encoder(
        backbone,
        model_bands=model.model_bands,
        mean=model.mean.tolist(),
        std=model.std.tolist(),
        image_size=model.image_size,
        name=name,
    ).eval()
