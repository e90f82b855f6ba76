"""What shows that a run learns nothing: in its recipe and data, its log, and its features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from georank_zoo.embed.extract import extract
from georank_zoo.geo import unit_vectors
from georank_zoo.models.encoder import Encoder
from georank_zoo.training.recipe import Recipe
from georank_zoo.training.setup import Setup

# Cosines are above 0.999 where the mean squared distance of unit vectors to their mean is below
# 0.001, so that `embedding_std` is below sqrt(0.001). Small runs of all algorithms on OSCD and on
# generated data begin above 0.06 and stay above 0.2.
MIN_SPREAD, MAX_COSINE = 0.03, 0.999
# Embeddings on one line, with whatever sign. A batch of few samples has few directions.
MIN_RANK, MIN_RANK_SAMPLES = 1.05, 8
# Shares of log K, and nats: a certain teacher gives its prototype more than 99.8 %.
MAX_ENTROPY_SHARE, MIN_ENTROPY = 0.999, 0.01
# Networks that have learned something give features up to about 100; float16 ends at 65,504.
MAX_FEATURE = 1e4
# What shows in so many rows of the log is no passing phase of the first steps.
ROWS = 3
# Enough to see a collapse, and read in a moment.
_PATCHES = 256
_ONE_METER = 1 / 6_371_000  # in Earth radii


def found_before(setup: Setup) -> set[str]:
    """What the recipe and the data say before the first step."""
    recipe, batches = setup.recipe, setup.batches
    found = set()
    if round(recipe.schedule.warmup_epochs * batches.per_epoch) >= setup.length.steps:
        found.add("endless_warmup")
    if recipe.regularizer.name != "none" or recipe.algorithm.name == "tile2vec":
        points = unit_vectors(torch.from_numpy(batches.latlon)).numpy()
        if np.ptp(points, axis=0).max() < _ONE_METER:
            found.add("one_position")
    images = batches.store.read(_samples(setup), recipe.bands)
    if (images == images[:1]).all():
        found.add("identical_patches")
    return found


class LogWatch:
    """Looks at each row of a run's log.

    Args:
        recipe: Recipe of the run.
        rows: Rows that were logged before, by an interrupted process.
    """

    def __init__(self, recipe: Recipe, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        self._recipe = recipe
        self._term = f"loss_{recipe.regularizer.name}"
        self._acted: set[str] = set()  # the terms that were not always zero
        self._last: list[Mapping[str, Any]] = []
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """Takes a row; those without a loss are a probe's."""
        if "loss" not in row:
            return
        self._acted |= {name for name in ("loss", self._term) if row.get(name)}
        self._last = [*self._last[1 - ROWS :], row]

    def found(self) -> set[str]:
        """What the rows up to now show."""
        found: set[str] = set()
        if not self._last:
            return found
        if "loss" not in self._acted:
            found.add("idle_loss")
        elif self._term in self._last[-1] and self._term not in self._acted:
            found.add("idle_regularizer")
        for kind in ("collapsed", "indifferent_teacher", "certain_teacher"):
            if all(kind in self._shows(row) for row in self._last):
                found.add(kind)
        return found

    def _shows(self, row: Mapping[str, Any]) -> set[str]:
        shown = set()
        few = self._recipe.train.batch_size < MIN_RANK_SAMPLES
        if row["embedding_std"] < MIN_SPREAD or (row["effective_rank"] < MIN_RANK and not few):
            shown.add("collapsed")
        entropy = row.get("teacher_entropy")
        if entropy is not None:
            most = math.log(self._recipe.algorithm.options()["output_dim"])
            if entropy > MAX_ENTROPY_SHARE * most:
                shown.add("indifferent_teacher")
            if entropy < MIN_ENTROPY:
                shown.add("certain_teacher")
        return shown


def found_in_features(setup: Setup, device: torch.device) -> set[str]:
    """What the trained backbone makes of some patches of its store, as exported models do.

    A head with a BatchNorm hides from the log what has become of the features before it.
    """
    batches = setup.batches
    mean, std = batches.store.mean_std(setup.recipe.bands)
    encoder = Encoder(
        setup.objective.algorithm.backbone,
        model_bands=setup.recipe.bands,
        mean=mean,
        std=std,
        image_size=setup.recipe.image_size,
        name="trained",
    )
    features = torch.from_numpy(
        extract(encoder, batches.store, samples=_samples(setup), device=device)
    ).double()
    if not features.isfinite().all():
        return {"exploded"}
    found = {"exploded"} if features.abs().max() > MAX_FEATURE else set()
    unit = F.normalize(features, dim=1)
    # Mean cosine of the pairs of different samples.
    pairs = len(unit) * (len(unit) - 1)
    if (unit.sum(dim=0).square().sum() - unit.square().sum()) / pairs > MAX_COSINE:
        found.add("collapsed")
    return found


def _samples(setup: Setup) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Patches of places all over the store, one of each."""
    batches = setup.batches
    count = min(_PATCHES, batches.places)
    places = np.linspace(0, batches.places - 1, count).astype(np.int64)
    chosen: np.ndarray[Any, np.dtype[np.int64]] = batches.patch[batches.start[places]]
    return chosen
