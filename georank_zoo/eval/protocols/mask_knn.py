"""k-nearest-neighbor segmentation of frozen features, as published.

The last map is resized to 12 x 12, and so is the mask, by its nearest pixel; the cells of up to a
million training pixels are the bank, and the k nearest by Euclidean distance vote (Burgert et al.
2026). Scores are those of the 12 x 12 cells. How the votes are weighted is not published: here each
counts the same, and of equal classes the lower one wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from georank_zoo.data.datasets.base import Target
from georank_zoo.data.store.patch import UNKNOWN
from georank_zoo.eval.arrays import Indices
from georank_zoo.eval.metrics.counts import confusion
from georank_zoo.eval.protocols.base import EvalContext, EvalPlan, Prediction, Protocol
from georank_zoo.eval.splits.make import require_held_out
from georank_zoo.utils.errors import UsageError
from georank_zoo.utils.rng import stream

GRID = 12
MAX_PIXELS = 1_000_000
_CHUNK = 64  # queried patches at a time


@dataclass(frozen=True)
class MaskKNN(Protocol):
    """k-nearest-neighbor segmentation of frozen features.

    Attributes:
        k: Number of neighbors that vote; of several, all in one pass.
    """

    name: ClassVar[str] = "knn"
    targets: ClassVar[tuple[Target, ...]] = ("mask",)
    k: int | Sequence[int] = (10,)

    @property
    def counts(self) -> tuple[int, ...]:
        """All numbers of neighbors."""
        return (self.k,) if isinstance(self.k, int) else tuple(self.k)

    def check(self, plan: EvalPlan) -> None:
        """Raises UsageError where k is out of range or the split holds nothing out."""
        cells = min(MAX_PIXELS, GRID**2 * len(plan.split.train))
        if not self.counts or not all(1 <= value <= cells for value in self.counts):
            raise UsageError(
                f"k must lie between 1 and the {cells} training cells, not {list(self.counts)}."
            )
        require_held_out(plan.split, self.name)

    def predict(self, context: EvalContext) -> list[Prediction]:
        """The votes of the nearest training cells, for each k."""
        from sklearn.neighbors import NearestNeighbors  # half a second to import

        split = context.split
        bank, label = self._bank(context)
        if len(bank) < max(self.counts):
            raise UsageError(
                f"k must lie between 1 and the {len(bank)} training cells whose class is known, "
                f"not {list(self.counts)}."
            )
        search = NearestNeighbors(n_neighbors=max(self.counts), algorithm="brute").fit(bank)
        counts: dict[int, list[npt.NDArray[np.int64]]] = {k: [] for k in self.counts}
        for start in range(0, len(split.test), _CHUNK):
            chosen = split.test[start : start + _CHUNK]
            found = label[search.kneighbors(_cells(context, chosen), return_distance=False)]
            masks = coarse_masks(context, chosen)
            for k in self.counts:
                votes = _majority(found[:, :k], context.num_classes)
                counts[k].append(confusion(masks, votes.reshape(masks.shape), context.num_classes))
            if context.on_progress is not None:
                context.on_progress(start + len(chosen), len(split.test))
        settings = {"cells": len(bank)}
        return [Prediction(np.concatenate(counts[k]), k=k, settings=settings) for k in counts]

    def describe(self) -> str:
        """What is compared."""
        return (
            f"cells of the last map at {GRID} x {GRID}, neighbors by Euclidean distance, each "
            "with one vote; scored on these cells"
        )

    def _bank(self, context: EvalContext) -> tuple[npt.NDArray[np.float32], Indices]:
        train = context.split.train
        label = coarse_masks(context, train).reshape(-1)
        known = np.flatnonzero(label != UNKNOWN)
        if len(known) > MAX_PIXELS:
            draw = stream(context.seed, "segmentation bank")
            known = np.sort(draw.choice(known, MAX_PIXELS, replace=False))
        bank = np.empty((len(known), context.maps.shape[1]), np.float32)
        for start in range(0, len(train), _CHUNK):
            cells = _cells(context, train[start : start + _CHUNK])
            first = start * GRID**2
            inside = slice(*np.searchsorted(known, (first, first + len(cells))))
            bank[inside] = cells[known[inside] - first]
        return bank, label[known].astype(np.int64)


def coarse_masks(context: EvalContext, chosen: Indices) -> npt.NDArray[np.uint8]:
    """Masks (n, 12, 12), by the nearest pixel."""
    masks = torch.from_numpy(context.store.masks(context.split.samples[chosen]))
    return F.interpolate(masks[:, None], size=(GRID, GRID), mode="nearest-exact")[:, 0].numpy()


def _cells(context: EvalContext, chosen: Indices) -> npt.NDArray[np.float32]:
    """Features (n 12 12, D) of the cells, row by row."""
    maps = torch.from_numpy(context.maps[chosen])
    grid = F.interpolate(maps, size=(GRID, GRID), mode="bilinear", align_corners=False)
    return grid.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).numpy()


def _majority(votes: Indices, num_classes: int) -> Indices:
    """The class (n,) with most of the votes (n, k)."""
    counts = np.zeros((len(votes), num_classes), np.int64)
    np.add.at(counts, (np.arange(len(votes))[:, None], votes), 1)
    return np.asarray(counts.argmax(axis=1))
