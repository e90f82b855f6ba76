"""Finetuning: the network and a linear head, trained together on the labels.

AdamW, 30 epochs, warm-up, cosine to a tenth (Burgert et al. 2026), a lower rate for the backbone,
which has something to lose, than for the head. After each epoch the validation places are
predicted, and the best epoch predicts the test set.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from accelerate import Accelerator
from torch import nn

from georank_zoo.embed.extract import read_images, warn_of_missing_bands
from georank_zoo.eval.protocols.adamw import Supervised, require_batch, seeded_head
from georank_zoo.eval.protocols.base import Prediction, Subject
from georank_zoo.eval.protocols.logits import cross_entropy, predict, validation_score
from georank_zoo.eval.splits.make import Indices, Split, hold_out_validation
from georank_zoo.utils.environment import MIN_CPU_BF16_SIZE
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

    def check(self, split: Split, *, sizes: Sequence[int], seed: int, device: torch.device) -> None:
        """Raises UsageError where a setting is out of range or does not suit split or device."""
        super().check(split, sizes=sizes, seed=seed, device=device)
        if not 0 <= self.backbone_lr < math.inf:
            raise UsageError(f"backbone-lr must be 0 or more, not {self.backbone_lr:g}.")
        if self.precision not in get_args(Precision):
            raise unknown_name("precision", self.precision, get_args(Precision))
        smallest = min(sizes, default=MIN_CPU_BF16_SIZE)
        if self.precision == "bf16" and device.type == "cpu" and smallest < MIN_CPU_BF16_SIZE:
            raise UsageError(
                f"Images of {smallest} px cannot be finetuned in bf16 on the CPU: torch's "
                "kernels give wrong gradients on feature maps of one pixel. Say --precision fp32, "
                "or --size 32 or more."
            )
        fitted, _ = hold_out_validation(split, seed=seed)
        require_batch(fitted, self.name)

    def predict(self, subject: Subject) -> list[Prediction]:
        """Trains on the training samples and takes the best epoch on the validation samples."""
        accelerator = Accelerator(mixed_precision="no", device_placement=False)
        if accelerator.num_processes > 1:
            raise UsageError(
                "Finetuning runs in one process; start it with `georank eval`, not with "
                "`accelerate launch`."
            )
        split = subject.split
        fitted, held = hold_out_validation(split, seed=subject.seed)
        network = _Network(subject)
        best, epoch, weights = (-1.0, -math.inf), 0, network.state_dict()
        with _deterministic(subject):
            training = _Training(self, network, subject, fitted, accelerator)
            for number in range(1, self.epochs + 1):
                training.epoch()
                score = validation_score(network.logits(subject, held), split.label[held])
                if score > best:
                    best, epoch, weights = score, number, copy.deepcopy(network.state_dict())
            network.load_state_dict(weights)
            predicted = predict(network.logits(subject, split.test), multi_label=split.multi_label)
        # The floor's own rate stands apart, so that the floor is comparable with the models.
        own = f"scratch_lr={training.backbone_lr:g} " if subject.from_scratch else ""
        settings = (
            f"epoch={epoch} {own}{self.settings()} backbone_lr={self.backbone_lr:g} "
            f"precision={self.precision}"
        )
        return [Prediction(predicted, settings=settings)]

    def describe(self) -> str:
        """The schedule."""
        return (
            f"backbone and linear head, AdamW, {self.epochs} epochs, rates {self.backbone_lr:g} "
            f"and {self.lr:g} (from scratch {self.lr:g} for both), flips and quarter turns; "
            "validation chooses the epoch"
        )


class _Network(nn.Module):
    """A copy of the subject's encoder with a linear head: standardized images to logits."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(subject.encoder)
        features, classes = subject.encoder.num_features, subject.num_classes
        self.head = seeded_head(features, classes, subject.seed)
        self.to(subject.device)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Logits (B, C) of images (B, bands, H, W)."""
        logits: torch.Tensor = self.head(self.encoder.embed(z))
        return logits

    def logits(self, subject: Subject, chosen: Indices) -> torch.Tensor:
        """Logits (n, C), on the CPU, of samples given as positions in the split."""
        samples, size = subject.split.samples[chosen], subject.batch_size
        parts = []
        self.eval()
        with torch.inference_mode():
            for start in range(0, len(samples), size):
                part = samples[start : start + size]
                z = read_images(
                    self.encoder, subject.store, part, subject.image_size, subject.device
                )
                parts.append(self(z).float().cpu())
        return torch.cat(parts)


class _Training:
    """Takes the steps of a finetuning, an epoch at a time."""

    def __init__(
        self,
        protocol: Finetune,
        network: _Network,
        subject: Subject,
        fitted: Indices,
        accelerator: Accelerator,
    ) -> None:
        self.backbone_lr = protocol.lr if subject.from_scratch else protocol.backbone_lr
        groups = protocol.groups(network.encoder, self.backbone_lr)
        groups += protocol.groups(network.head, protocol.lr)
        optimizer = torch.optim.AdamW(groups)
        self._network, self._optimizer = accelerator.prepare(network, optimizer)
        self._accelerator = accelerator
        self._protocol = protocol
        self._subject = subject
        self._fitted = fitted
        # The eight orientations, each as likely as the others, and no crop.
        self._views = GeometricViews(
            size=subject.image_size, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.5, rotate=0.75
        )
        self._epoch = self._step = 0
        warn_of_missing_bands(subject.encoder, subject.store.bands, subject.store.path)

    def epoch(self) -> None:
        """Trains on every sample once.

        Raises:
            GeorankError: If the loss is not finite.
        """
        subject, protocol = self._subject, self._protocol
        count, total = len(self._fitted), torch.zeros((), device=subject.device)
        self._network.train()
        for batch in protocol.batches(count, self._epoch, subject.seed):
            protocol.set_rates(self._optimizer, self._step, count)
            total += self._take_step(self._fitted[batch])
            self._step += 1
        if not math.isfinite(float(total)):
            raise GeorankError(
                f"Finetuning {subject.encoder.name}: the loss is not finite in epoch "
                f"{self._epoch + 1}. Lower --lr and --backbone-lr, or say --precision fp32."
            )
        self._epoch += 1
        if subject.on_progress is not None:
            subject.on_progress(self._epoch, protocol.epochs)

    def _take_step(self, chosen: Indices) -> torch.Tensor:
        """One step on samples given as positions in the split; returns the loss."""
        subject, split = self._subject, self._subject.split
        z = read_images(
            self._network.encoder,
            subject.store,
            split.samples[chosen],
            subject.image_size,
            subject.device,
        )
        draws = stream(subject.seed, "finetune views", self._step)
        uniform = draws.random((len(chosen), 1, self._views.draws), dtype="float32")
        [z] = self._views([z], torch.from_numpy(uniform))
        label = torch.from_numpy(split.label[chosen]).to(subject.device)
        self._optimizer.zero_grad()
        kind, bf16 = torch.device(subject.device).type, self._protocol.precision == "bf16"
        with torch.autocast(kind, torch.bfloat16, enabled=bf16):
            loss = cross_entropy(self._network(z), label)
        self._accelerator.backward(loss)
        self._optimizer.step()
        return loss.detach()


@contextmanager
def _deterministic(subject: Subject) -> Iterator[None]:
    """Seeds what networks draw (dropout), and leaves the caller's random state alone."""
    device = torch.device(subject.device)
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(subject.seed)
        yield
