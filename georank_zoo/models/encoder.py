"""Load a model of the zoo and give it images by band name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from georank_zoo import bands as s2
from georank_zoo.bands import DN_PER_REFLECTANCE, Unit
from georank_zoo.models.config import CONFIG, WEIGHTS, ModelConfig, check_statistics, load_config
from georank_zoo.models.folder import build_network, load_network, refuse_pickles
from georank_zoo.models.hub import download, parse_id
from georank_zoo.utils.errors import ModelError, UsageError, unknown_name
from georank_zoo.utils.files import sha256_of

EXPORT_FOLDER = "export"  # of a run folder
NO_HASH = "none"

_HUB_PREFIXES = ("hf-hub:", "hf_hub:")


class Encoder(nn.Module):
    """A network with its input contract: images in, features out.

    Args:
        backbone: Maps standardized images (B, C, H, W) to features (B, D).
        model_bands: Bands of the backbone's channels.
        mean: Per model band, in reflectance.
        std: Per model band, in reflectance.
        image_size: Side in pixels that the backbone was trained for.
        bands: Bands of the images to come, in their channel order; the model's by default.
            Bands of the model that they lack are fed at their mean, others are dropped.
        unit: Unit of the images to come.
        name: What to call it in tables.
        model_hash: SHA-256 of the weights' file, or `none`.
        config: Config of the model folder that it came from.

    Attributes:
        num_features: Length of a feature vector, D.

    Raises:
        UsageError: If a band or the unit is unknown, no band is the model's, or `mean` or
            `std` do not fit.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        backbone: nn.Module,
        *,
        model_bands: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        image_size: int,
        bands: str | Sequence[str] | None = None,
        unit: Unit = "reflectance",
        name: str = "model",
        model_hash: str = NO_HASH,
        config: ModelConfig | None = None,
    ) -> None:
        super().__init__()
        if unit not in s2.UNITS:
            raise unknown_name("unit", unit, s2.UNITS)
        self.backbone = backbone
        self.model_bands = s2.resolve(model_bands)
        self.bands = self.model_bands if bands is None else s2.resolve(bands)
        self.shared_bands(self.bands)
        self.unit: Unit = unit
        self.image_size = image_size
        self.name = name
        self.model_hash = model_hash
        self.config = config
        self.num_features = int(backbone.num_features)  # type: ignore[arg-type]
        count = len(self.model_bands)
        for key, values in (("mean", mean), ("std", std)):
            self.register_buffer(key, torch.tensor(check_statistics(values, count, name=key)))

    def shared_bands(self, bands: Sequence[str]) -> tuple[str, ...]:
        """The model's bands among the given ones, in the model's order.

        Raises:
            UsageError: If there is none.
        """
        shared = tuple(name for name in self.model_bands if name in bands)
        if not shared:
            raise UsageError(
                f"The images have {', '.join(bands)}, but the model takes "
                f"{', '.join(self.model_bands)}: no band in common."
            )
        return shared

    def standardize(self, images: torch.Tensor, bands: Sequence[str], unit: Unit) -> torch.Tensor:
        """Prepares images of any bands for the network, without a check of their range.

        Args:
            images: Images (B, len(bands), H, W), any number type.
            bands: Their bands, in channel order.
            unit: Their unit.

        Returns:
            Standardized images (B, C, H, W) of the model's bands, float32; zero, which is the
            mean, where a band is lacking.
        """
        shared = self.shared_bands(bands)
        if tuple(bands) != shared:
            images = images[:, s2.indices(bands, shared)]
        own = s2.indices(self.model_bands, shared)
        reflectance = s2.to_reflectance(images, unit)
        z = s2.standardize(reflectance, self.mean[own], self.std[own])
        return s2.fill_missing(z, shared, self.model_bands)

    def embed(self, z: torch.Tensor) -> torch.Tensor:
        """Features (B, D) of standardized images (B, C, H, W) of the model's bands."""
        features: torch.Tensor = self.backbone(z)
        return features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features of images in the bands and the unit that the encoder was made for.

        Args:
            images: Images (B, len(bands), H, W). They are not resized: `image_size` says what
                the network has seen in training.

        Returns:
            Features (B, D), not normalized.

        Raises:
            UsageError: If the shape does not fit the bands or the range not the unit.
        """
        if images.ndim != 4 or images.shape[1] != len(self.bands):
            raise UsageError(
                f"Images must have shape (B, {len(self.bands)}, H, W) for the bands "
                f"{', '.join(self.bands)}, not {tuple(images.shape)}."
            )
        reflectance = s2.to_reflectance(images, self.unit)
        if reflectance.numel():
            scale = DN_PER_REFLECTANCE if self.unit == "dn" else 1.0
            # Rounded, for in float32 DN -1000 comes back as -1000.00001.
            low, high = (round(float(value) * scale, 3) for value in reflectance.aminmax())
            s2.check_unit(low, high, self.unit, where="The batch of images")
        return self.embed(self.standardize(reflectance, self.bands, "reflectance"))


def create_model(
    source: str | Path,
    *,
    bands: str | Sequence[str] | None = None,
    unit: Unit = "reflectance",
    pretrained: bool = True,
    revision: str | None = None,
) -> Encoder:
    """Loads a model, in evaluation mode.

    Only `config.json` and `model.safetensors` are read, never a pickle, and every tensor of the
    network must come from the file.

    Args:
        source: An export folder, a run folder (with `export/`), or a model on the Hub:
            `org/name`, `org/name@revision`, with or without `hf-hub:`.
        bands: Bands of your images in channel order, a list or the name of a set (`s2-10`,
            `rgb`); the model's own by default. Bands that the images lack are fed at their
            mean, those that the model does not take are dropped.
        unit: Unit of your images. DN must have had the +1000 offset of processing baseline
            >= 04.00 removed.
        pretrained: False gives the same network with random weights.
        revision: Branch, tag or commit on the Hub.

    Raises:
        ModelError: If there is no such model, or it is damaged or unsafe.
        UsageError: If a band or the unit is unknown.
    """
    local = _is_local(source)
    folder = find_model(source, revision=revision, weights=pretrained)
    config = load_config(folder)
    # From the Hub no other file was asked for, so there none is refused.
    if local:
        refuse_pickles(folder)
    # The caller's random state does not depend on whether it loads a model.
    with torch.random.fork_rng(devices=[], enabled=pretrained):
        network = load_network(config, folder) if pretrained else build_network(config)
    encoder = Encoder(
        network,
        model_bands=config.bands,
        mean=config.mean,
        std=config.std,
        image_size=config.image_size,
        bands=bands,
        unit=unit,
        # A folder may lie anywhere and be called `export`; an id of the Hub says what it is.
        name=(config.name if local else "") or str(source),
        model_hash=sha256_of(folder / WEIGHTS) if pretrained else NO_HASH,
        config=config,
    )
    return encoder.eval()


def find_model(source: str | Path, *, revision: str | None = None, weights: bool = True) -> Path:
    """The folder of a model: local, or in the Hub's cache after a download.

    Raises:
        ModelError: If there is no such model.
    """
    path = Path(source)
    hub_id = parse_id(str(source), revision)
    if _is_local(source):
        if revision is not None:
            raise UsageError(f"{path} is a folder here; a revision names a model on the Hub.")
        return _local_folder(path)
    if hub_id is None:
        raise ModelError(
            f"No folder {source}, and it is no model id of the Hub either (org/name). Give an "
            "export folder, a run folder or a model id."
        )
    try:
        return download(hub_id, weights=weights)
    except ModelError as error:
        local = (
            "" if str(source).startswith(_HUB_PREFIXES) else f"There is no folder {source} here. "
        )
        raise ModelError(f"{local}{error}") from error


def _is_local(source: str | Path) -> bool:
    return not str(source).startswith(_HUB_PREFIXES) and Path(source).exists()


def _local_folder(path: Path) -> Path:
    if path.is_file():
        raise ModelError(f"{path} is a file. Give the folder that holds {CONFIG}.")
    for folder in (path, path / EXPORT_FOLDER):
        if (folder / CONFIG).is_file():
            return folder
    raise ModelError(
        f"{path} holds neither {CONFIG} nor {EXPORT_FOLDER}/{CONFIG}: it is no export and no "
        "finished run. Write one with `georank export`."
    )
