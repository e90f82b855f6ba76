"""Features of a store's patches, in memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from georank_zoo import bands as s2
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.models.encoder import Encoder
from georank_zoo.models.inference import (
    InferenceSettings,
    OnBatch,
    embed_batches,
    evaluating,
    require_finite,
    resize,
)

logger = logging.getLogger(__name__)


def extract(
    encoder: Encoder,
    store: PatchStore,
    *,
    samples: npt.NDArray[np.int64] | None = None,
    image_size: int | None = None,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    on_progress: OnBatch | None = None,
) -> npt.NDArray[np.float32]:
    """Embeds patches of a store.

    At any time one batch of images is in memory, besides the result. Bands are selected by
    name; those that the store does not have are fed at their mean.

    Args:
        encoder: The model; afterwards its parts are in their own modes (training or evaluation),
            and it is on its own device, as before.
        store: The patches.
        samples: Positions (N,) of the patches in the store; all of them by default.
        image_size: Side in pixels that patches are resized to; the model's by default.
        batch_size: Patches per batch.
        device: Device to run on.
        on_progress: Called with the number of patches done and their total.

    Returns:
        Features (N, D), not normalized.

    Raises:
        UsageError: If store and model have no band in common, or an argument is invalid.
        ModelError: If a feature is NaN or infinite.
    """
    samples = np.arange(len(store)) if samples is None else samples
    settings = encoder.inference_settings(image_size, batch_size, device)
    warn_of_missing_bands(encoder, store.bands, store.path)
    features = np.empty((len(samples), encoder.num_features), np.float32)
    extract_into(features, encoder, store, samples, settings, on_progress)
    return features


def extract_into(
    features: npt.NDArray[np.float32],
    encoder: Encoder,
    store: PatchStore,
    samples: npt.NDArray[np.int64],
    settings: InferenceSettings,
    on_progress: OnBatch | None = None,
) -> None:
    """Embeds patches into an array that there is already, such as a part of a mapped file.

    Args:
        features: Filled with the features (N, D).
        encoder: The model, treated as by `extract`.
        store: The patches.
        samples: Positions (N,) of the patches in the store.
        settings: Image size, batch size and device.
        on_progress: Called with the number of patches done and their total.

    Raises:
        UsageError: If store and model have no band in common.
        ModelError: If a feature is NaN or infinite.
    """

    def read(part: slice) -> torch.Tensor:
        return read_images(encoder, store, samples[part], settings.image_size, settings.device)

    with evaluating(encoder, settings.device):
        embed_batches(encoder.embed, read, features, settings.batch_size, on_progress)
    require_finite(features, encoder.name)


def read_images(
    encoder: Encoder,
    store: PatchStore,
    samples: npt.NDArray[np.int64],
    image_size: int,
    device: str | torch.device,
) -> torch.Tensor:
    """Patches of a store as a network takes them.

    Args:
        encoder: The model, on the device.
        store: The patches.
        samples: Positions (B,) in the store.
        image_size: Side in pixels that patches are resized to.
        device: Device of the result.

    Returns:
        Standardized images (B, C, image_size, image_size) of the model's bands.
    """
    shared = encoder.shared_bands(store.bands)
    patches = torch.from_numpy(store.read(samples, shared)).to(device)
    return resize(encoder.standardize(patches, shared, "dn"), image_size)


def warn_of_missing_bands(encoder: Encoder, bands: Sequence[str], source: str | Path) -> None:
    """Warns of the model's bands that a store or a scene does not have.

    Raises:
        UsageError: If it has none of them.
    """
    encoder.shared_bands(bands)
    missing = s2.missing(bands, encoder.model_bands)
    if missing:
        logger.warning(
            "%s has no %s, which %s takes: fed at their mean.",
            source, ", ".join(missing), encoder.name,
        )  # fmt: skip
