"""Published settings, batches and rates of the protocols that train with AdamW."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from georank_zoo.eval.arrays import Indices
from georank_zoo.eval.protocols.base import EvalPlan, Protocol
from georank_zoo.eval.splits.make import require_held_out
from georank_zoo.utils.errors import UsageError
from georank_zoo.utils.rng import stream
from georank_zoo.utils.schedules import warmup_cosine

# The cosine ends at a tenth (Burgert et al. 2026); the length of the warm-up is not published.
WARMUP, FINAL = 0.1, 0.1


@dataclass(frozen=True)
class Supervised(Protocol):
    """AdamW with a linear warm-up over a tenth of the steps, then a cosine to a tenth of the rate.

    Attributes:
        epochs: Passes over the samples; 30 as published.
        lr: Highest learning rate of the head.
        weight_decay: Weight decay of weights; biases and norms have none.
        train_batch_size: Samples per step.
    """

    epochs: int = 30
    lr: float = 1e-3
    weight_decay: float = 0.01
    train_batch_size: int = 64

    def check(self, plan: EvalPlan) -> None:
        """Raises UsageError where a setting is out of range or the split holds nothing out."""
        if self.epochs < 1:
            raise UsageError(f"epochs must be 1 or more, not {self.epochs}.")
        if not 0 < self.lr < math.inf:
            raise UsageError(f"lr must be a positive number, not {self.lr:g}.")
        if not 0 <= self.weight_decay < math.inf:
            raise UsageError(f"weight-decay must be 0 or more, not {self.weight_decay:g}.")
        if self.train_batch_size < 2:
            raise UsageError(f"train-batch-size must be 2 or more, not {self.train_batch_size}.")
        require_held_out(plan.split, self.name)

    def batches(self, count: int, epoch: int, seed: int) -> list[npt.NDArray[np.int64]]:
        """The samples 0 ... count - 1 in the order of an epoch, in batches of nearly equal size.

        Equal, for a BatchNorm can do nothing with a batch of one; of an odd count in batches of
        two, one has three.
        """
        order = stream(seed, f"{self.name} order", epoch).permutation(count)
        return np.array_split(order, self.steps(count))

    def steps(self, count: int) -> int:
        """Number of batches of an epoch."""
        return min(math.ceil(count / self.train_batch_size), max(1, count // 2))

    def set_rates(self, optimizer: torch.optim.Optimizer, step: int, count: int) -> None:
        """Sets each group's rate, as a share of its `peak`, for a step of the whole training."""
        total = self.epochs * self.steps(count)
        factor = warmup_cosine(step, total=total, warmup=round(WARMUP * total), final=FINAL)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor

    def groups(self, module: torch.nn.Module, rate: float) -> list[dict[str, object]]:
        """The trainable parameters of a module as two groups of an optimizer."""
        weights = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
        others = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
        return [
            {"params": weights, "lr": rate, "peak": rate, "weight_decay": self.weight_decay},
            {"params": others, "lr": rate, "peak": rate, "weight_decay": 0.0},
        ]

    def settings(self) -> dict[str, Any]:
        """All settings, for results."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}


def require_batch(fitted: Indices, protocol: str) -> None:
    """Checks that there is a batch of two, without which a BatchNorm cannot be trained.

    Raises:
        UsageError: If there is one training sample only.
    """
    if len(fitted) < 2:
        raise UsageError(
            f"Protocol {protocol} needs two training samples besides those that validate, and the "
            "split leaves one. Prepare a store with more labeled places."
        )


def seeded_head(features: int, num_classes: int, seed: int) -> torch.nn.Linear:
    """A linear layer as torch initializes it, without a trace in the caller's random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.nn.Linear(features, num_classes)
