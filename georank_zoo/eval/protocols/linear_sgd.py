"""The published linear evaluation: a head on frozen features, trained with AdamW.

Thirty epochs, warm-up, cosine to a tenth (Burgert et al. 2026). The head after the last epoch is
the one that counts: the published schedule says where to stop, so nothing has to be chosen and all
training samples are trained on. Features are standardized, which a linear layer could do itself,
so that one learning rate suits models whose features differ in scale. The head starts at zero: the
problem is convex, and of random weights a short training would keep the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from georank_zoo.eval.protocols.adamw import Supervised, seeded_head
from georank_zoo.eval.protocols.base import EvalContext, Prediction
from georank_zoo.eval.protocols.linear import standardize_features
from georank_zoo.eval.protocols.logits import cross_entropy, predict


@dataclass(frozen=True)
class LinearSGD(Supervised):
    """A linear head trained in steps; see `Supervised` for its settings."""

    name: ClassVar[str] = "linear-sgd"

    def predict(self, context: EvalContext) -> list[Prediction]:
        """Trains the head on all training samples."""
        split, features = context.split, context.features
        train, test = (
            part.float().to(context.device)
            for part in standardize_features(features[split.train], features[split.test])
        )
        label = torch.from_numpy(split.label[split.train]).to(context.device)
        head = seeded_head(train.shape[1], context.num_classes, context.seed).to(context.device)
        for parameter in head.parameters():
            torch.nn.init.zeros_(parameter)
        optimizer = torch.optim.AdamW(self.groups(head, self.lr))
        step = 0
        for epoch in range(self.epochs):
            for batch in self.batches(len(train), epoch, context.seed):
                self.set_rates(optimizer, step, len(train))
                chosen = torch.from_numpy(batch).to(context.device)
                optimizer.zero_grad()
                cross_entropy(head(train[chosen]), label[chosen]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                step += 1
            if context.on_progress is not None:
                context.on_progress(epoch + 1, self.epochs)
        with torch.inference_mode():
            predicted = predict(head(test), multi_label=split.multi_label)
        return [Prediction(predicted, settings=self.settings())]

    def describe(self) -> str:
        """The schedule."""
        return (
            f"linear head on frozen standardized features, AdamW, {self.epochs} epochs, rate "
            f"{self.lr:g}; the last epoch counts"
        )
