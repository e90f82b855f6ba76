"""Feature maps of a frozen network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.embed.extract import read_images, warn_of_missing_bands
from georank_zoo.eval.floors import ImageStatistics
from georank_zoo.models.encoder import Encoder
from georank_zoo.models.inference import evaluating
from georank_zoo.utils.errors import ModelError

_CELL = 32  # pixels; the stride of the last map of a ResNet


def feature_maps(encoder: Encoder, z: torch.Tensor, count: int = 1) -> list[torch.Tensor]:
    """The last maps of a network, the one of the highest resolution first.

    Args:
        encoder: The model. The floor of image statistics gives those of cells of 32 pixels.
        z: Standardized images (B, C, H, W).
        count: Number of maps; fewer where the network has fewer.

    Returns:
        Maps (B, D, h, w).

    Raises:
        ModelError: If timm knows no maps of the architecture.
    """
    backbone = encoder.backbone
    if isinstance(backbone, ImageStatistics):
        return [_cell_statistics(z)]
    if not hasattr(backbone, "forward_intermediates"):
        raise ModelError(
            f"{encoder.name} has no feature maps in timm (forward_intermediates), which "
            "segmentation needs."
        )
    network: Any = backbone
    maps: list[torch.Tensor] = network.forward_intermediates(
        z, indices=min(count, len(network.feature_info)), intermediates_only=True, output_fmt="NCHW"
    )
    return maps


def channels(encoder: Encoder, count: int = 1) -> list[int]:
    """Number of features D of each of the last maps."""
    backbone = encoder.backbone
    if isinstance(backbone, ImageStatistics):
        return [backbone.num_features]
    network: Any = backbone
    return [int(entry["num_chs"]) for entry in network.feature_info[-count:]]


def extract_maps(
    encoder: Encoder,
    store: PatchStore,
    *,
    samples: npt.NDArray[np.int64],
    image_size: int,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.float32]:
    """The last map of each sample.

    Args:
        encoder: The model; moved to the device, its mode as it was afterwards.
        store: The patches.
        samples: Positions (N,) in the store.
        image_size: Side in pixels that patches are resized to.
        batch_size: Patches per batch.
        device: Device to run on.
        on_progress: Called with the number of patches done and their total.

    Returns:
        Maps (N, D, h, w), in memory: 2 KB per cell of a ResNet18.

    Raises:
        ModelError: If the network has no maps, or gives NaN or infinity.
    """
    warn_of_missing_bands(encoder, store.bands, store.path)
    maps: npt.NDArray[np.float32] | None = None
    with evaluating(encoder, device):
        for start in range(0, len(samples), batch_size):
            part = slice(start, start + batch_size)
            z = read_images(encoder, store, samples[part], image_size, device)
            found = feature_maps(encoder, z)[-1].float().cpu().numpy()
            if maps is None:
                maps = np.empty((len(samples), *found.shape[1:]), np.float32)
            maps[part] = found
            if on_progress is not None:
                on_progress(min(start + batch_size, len(samples)), len(samples))
    if maps is None:
        raise ValueError("no samples")
    if not np.isfinite(maps).all():
        raise ModelError(f"{encoder.name} gives features that are NaN or infinite.")
    return maps


def _cell_statistics(z: torch.Tensor) -> torch.Tensor:
    """Mean and standard deviation of each band over cells: (B, C, H, W) to (B, 2 C, h, w)."""
    size = max(1, z.shape[-2] // _CELL), max(1, z.shape[-1] // _CELL)
    mean = F.adaptive_avg_pool2d(z, size)
    square = F.adaptive_avg_pool2d(z.square(), size)
    return torch.cat((mean, (square - mean.square()).clamp_min(0).sqrt()), dim=1)
