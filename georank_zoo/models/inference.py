"""Images in batches through a network: types, sizes, modes and devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from georank_zoo import bands as s2
from georank_zoo.utils.errors import ModelError, UsageError

_SAMPLED = 2**17  # values that tell the unit of a batch

# Of images done, and of images in all.
OnBatch = Callable[[int, int], None]


@dataclass(frozen=True)
class InferenceSettings:
    """How images go through a network.

    Attributes:
        image_size: Side in pixels that images are resized to.
        batch_size: Images per batch.
        device: Device that the network runs on.

    Raises:
        UsageError: If a number is below 1.
    """

    image_size: int
    batch_size: int
    device: torch.device

    def __post_init__(self) -> None:
        for name in ("image_size", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, not {getattr(self, name)}.")


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """Images (B, C, H, W) at size x size pixels: bilinear, antialiased when it shrinks them."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(
        images,
        size=(size, size),
        mode="bilinear",
        align_corners=False,
        antialias=size < max(images.shape[-2:]),
    )


def checked_reflectance(images: torch.Tensor, unit: s2.Unit, *, where: str) -> torch.Tensor:
    """Reflectance, float32, of images whose values fit the unit.

    Args:
        images: Images of any shape and number type.
        unit: Their unit.
        where: Name of the images, for the message.

    Raises:
        UsageError: If the values as a whole do not fit, or one is NaN, infinite or stands for none.
    """
    reflectance = s2.to_reflectance(images, unit)
    if reflectance.numel():
        scale = s2.DN_PER_REFLECTANCE if unit == "dn" else 1.0
        low, high = (float(value) for value in reflectance.aminmax())
        # Rounded, for in float32 DN -2000 comes back as -2000.00001.
        usual = [round(value * scale, 3) for value in _usual_range(reflectance, low, high)]
        s2.check_unit(usual[0], usual[1], unit, where=where)
        if low < s2.NO_VALUE_BELOW or high > s2.NO_VALUE_ABOVE:
            odd = low if low < s2.NO_VALUE_BELOW else high
            raise UsageError(
                f"{where} holds {odd * scale:g}, which looks like a no-data value: replace it, by "
                "0 for example."
            )
    return reflectance


def _usual_range(values: torch.Tensor, low: float, high: float) -> tuple[float, float]:
    """The range without odd values and without zeros, which often stand for no data."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return low, high
    flat = values.flatten()
    # Sorting all values would take longer than the network. An odd step meets all columns.
    flat = flat[:: flat.numel() // _SAMPLED // 2 * 2 + 1]
    flat = flat[flat != 0]
    if not flat.numel():
        return low, high
    ordered = flat.sort().values
    first, last = (round(share * (len(ordered) - 1)) for share in s2.UNIT_QUANTILES)
    return float(ordered[first]), float(ordered[last])


@contextmanager
def evaluating(network: nn.Module, device: str | torch.device) -> Iterator[None]:
    """Inference mode on a device; each part's mode and the network's device are put back."""
    # Not one mode for all: parts of a network in training may be frozen.
    modes = [(module, module.training) for module in network.modules()]
    home = device_of(network)
    try:
        network.to(device).eval()
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training
        network.to(home)


def device_of(network: nn.Module) -> torch.device:
    """The device of a network's weights; the CPU if it has none."""
    devices = (t.device for t in chain(network.parameters(), network.buffers()))
    return next(devices, torch.device("cpu"))


def dtype_of(network: nn.Module) -> torch.dtype:
    """The type of a network's weights; float32 if it has none."""
    floats = (p.dtype for p in network.parameters() if p.is_floating_point())
    return next(floats, torch.float32)


def embed_batches(
    embed: Callable[[torch.Tensor], torch.Tensor],
    read: Callable[[slice], torch.Tensor],
    features: npt.NDArray[np.float32],
    batch_size: int,
    on_batch: OnBatch | None,
) -> None:
    """Fills an array with features, a batch of images at a time.

    Args:
        embed: Features (B, D) of standardized images (B, C, H, W).
        read: Standardized images of a slice of positions.
        features: Filled with the features (N, D), float32.
        batch_size: Images per batch.
        on_batch: Called with the number of images done and their total.
    """
    count = len(features)
    for start in range(0, count, batch_size):
        part = slice(start, min(start + batch_size, count))
        features[part] = embed(read(part)).float().cpu().numpy()
        if on_batch is not None:
            on_batch(part.stop, count)


def require_finite(features: npt.NDArray[np.float32], name: str) -> None:
    """Refuses features (N, D) of which one is NaN or infinite.

    Args:
        features: The features.
        name: Name of the model, for the message.

    Raises:
        ModelError: Says for how many images.
    """
    broken = int((~np.isfinite(features).all(axis=1)).sum())
    if broken:
        raise ModelError(
            f"{name} gives NaN or infinite features for {broken} of {len(features)} images."
        )


def check_images(images: Any, bands: Sequence[str]) -> npt.NDArray[Any] | torch.Tensor:
    """Images (N, len(bands), H, W) or one (len(bands), H, W), as an array or a tensor of numbers.

    Raises:
        UsageError: If they have another shape or type, or pixels are masked.
    """
    if isinstance(images, np.ma.MaskedArray) and np.ma.is_masked(images):
        raise UsageError("Pixels of the images are masked. Fill them, e.g. by images.filled(0).")
    if not isinstance(images, torch.Tensor):
        images = np.asarray(images)
    if not _holds_numbers(images):
        raise UsageError(f"Images must be numbers, as an array or a tensor, not {images.dtype}.")
    shape = tuple(images.shape)
    if images.ndim not in (3, 4) or shape[-3] != len(bands) or 0 in shape[-2:]:
        last = images.ndim in (3, 4) and shape[-1] == len(bands)
        hint = " Move the bands from the last axis to the front of the pixels'." if last else ""
        if images.ndim in (3, 4) and not last and 0 not in shape:
            hint = " If these are other bands, name them: bands=[...]."
        raise UsageError(
            f"Images must have shape (N, {len(bands)}, H, W) or ({len(bands)}, H, W) for the bands "
            f"{', '.join(bands)}, not {shape}.{hint}"
        )
    checked: npt.NDArray[Any] | torch.Tensor = images
    return checked


def _holds_numbers(images: npt.NDArray[Any] | torch.Tensor) -> bool:
    if isinstance(images, torch.Tensor):
        return not (images.is_complex() or images.dtype == torch.bool or images.is_quantized)
    return images.dtype.kind in "uif"


def to_device(images: npt.NDArray[Any] | torch.Tensor, device: torch.device) -> torch.Tensor:
    """Images as a contiguous tensor on a device: uint16, or float32 if they are anything else."""
    if isinstance(images, torch.Tensor):
        dtype = images.dtype if images.dtype == torch.uint16 else torch.float32
        return images.detach().to(dtype).to(device).contiguous()
    narrow = images.dtype.kind == "u" and images.dtype.itemsize == 2
    # A copy in memory order and native bytes, which a mapped or reversed array is not.
    copied = np.array(images, np.uint16 if narrow else np.float32, order="C")
    return torch.from_numpy(copied).to(device)
