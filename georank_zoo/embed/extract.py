"""Images of a store to embeddings, in chunks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from georank_zoo import bands as s2
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.models.encoder import Encoder
from georank_zoo.utils.errors import ModelError, UsageError, unknown_name

logger = logging.getLogger(__name__)

DEVICES = ("auto", "cpu", "cuda", "mps")


def pick_device(name: str = "auto") -> torch.device:
    """The device of a name; `auto` takes the accelerator if there is one.

    Raises:
        UsageError: If the name is unknown or this machine has no such device.
    """
    kind = name.partition(":")[0]
    if kind not in DEVICES:
        raise unknown_name("device", name, DEVICES)
    available = {"cpu": True, "cuda": torch.cuda.is_available()}
    available["mps"] = torch.backends.mps.is_available()
    if kind == "auto":
        return torch.device(next((d for d in ("cuda", "mps") if available[d]), "cpu"))
    if not available[kind]:
        raise UsageError(f"This machine has no {kind} device. Say --device auto or cpu.")
    return torch.device(name)


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


def warn_of_lacking_bands(encoder: Encoder, store: PatchStore) -> None:
    """Says which bands of the model the store does not have."""
    lacking = s2.missing(store.bands, encoder.model_bands)
    if lacking:
        logger.warning(
            "%s lacks %s, which %s takes: fed at their mean.",
            store.path, ", ".join(lacking), encoder.name,
        )  # fmt: skip


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
        device: Where the images are wanted.

    Returns:
        Standardized images (B, C, image_size, image_size) of the model's bands.
    """
    shared = encoder.shared_bands(store.bands)
    patches = torch.from_numpy(store.read(samples, shared)).to(device)
    return resize(encoder.standardize(patches, shared, "dn"), image_size)


def extract(
    encoder: Encoder,
    store: PatchStore,
    *,
    samples: npt.NDArray[np.int64] | None = None,
    image_size: int | None = None,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.float32]:
    """Embeds patches of a store.

    At any time one batch of images is in memory, besides the result. Bands are selected by
    name; those that the store lacks are fed at their mean.

    Args:
        encoder: The model; it is moved to the device, and each part of it put back into its own
            mode (training or evaluation) afterwards.
        store: The patches.
        samples: Positions (N,) of the patches in the store; all of them by default.
        image_size: Side in pixels that patches are resized to; the model's by default.
        batch_size: Patches per batch.
        device: Where to run.
        on_progress: Called with the number of patches done and their total.

    Returns:
        Features (N, D), not normalized.

    Raises:
        UsageError: If store and model have no band in common.
        ModelError: If a feature is NaN or infinite.
    """
    samples = np.arange(len(store)) if samples is None else samples
    encoder.shared_bands(store.bands)
    warn_of_lacking_bands(encoder, store)
    features = np.empty((len(samples), encoder.num_features), np.float32)
    extract_into(
        features, encoder, store, samples=samples, image_size=image_size, batch_size=batch_size,
        device=device, on_progress=on_progress,
    )  # fmt: skip
    return features


def extract_into(
    features: npt.NDArray[np.float32],
    encoder: Encoder,
    store: PatchStore,
    *,
    samples: npt.NDArray[np.int64],
    image_size: int | None = None,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Embeds patches into an array that there is already, such as a part of a mapped file.

    Args:
        features: Filled with the features (N, D).
        encoder: As for `extract`, like all that follows.
        store: The patches.
        samples: Positions (N,) of the patches in the store.
        image_size: Side in pixels that patches are resized to; the model's by default.
        batch_size: Patches per batch.
        device: Where to run.
        on_progress: Called with the number of patches done and their total.

    Raises:
        UsageError: If store and model have no band in common.
        ModelError: If a feature is NaN or infinite.
    """
    size = encoder.image_size if image_size is None else image_size
    encoder.shared_bands(store.bands)
    with evaluating(encoder, device):
        for start in range(0, len(samples), batch_size):
            part = slice(start, start + batch_size)
            z = read_images(encoder, store, samples[part], size, device)
            features[part] = encoder.embed(z).float().cpu().numpy()
            if on_progress is not None:
                on_progress(min(part.stop, len(samples)), len(samples))
    require_finite(features, encoder)


def require_finite(features: npt.NDArray[np.float32], encoder: Encoder) -> None:
    """Refuses features (N, D) of which one is NaN or infinite.

    Raises:
        ModelError: Says for how many patches.
    """
    broken = int((~np.isfinite(features).all(axis=1)).sum())
    if broken:
        raise ModelError(
            f"{encoder.name} gives NaN or infinite features for {broken} of {len(features)} "
            "patches."
        )


@contextmanager
def evaluating(encoder: Encoder, device: str | torch.device) -> Iterator[None]:
    """Moves a model to the device for inference; each part's mode is put back afterwards."""
    # Not one mode for all: parts of a network in training may be frozen.
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.to(device).eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training
