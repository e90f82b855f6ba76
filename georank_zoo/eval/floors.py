"""Floors: what features reach that nobody trained. A model must stand above them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from georank_zoo.eval.results.table import Kind, shown_name
from georank_zoo.models.encoder import Encoder
from georank_zoo.models.folder import build_network
from georank_zoo.utils.errors import ModelError


class ImageStatistics(nn.Module):
    """Per-band mean and standard deviation: images (B, C, H, W) to features (B, 2 C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_features = 2 * channels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Means, then standard deviations."""
        std, mean = torch.std_mean(images, dim=(2, 3), correction=0)
        return torch.cat((mean, std), dim=1)


@dataclass(frozen=True, eq=False)
class EvaluatedModel:
    """A model or a floor of an evaluation.

    Attributes:
        encoder: Network and its input contract.
        kind: Kind, as results name it.
        origin: Text that tells it from others of its name; empty if it shares its name with none.
        architecture: Name of the timm model; empty where there is none or it is not known.
        sizes: Image sizes in pixels that it is evaluated at by default.
    """

    encoder: Encoder
    kind: Kind = "model"
    origin: str = ""
    architecture: str = ""
    sizes: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """Name with its origin."""
        return shown_name(self.encoder.name, self.origin)

    @property
    def input_hash(self) -> str:
        """Hash of the input contract: bands, means and standard deviations."""
        encoder = self.encoder
        contract = [encoder.model_bands, encoder.mean.tolist(), encoder.std.tolist()]
        return hashlib.sha256(json.dumps(contract).encode()).hexdigest()[:16]


def deduplicate_names(
    models: Sequence[Encoder], sources: Sequence[str]
) -> tuple[EvaluatedModel, ...]:
    """Models of an evaluation, those that share their name with another told apart by source.

    Args:
        models: The models.
        sources: Folder, path or id of each.
    """
    names = [model.name for model in models]
    return tuple(
        EvaluatedModel(
            model,
            origin=source if names.count(model.name) > 1 else "",
            architecture=model.config.architecture if model.config else "",
            sizes=(model.image_size,),
        )
        for model, source in zip(models, sources, strict=True)
    )


def image_statistics(model: Encoder) -> EvaluatedModel:
    """The floor of the input itself, on the model's bands and standardization."""
    backbone = ImageStatistics(len(model.model_bands))
    return EvaluatedModel(_with_backbone(model, backbone, "image statistics"), "image-statistics")


def random_initialization(model: Encoder, *, seed: int = 0) -> EvaluatedModel:
    """The floor of the architecture: the model's network as timm initializes it.

    Raises:
        ModelError: If the architecture of the encoder is not known.
    """
    return _untrained(model, "random-init", "random {}", seed)


def floors_of(models: Sequence[EvaluatedModel], *, seed: int = 0) -> list[EvaluatedModel]:
    """The floors of frozen features, each once: models of one architecture and input share them."""
    return _by_input(
        models, lambda model: [image_statistics(model), random_initialization(model, seed=seed)]
    )


def from_scratch(models: Sequence[EvaluatedModel], *, seed: int = 0) -> list[EvaluatedModel]:
    """The floor of finetuning, supervised training alone: the networks before any training."""
    return _by_input(models, lambda model: [_untrained(model, "scratch", "{} from scratch", seed)])


def _untrained(model: Encoder, kind: Kind, name: str, seed: int) -> EvaluatedModel:
    if model.config is None:
        raise ModelError(
            f"The architecture of {model.name} is not known, so there is no random floor. Pass "
            "--no-floors (floors=False)."
        )
    architecture = model.config.architecture
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(model.config)
    encoder = _with_backbone(model, network, name.format(architecture))
    return EvaluatedModel(encoder, kind, architecture=architecture)


def _by_input(
    models: Sequence[EvaluatedModel], make: Callable[[Encoder], list[EvaluatedModel]]
) -> list[EvaluatedModel]:
    groups: dict[object, list[EvaluatedModel]] = {}
    for model in models:
        groups.setdefault((model.architecture, model.input_hash), []).append(model)
    return [
        replace(
            floor,
            origin=f"input of {group[0].title}" if len(groups) > 1 else "",
            sizes=tuple(sorted({model.encoder.image_size for model in group})),
        )
        for group in groups.values()
        for floor in make(group[0].encoder)
    ]


def _with_backbone(model: Encoder, backbone: nn.Module, name: str) -> Encoder:
    return Encoder(
        backbone,
        model_bands=model.model_bands,
        mean=model.mean.tolist(),
        std=model.std.tolist(),
        image_size=model.image_size,
        name=name,
    ).eval()
