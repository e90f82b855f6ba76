"""Models of the zoo: images in, by band name, and features out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from georank_zoo import bands as s2
from georank_zoo.bands import Unit
from georank_zoo.models.config import (
    WEIGHTS,
    ModelConfig,
    check_statistics,
    has_fixed_size,
    load_config,
)
from georank_zoo.models.find import ModelSource, find_model, is_local
from georank_zoo.models.folder import build_network, load_network, refuse_pickles
from georank_zoo.models.inference import (
    InferenceSettings,
    check_images,
    checked_reflectance,
    device_of,
    dtype_of,
    embed_batches,
    evaluating,
    require_finite,
    resize,
    to_device,
)
from georank_zoo.utils.devices import pick_device
from georank_zoo.utils.errors import UsageError, unknown_name
from georank_zoo.utils.files import sha256_of
from georank_zoo.utils.progress import OnProgress, progress_bar
from georank_zoo.utils.tables import Table

NO_HASH = "none"


class Encoder(nn.Module):
    """A network with its input contract: images in, features out.

    It is a module like any other: `.to()`, `.half()` and `.bfloat16()` move and convert the
    weights, and standardization stays exact in float32.

    Args:
        backbone: Maps standardized images (B, C, H, W) to features (B, D).
        model_bands: Bands of the backbone's channels.
        mean: Mean per model band, in reflectance.
        std: Standard deviation per model band, in reflectance.
        image_size: Side in pixels that the backbone was trained for.
        bands: Bands of the images to come, in their channel order; the model's by default.
            Bands of the model that are missing are fed at their mean, others are dropped.
        unit: Unit of the images to come.
        name: Name of the model.
        model_hash: SHA-256 of the weights' file, or `none`.
        config: Config of the model folder that it came from.

    Attributes:
        num_features: Length of a feature vector, D.

    Raises:
        UsageError: If a band or the unit is unknown, no band is the model's, or `mean` or
            `std` do not fit.

    Example:
        >>> import georank_zoo as gz
        >>> import numpy as np
        >>> model = gz.create_model("runs/georank-moco-r18")
        >>> model.name, len(model.bands)
        ('georank-moco-r18', 12)
        >>> dn = np.random.default_rng(0).integers(100, 4000, (6, 4, 48, 48), dtype=np.uint16)
        >>> z = model.encode(dn, bands="rgbn", unit="dn")
        >>> z.shape == (6, model.num_features), z.dtype
        (True, dtype('float32'))
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

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        # `.half()` is for the weights: a mean in float16 would shift every image.
        exact = {"mean": self.mean, "std": self.std}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for key, values in exact.items():
            setattr(self, key, values.to(getattr(self, key).device))
        return self

    @property
    def architecture(self) -> str:
        """Name of the timm model, or of the backbone's class."""
        return self.config.architecture if self.config else type(self.backbone).__name__

    def _facts(self) -> dict[str, Any]:
        facts = {
            "name": self.name,
            "architecture": self.architecture,
            "bands": ",".join(self.model_bands),
            "image_size": self.image_size,
            "num_features": self.num_features,
        }
        if (self.bands, self.unit) != (self.model_bands, "reflectance"):
            facts |= {"images": f"{self.unit} of {','.join(self.bands)}"}
        return facts

    def __repr__(self) -> str:
        return f"Encoder({', '.join(f'{key}={value!r}' for key, value in self._facts().items())})"

    def _repr_html_(self) -> str:
        rows = tuple((key.replace("_", " "), str(value)) for key, value in self._facts().items())
        return Table("", ("", "Encoder"), rows).to_html()

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
            mean, where a band is missing.
        """
        shared = self.shared_bands(bands)
        if tuple(bands) != shared:
            images = images[:, s2.indices(bands, shared)]
        own = s2.indices(self.model_bands, shared)
        reflectance = s2.to_reflectance(images, unit)
        z = s2.standardize(reflectance, self.mean[own], self.std[own])
        return s2.fill_missing(z, shared, self.model_bands)

    def embed(self, z: torch.Tensor) -> torch.Tensor:
        """Features (B, D) of standardized images (B, C, H, W) of the model's bands.

        The images are converted to the type of the weights, which the features have too.
        """
        features: torch.Tensor = self.backbone(z.to(dtype_of(self.backbone)))
        return features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features of images in the bands and the unit that the encoder was made for.

        Args:
            images: Images (B, len(bands), H, W). They are not resized: `image_size` says what
                the network has seen in training.

        Returns:
            Features (B, D), not normalized, in the type of the weights.

        Raises:
            UsageError: If the shape does not fit the bands or the range not the unit.
        """
        if images.ndim != 4 or images.shape[1] != len(self.bands):
            raise UsageError(
                f"Images must have shape (B, {len(self.bands)}, H, W) for the bands "
                f"{', '.join(self.bands)}, not {tuple(images.shape)}."
            )
        reflectance = checked_reflectance(images, self.unit, where="The batch of images")
        return self.embed(self.standardize(reflectance, self.bands, "reflectance"))

    def encode(
        self,
        images: npt.ArrayLike | torch.Tensor,
        *,
        bands: str | Sequence[str] | None = None,
        unit: Unit | None = None,
        image_size: int | None = None,
        batch_size: int = 256,
        device: str | torch.device = "auto",
        progress: bool = True,
        on_progress: OnProgress | None = None,
    ) -> npt.NDArray[np.float32]:
        """Features of any number of images, in batches and without gradients.

        The features are those of `georank features` and `georank eval` for the same batches.
        Afterwards each part of the network is in its own mode (training or evaluation), and on its
        own device, as before.

        Args:
            images: Images (N, len(bands), H, W) or one (len(bands), H, W), of any number type.
            bands: Bands of the images in channel order, a list or the name of a set (`rgbn`); the
                encoder's own by default. Bands of the model that are missing are fed at their
                mean, others are dropped.
            unit: Unit of the images; the encoder's own by default.
            image_size: Side in pixels that images are resized to; the model's by default.
            batch_size: Images per batch.
            device: Device to run on. `auto` is the encoder's own if that is an accelerator, else
                an accelerator if there is one.
            progress: Show a bar if it takes more than a second.
            on_progress: Called with the number of images done and their total, in place of a bar.

        Returns:
            Features (N, D), or (D,) of one image, float32 and not normalized.

        Raises:
            UsageError: If the shape does not fit the bands, the range contradicts the unit, a
                value is NaN, or another argument is invalid.
            ModelError: If a feature is NaN or infinite.

        Example:
            >>> import georank_zoo as gz
            >>> import torch
            >>> model = gz.create_model("runs/georank-moco-r18")
            >>> images = torch.rand(3, 12, 32, 32)
            >>> model.encode(images).shape == (3, model.num_features)
            True
            >>> model.half().encode(images[0]).dtype
            dtype('float32')
        """
        bands = self.bands if bands is None else s2.resolve(bands)
        unit = self.unit if unit is None else unit
        if unit not in s2.UNITS:
            raise unknown_name("unit", unit, s2.UNITS)
        self.shared_bands(bands)
        settings = self.inference_settings(image_size, batch_size, device)
        checked = check_images(images, bands)
        batch = checked[None] if checked.ndim == 3 else checked
        features = np.empty((len(batch), self.num_features), np.float32)

        def read(part: slice) -> torch.Tensor:
            where = f"The batch of images {part.start} to {part.stop - 1}"
            pixels = to_device(batch[part], settings.device)
            reflectance = checked_reflectance(pixels, unit, where=where)
            z = self.standardize(reflectance, bands, "reflectance")
            return resize(z, settings.image_size)

        with (
            progress_bar("Encoding", on_progress, show=progress) as report,
            evaluating(self, settings.device),
        ):
            embed_batches(
                self.embed, read, features, batch_size, lambda done, total: report(done, total, "")
            )
        require_finite(features, self.name)
        return features[0] if checked.ndim == 3 else features

    def inference_settings(
        self, image_size: int | None, batch_size: int, device: str | torch.device
    ) -> InferenceSettings:
        """The settings of `encode`, with defaults filled in.

        Raises:
            UsageError: If a number is below 1, there is no such device, or the network takes images
                of one size only.
        """
        size = self.image_size if image_size is None else image_size
        dynamic = getattr(self.backbone, "dynamic_img_size", False)
        if size != self.image_size and not dynamic and has_fixed_size(self.architecture):
            raise UsageError(
                f"{self.name} ({self.architecture}) takes images of {self.image_size} px only, not "
                f"{size}. Leave the image size out."
            )
        home = device_of(self)
        stays = str(device) == "auto" and home.type != "cpu"
        return InferenceSettings(size, batch_size, home if stays else pick_device(device))


def as_encoder(model: Encoder | ModelSource) -> Encoder:
    """An encoder as it is, or the model of a path or an id as `create_model` loads it."""
    return model if isinstance(model, Encoder) else create_model(model)


def create_model(
    source: ModelSource,
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
        source: An export folder, a run folder (with `export/`), anything with a path to one such
            as a `Run`, or a model on the Hub: `org/name`, `org/name@revision`, with or without
            `hf-hub:`.
        bands: Bands of your images in channel order, a list or the name of a set (`s2-10`,
            `rgb`); the model's own by default. Bands of the model that are missing are fed at
            their mean, those that the model does not take are dropped.
        unit: Unit of your images. DN must have had the +1000 offset of processing baseline
            >= 04.00 removed.
        pretrained: False gives the same network with random weights.
        revision: Branch, tag or commit on the Hub.

    Raises:
        ModelError: If there is no such model, or it is damaged or unsafe.
        UsageError: If a band or the unit is unknown.

    Example:
        >>> import georank_zoo as gz
        >>> gz.create_model("runs/georank-moco-r18")
        Encoder(name='georank-moco-r18', architecture='resnet18', bands='B01,B02,...',
                image_size=..., num_features=512)
    """
    source = os.fspath(source)
    local = is_local(source)
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
        name=(config.name if local else "") or source,
        model_hash=sha256_of(folder / WEIGHTS) if pretrained else NO_HASH,
        config=config,
    )
    return encoder.eval()
