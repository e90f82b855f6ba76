"""Finetuning: the network and a linear head, trained together on the labels.

AdamW, 30 epochs, warm-up, cosine to a tenth (Burgert et al. 2026), a lower rate for the backbone,
which has something to lose, than for the head. After each epoch the validation places are
predicted, and the best epoch predicts the test set.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import nn

from georank_zoo.embed.extract import read_images, warn_of_missing_bands
from georank_zoo.eval.arrays import Indices
from georank_zoo.eval.protocols.adamw import Supervised, require_batch, seeded_head
from georank_zoo.eval.protocols.base import EvalContext, EvalPlan, Prediction
from georank_zoo.eval.protocols.logits import cross_entropy, predict, validation_score
from georank_zoo.eval.splits.make import hold_out_validation
from georank_zoo.utils.environment import MIN_CPU_BF16_SIZE, environment_ignored
from georank_zoo.utils.errors import GeorankError, UsageError, unknown_name
from georank_zoo.utils.rng import stream
from georank_zoo.views import GeometricViews

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Finetune(Supervised):
    """Finetuning with its settings; see `Supervised` for the others.

    A network that starts from scratch takes the head's rate everywhere: at the backbone's it would
    be a lower floor than supervised training is.

    Attributes:
        backbone_lr: Highest learning rate of the backbone.
        precision: `bf16` trains under autocast; predictions are made in fp32.
    """

    name: ClassVar[str] = "finetune"
    trains_network: ClassVar[bool] = True
    takes_features: ClassVar[bool] = False
    backbone_lr: float = 1e-4
    precision: Precision = "fp32"

    def check(self, plan: EvalPlan) -> None:
        """Raises UsageError where a setting is out of range or does not suit split or device."""
        super().check(plan)
        if not 0 <= self.backbone_lr < math.inf:
            raise UsageError(f"backbone-lr must be 0 or more, not {self.backbone_lr:g}.")
        if self.precision not in get_args(Precision):
            raise unknown_name("precision", self.precision, get_args(Precision))
        smallest = min(plan.image_sizes, default=MIN_CPU_BF16_SIZE)
        on_cpu = plan.device.type == "cpu"
        if self.precision == "bf16" and on_cpu and smallest < MIN_CPU_BF16_SIZE:
            raise UsageError(
                f"Images of {smallest} px cannot be finetuned in bf16 on the CPU: torch's "
                "kernels give wrong gradients on feature maps of one pixel. Pass --precision fp32, "
                "or --size 32 or more."
            )
        fitted, _ = hold_out_validation(plan.split, seed=plan.seed)
        require_batch(fitted, self.name)

    def predict(self, context: EvalContext) -> list[Prediction]:
        """Trains on the training samples and takes the best epoch on the validation samples."""
        # As `accelerate launch` and torchrun set it.
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UsageError(
                "Finetuning runs in one process; start it with `georank eval`, not with "
                "`accelerate launch`."
            )
        split = context.split
        fitted, held = hold_out_validation(split, seed=context.seed)
        network = _Network(context)
        best, epoch, weights = (-1.0, -math.inf), 0, network.state_dict()
        with _deterministic(context):
            training = _Training(self, network, context, fitted)
            for number in range(1, self.epochs + 1):
                training.epoch()
                score = validation_score(network.logits(context, held), split.label[held])
                if score > best:
                    best, epoch, weights = score, number, copy.deepcopy(network.state_dict())
            network.load_state_dict(weights)
            predicted = predict(network.logits(context, split.test), multi_label=split.multi_label)
        # The floor's own rate stands apart, so that the floor is comparable with the models.
        own = {"backbone_lr": training.backbone_lr} if context.from_scratch else {}
        return [Prediction(predicted, settings=self.settings(), chosen={"epoch": epoch, **own})]

    def describe(self) -> str:
        """The schedule."""
        return (
            f"backbone and linear head, AdamW, {self.epochs} epochs, rates {self.backbone_lr:g} "
            f"and {self.lr:g} (from scratch {self.lr:g} for both), flips and quarter turns; "
            "validation chooses the epoch"
        )


class _Network(nn.Module):
    """A copy of the context's encoder with a linear head: standardized images to logits."""

    def __init__(self, context: EvalContext) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(context.encoder)
        features, classes = context.encoder.num_features, context.num_classes
        self.head = seeded_head(features, classes, context.seed)
        self.to(context.device)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) of images (B, bands, H, W)."""
        logits: torch.Tensor = self.head(self.encoder.embed(z))
        return logits

    def logits(self, context: EvalContext, chosen: Indices) -> torch.Tensor:
        """Logits (n, C), on the CPU, of samples given as positions in the split."""
        samples, size = context.split.samples[chosen], context.batch_size
        parts = []
        self.eval()
        with torch.inference_mode():
            for start in range(0, len(samples), size):
                part = samples[start : start + size]
                z = read_images(
                    self.encoder, context.store, part, context.image_size, context.device
                )
                parts.append(self(z).float().cpu())
        return torch.cat(parts)


class _Training:
    """Takes the steps of a finetuning, an epoch at a time."""

    def __init__(
        self, protocol: Finetune, network: _Network, context: EvalContext, fitted: Indices
    ) -> None:
        self.backbone_lr = protocol.lr if context.from_scratch else protocol.backbone_lr
        groups = protocol.groups(network.encoder, self.backbone_lr)
        groups += protocol.groups(network.head, protocol.lr)
        self._network, self._optimizer = network, torch.optim.AdamW(groups)
        self._protocol = protocol
        self._subject = context
        self._fitted = fitted
        # The eight orientations, each as likely as the others, and no crop.
        self._views = GeometricViews(
            size=context.image_size, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.5, rotate=0.75
        )
        self._epoch = self._step = 0
        warn_of_missing_bands(context.encoder, context.store.bands, context.store.path)

    def epoch(self) -> None:
        """Trains on every sample once.

        Raises:
            GeorankError: If the loss is not finite.
        """
        context, protocol = self._subject, self._protocol
        count, total = len(self._fitted), torch.zeros((), device=context.device)
        self._network.train()
        for batch in protocol.batches(count, self._epoch, context.seed):
            protocol.set_rates(self._optimizer, self._step, count)
            total += self._take_step(self._fitted[batch])
            self._step += 1
        if not math.isfinite(float(total)):
            raise GeorankError(
                f"Finetuning {context.encoder.name}: the loss is not finite in epoch "
                f"{self._epoch + 1}. Lower --lr and --backbone-lr, or pass --precision fp32."
            )
        self._epoch += 1
        if context.on_progress is not None:
            context.on_progress(self._epoch, protocol.epochs)

    def _take_step(self, chosen: Indices) -> torch.Tensor:
        """One step on samples given as positions in the split; returns the loss."""
        context, split = self._subject, self._subject.split
        z = read_images(
            self._network.encoder,
            context.store,
            split.samples[chosen],
            context.image_size,
            context.device,
        )
        draws = stream(context.seed, "finetune views", self._step)
        uniform = draws.random((len(chosen), 1, self._views.draws), dtype="float32")
        [z] = self._views([z], torch.from_numpy(uniform))
        label = torch.from_numpy(split.label[chosen]).to(context.device)
        self._optimizer.zero_grad()
        kind, bf16 = torch.device(context.device).type, self._protocol.precision == "bf16"
        with torch.autocast(kind, torch.bfloat16, enabled=bf16):
            loss = cross_entropy(self._network(z), label)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss.detach()


@contextmanager
def _deterministic(context: EvalContext) -> Iterator[None]:
    """Seeds what networks draw (dropout), and leaves the caller's random state alone.

    The environment has no say in the arithmetic.
    """
    device = torch.device(context.device)
    devices = [device] if device.type == "cuda" else []
    with (
        environment_ignored(),
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(context.seed)
        yield
