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
from sklearn.neighbors import NearestNeighbors

from georank_zoo.data.datasets.base import Target
from georank_zoo.data.store.patch import UNKNOWN
from georank_zoo.eval.metrics.counts import confusion
from georank_zoo.eval.protocols.base import Prediction, Protocol, Subject
from georank_zoo.eval.splits.make import Indices, Split, require_held_out
from georank_zoo.utils.errors import UsageError
from georank_zoo.utils.rng import stream

GRID = 12
MAX_PIXELS = 1_000_000
_CHUNK = 64  # queried patches at a time


@dataclass(frozen=True)
class MaskKNN(Protocol):
    """The protocol with its settings.

    Attributes:
        k: Numbers of neighbors that vote, all in one pass.
    """

    name: ClassVar[str] = "knn"
    targets: ClassVar[tuple[Target, ...]] = ("mask",)
    k: Sequence[int] = (10,)

    def check(self, split: Split, *, sizes: Sequence[int], seed: int, device: torch.device) -> None:
        """Raises UsageError where k is out of range or the split holds nothing out."""
        cells = min(MAX_PIXELS, GRID**2 * len(split.train))
        if not self.k or not all(1 <= value <= cells for value in self.k):
            raise UsageError(
                f"k must lie between 1 and the {cells} training cells, not {list(self.k)}."
            )
        require_held_out(split, self.name)

    def predict(self, subject: Subject) -> list[Prediction]:
        """The votes of the nearest training cells, for each k."""
        split = subject.split
        bank, label = self._bank(subject)
        if len(bank) < max(self.k):
            raise UsageError(
                f"k must lie between 1 and the {len(bank)} training cells whose class is known, "
                f"not {list(self.k)}."
            )
        search = NearestNeighbors(n_neighbors=max(self.k), algorithm="brute").fit(bank)
        counts: dict[int, list[npt.NDArray[np.int64]]] = {k: [] for k in self.k}
        for start in range(0, len(split.test), _CHUNK):
            chosen = split.test[start : start + _CHUNK]
            found = label[search.kneighbors(_cells(subject, chosen), return_distance=False)]
            masks = coarse_masks(subject, chosen)
            for k in self.k:
                votes = _majority(found[:, :k], subject.num_classes)
                counts[k].append(confusion(masks, votes.reshape(masks.shape), subject.num_classes))
            if subject.on_progress is not None:
                subject.on_progress(start + len(chosen), len(split.test))
        settings = f"cells={len(bank)}"
        return [Prediction(np.concatenate(counts[k]), k=k, settings=settings) for k in self.k]

    def describe(self) -> str:
        """What is compared."""
        return (
            f"cells of the last map at {GRID} x {GRID}, neighbors by Euclidean distance, each "
            "with one vote; scored on these cells"
        )

    def _bank(self, subject: Subject) -> tuple[npt.NDArray[np.float32], Indices]:
        train = subject.split.train
        label = coarse_masks(subject, train).reshape(-1)
        known = np.flatnonzero(label != UNKNOWN)
        if len(known) > MAX_PIXELS:
            draw = stream(subject.seed, "segmentation bank")
            known = np.sort(draw.choice(known, MAX_PIXELS, replace=False))
        bank = np.empty((len(known), subject.maps.shape[1]), np.float32)
        for start in range(0, len(train), _CHUNK):
            cells = _cells(subject, train[start : start + _CHUNK])
            first = start * GRID**2
            inside = slice(*np.searchsorted(known, (first, first + len(cells))))
            bank[inside] = cells[known[inside] - first]
        return bank, label[known].astype(np.int64)


def coarse_masks(subject: Subject, chosen: Indices) -> npt.NDArray[np.uint8]:
    """Masks (n, 12, 12), by the nearest pixel."""
    masks = torch.from_numpy(subject.store.masks(subject.split.samples[chosen]))
    return F.interpolate(masks[:, None], size=(GRID, GRID), mode="nearest-exact")[:, 0].numpy()


def _cells(subject: Subject, chosen: Indices) -> npt.NDArray[np.float32]:
    """Features (n 12 12, D) of the cells, row by row."""
    maps = torch.from_numpy(subject.maps[chosen])
    grid = F.interpolate(maps, size=(GRID, GRID), mode="bilinear", align_corners=False)
    return grid.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).numpy()


def _majority(votes: Indices, num_classes: int) -> Indices:
    """The class (n,) with most of the votes (n, k)."""
    counts = np.zeros((len(votes), num_classes), np.int64)
    np.add.at(counts, (np.arange(len(votes))[:, None], votes), 1)
    return np.asarray(counts.argmax(axis=1))
