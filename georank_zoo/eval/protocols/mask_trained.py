"""Segmentation heads that are trained: a linear one, UPerNet, and UPerNet with the backbone.

AdamW, 30 epochs, warm-up, cosine to a tenth (Burgert et al. 2026). On a frozen backbone the last
epoch counts; finetuned, the epoch with the best IoU on the validation samples.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from georank_zoo.data.datasets.base import Target
from georank_zoo.data.store.patch import UNKNOWN
from georank_zoo.embed.extract import read_images, warn_of_missing_bands
from georank_zoo.eval.arrays import Indices
from georank_zoo.eval.metrics.counts import MIOU, PIXEL_ACCURACY, confusion
from georank_zoo.eval.protocols.adamw import Supervised, require_batch
from georank_zoo.eval.protocols.base import EvalContext, EvalPlan, Prediction
from georank_zoo.eval.protocols.feature_maps import channels, feature_maps
from georank_zoo.eval.protocols.mask_heads import UPERNET_MAPS, PixelLinear, UPerNet
from georank_zoo.eval.splits.make import hold_out_validation
from georank_zoo.utils.errors import GeorankError, UsageError
from georank_zoo.utils.rng import stream

_BATCH = 16  # images at a time where nothing is trained: logits are of the size of the masks


@dataclass(frozen=True)
class MaskLinear(Supervised):
    """A 1x1 convolution on the last map of the frozen network; see `Supervised` for settings."""

    name: ClassVar[str] = "linear"
    targets: ClassVar[tuple[Target, ...]] = ("mask",)
    train_batch_size: int = 16

    def predict(self, context: EvalContext) -> list[Prediction]:
        """Trains the head on the maps of all training samples."""
        split, device = context.split, context.device
        with _seeded(context):
            head = PixelLinear([context.maps.shape[1]], context.num_classes).to(device)
            optimizer = torch.optim.AdamW(self.groups(head, self.lr))
            step = 0
            for epoch in range(self.epochs):
                for batch in self.batches(len(split.train), epoch, context.seed):
                    chosen = split.train[batch]
                    self.set_rates(optimizer, step, len(split.train))
                    maps = torch.from_numpy(context.maps[chosen]).to(device)
                    optimizer.zero_grad()
                    pixel_loss(head([maps]), _masks(context, chosen)).backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    step += 1
                if context.on_progress is not None:
                    context.on_progress(epoch + 1, self.epochs)
            head.eval()
            with torch.inference_mode():
                counts = _count(
                    context,
                    split.test,
                    lambda chosen: head([torch.from_numpy(context.maps[chosen]).to(device)]),
                )
        return [Prediction(counts, settings=self.settings())]

    def describe(self) -> str:
        """The head and the schedule."""
        return (
            f"1x1 convolution on the frozen last map, AdamW, {self.epochs} epochs, rate "
            f"{self.lr:g}; the last epoch counts"
        )


@dataclass(frozen=True)
class MaskUPerNet(Supervised):
    """A UPerNet decoder on the last four maps of the frozen network."""

    name: ClassVar[str] = "upernet"
    targets: ClassVar[tuple[Target, ...]] = ("mask",)
    takes_features: ClassVar[bool] = False
    train_batch_size: int = 16

    def check(self, plan: EvalPlan) -> None:
        """Raises UsageError where a setting is out of range or the split holds nothing out."""
        super().check(plan)
        fitted, _ = hold_out_validation(plan.split, seed=plan.seed)
        require_batch(fitted, self.name)

    def predict(self, context: EvalContext) -> list[Prediction]:
        """Trains on the training samples and takes the best epoch on the validation samples."""
        return _train(self, context, backbone_lr=None)

    def describe(self) -> str:
        """The decoder and the schedule."""
        return (
            f"UPerNet on the frozen network, AdamW, {self.epochs} epochs, rate {self.lr:g}, flips "
            "and quarter turns; validation chooses the epoch"
        )


@dataclass(frozen=True)
class MaskFinetune(MaskUPerNet):
    """Backbone and UPerNet decoder, trained together.

    Attributes:
        backbone_lr: Highest learning rate of the backbone; from scratch it takes the decoder's.
    """

    name: ClassVar[str] = "finetune"
    trains_network: ClassVar[bool] = True
    backbone_lr: float = 1e-4

    def check(self, plan: EvalPlan) -> None:
        """Raises UsageError where a setting is out of range or the split holds nothing out."""
        super().check(plan)
        if not 0 <= self.backbone_lr < math.inf:
            raise UsageError(f"backbone-lr must be 0 or more, not {self.backbone_lr:g}.")

    def predict(self, context: EvalContext) -> list[Prediction]:
        """Trains on the training samples and takes the best epoch on the validation samples."""
        rate = self.lr if context.from_scratch else self.backbone_lr
        return _train(self, context, backbone_lr=rate)

    def describe(self) -> str:
        """The decoder and the schedule."""
        return (
            f"backbone and UPerNet, AdamW, {self.epochs} epochs, rates {self.backbone_lr:g} and "
            f"{self.lr:g} (from scratch {self.lr:g} for both), flips and quarter turns; validation "
            "chooses the epoch"
        )


class MaskNetwork(nn.Module):
    """A copy of a context's encoder with a UPerNet decoder: images to logits of each pixel."""

    def __init__(self, context: EvalContext, *, frozen: bool) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(context.encoder).requires_grad_(not frozen)
        self.head = UPerNet(channels(self.encoder, UPERNET_MAPS), context.num_classes)
        self.frozen = frozen
        self.to(context.device)

    def train(self, mode: bool = True) -> MaskNetwork:
        """A frozen backbone keeps its statistics."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Logits (B, C, h, w) of standardized images (B, bands, H, W)."""
        logits: torch.Tensor = self.head(feature_maps(self.encoder, z, UPERNET_MAPS))
        return logits


def pixel_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Cross-entropy at the size of the masks, over the pixels whose class is known.

    Args:
        logits: (B, C, h, w), resized bilinearly.
        masks: Classes (B, H, W), int64.
    """
    total = F.cross_entropy(
        _enlarged(logits, masks.shape[-1]), masks, ignore_index=UNKNOWN, reduction="sum"
    )
    # A batch may have no known pixel: its loss is 0, not 0 / 0.
    return total / (masks != UNKNOWN).sum().clamp_min(1)


def _enlarged(logits: torch.Tensor, size: int) -> torch.Tensor:
    return F.interpolate(logits.float(), size=(size, size), mode="bilinear", align_corners=False)


def _masks(context: EvalContext, chosen: Indices) -> torch.Tensor:
    masks = torch.from_numpy(context.store.masks(context.split.samples[chosen]))
    return masks.to(context.device, torch.int64)


def _train(
    protocol: MaskUPerNet, context: EvalContext, *, backbone_lr: float | None
) -> list[Prediction]:
    """Trains a decoder, and the backbone where it has a rate."""
    fitted, held = hold_out_validation(context.split, seed=context.seed)
    warn_of_missing_bands(context.encoder, context.store.bands, context.store.path)
    best, number, weights = (-1.0, -1.0), 0, {}
    with _seeded(context):
        network = MaskNetwork(context, frozen=backbone_lr is None)
        groups = protocol.groups(network.head, protocol.lr)
        if backbone_lr is not None:
            groups += protocol.groups(network.encoder, backbone_lr)
        optimizer = torch.optim.AdamW(groups)
        step = 0
        for epoch in range(protocol.epochs):
            network.train()
            for batch in protocol.batches(len(fitted), epoch, context.seed):
                protocol.set_rates(optimizer, step, len(fitted))
                _take_step(network, optimizer, context, fitted[batch], step)
                step += 1
            score = _validate(network, context, held)
            if score > best:
                best, number, weights = score, epoch + 1, copy.deepcopy(network.state_dict())
            if context.on_progress is not None:
                context.on_progress(epoch + 1, protocol.epochs)
        network.load_state_dict(weights)
        counts = _predict(network, context, context.split.test)
    own = {"backbone_lr": backbone_lr} if context.from_scratch and backbone_lr else {}
    return [Prediction(counts, settings=protocol.settings(), chosen={"epoch": number, **own})]


def _take_step(
    network: MaskNetwork,
    optimizer: torch.optim.Optimizer,
    context: EvalContext,
    chosen: Indices,
    step: int,
) -> None:
    samples = context.split.samples[chosen]
    z = read_images(network.encoder, context.store, samples, context.image_size, context.device)
    z, masks = _turned(z, _masks(context, chosen), stream(context.seed, "mask views", step))
    optimizer.zero_grad()
    loss = pixel_loss(network(z), masks)
    if not bool(loss.isfinite()):
        raise GeorankError(
            f"Training on {context.encoder.name}: the loss is not finite in step {step + 1}. "
            "Lower --lr and --backbone-lr."
        )
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _turned(
    z: torch.Tensor, masks: torch.Tensor, draws: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each image with its mask in one of the eight orientations, all equally likely."""
    turned = []
    for image, mask, number in zip(z, masks, draws.integers(0, 8, len(z)), strict=True):
        turns, flip = int(number) % 4, number >= 4
        pair = [torch.rot90(part, turns, (-2, -1)) for part in (image, mask)]
        turned.append([part.flip(-1) if flip else part for part in pair])
    images, turned_masks = zip(*turned, strict=True)
    return torch.stack(images), torch.stack(turned_masks)


def _validate(network: MaskNetwork, context: EvalContext, held: Indices) -> tuple[float, float]:
    counts = _predict(network, context, held)
    label = context.split.label[held]
    values = [m.value(counts, label, context.num_classes) for m in (MIOU, PIXEL_ACCURACY)]
    return values[0], values[1]


def _predict(network: MaskNetwork, context: EvalContext, chosen: Indices) -> npt.NDArray[np.int64]:
    network.eval()

    def logits(part: Indices) -> torch.Tensor:
        z = read_images(
            network.encoder, context.store, context.split.samples[part], context.image_size,
            context.device,
        )  # fmt: skip
        result: torch.Tensor = network(z)
        return result

    with torch.inference_mode():
        return _count(context, chosen, logits)


def _count(
    context: EvalContext, chosen: Indices, logits: Callable[[Indices], torch.Tensor]
) -> npt.NDArray[np.int64]:
    """Pixels per true and predicted class (n, C, C), at the size of the masks."""
    parts = []
    for start in range(0, len(chosen), _BATCH):
        part = chosen[start : start + _BATCH]
        masks = context.store.masks(context.split.samples[part])
        predicted = _enlarged(logits(part), masks.shape[-1]).argmax(dim=1).cpu().numpy()
        parts.append(confusion(masks, predicted, context.num_classes))
    return np.concatenate(parts)


@contextmanager
def _seeded(context: EvalContext) -> Iterator[None]:
    """Seeds the decoder's weights and dropout, and leaves the caller's random state alone."""
    device = torch.device(context.device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(context.seed)
        yield
