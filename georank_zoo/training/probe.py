"""k-NN probe: the quality of the features during training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from georank_zoo import bands as s2
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.embed.extract import extract
from georank_zoo.eval.evaluate import check_plan
from georank_zoo.eval.metrics.average_precision import AP_MACRO
from georank_zoo.eval.metrics.counts import ACCURACY_MACRO
from georank_zoo.eval.protocols import knn
from georank_zoo.eval.protocols.base import EvalPlan
from georank_zoo.eval.protocols.neighbors import Neighbors, find_neighbors
from georank_zoo.eval.splits.make import Split, make_split
from georank_zoo.eval.tasks import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE, TASKS, class_names
from georank_zoo.models.config import has_fixed_size
from georank_zoo.models.encoder import Encoder
from georank_zoo.training.diagnostics import geo_spearman
from georank_zoo.training.recipe import Recipe
from georank_zoo.utils.errors import RecipeError, StoreError

# Spearman's correlation compares all pairs; of more places than this a sample is drawn.
SPEARMAN_PLACES = 1024


@dataclass(frozen=True)
class Probe:
    """Leave-one-place-out k-NN on a labeled store, in the published protocol.

    Attributes:
        store: Labeled store.
        split: Samples of the store.
        bands: Bands that the backbone takes, in channel order.
        mean: Reflectance mean of each band.
        std: Standard deviation of each band.
        image_size: Side that the patches are resized to.
    """

    store: PatchStore
    split: Split
    bands: tuple[str, ...]
    mean: Sequence[float]
    std: Sequence[float]
    image_size: int

    @classmethod
    def from_recipe(
        cls, recipe: Recipe, *, mean: Sequence[float], std: Sequence[float]
    ) -> Probe | None:
        """The recipe's probe; none if it names no store.

        As in an evaluation, bands that the store does not have are fed at their mean.

        Raises:
            StoreError: If the store is missing, cannot be evaluated, has no band in common with
                the recipe, or leaves a sample with fewer than 10 neighbors.
            RecipeError: If `probe.image_size` is out of range, or the backbone takes another
                size only.
        """
        if recipe.probe.store is None:
            return None
        store = PatchStore(recipe.probe.store)
        if len(s2.missing(store.bands, recipe.bands)) == len(recipe.bands):
            raise StoreError(
                f"Probe store {store.path} has {', '.join(store.bands)}, but the recipe trains on "
                f"{', '.join(recipe.bands)}: no band in common."
            )
        store.require_positions("the probe")
        split = make_split(store, "loo")
        _check_neighbors(store, split)
        classes = len(class_names(TASKS["folder"], store))
        check_plan(EvalPlan(store=store, split=split, num_classes=classes))
        return cls(
            store=store,
            split=split,
            bands=recipe.bands,
            mean=mean,
            std=std,
            image_size=_image_size(recipe),
        )

    def __call__(self, backbone: nn.Module, device: torch.device) -> dict[str, float]:
        """Scores the backbone as it is, and leaves each part of it in its mode.

        Returns:
            `probe_accuracy_macro` (`probe_ap_macro` where a patch has several labels), and
            `probe_geo_spearman`: Spearman's correlation of the similarity of features with
            nearness, over all samples (1,024 at most).
        """
        encoder = Encoder(
            backbone,
            model_bands=self.bands,
            mean=self.mean,
            std=self.std,
            image_size=self.image_size,
            name="probe",
        )
        split = self.split
        features = extract(encoder, self.store, samples=split.samples, device=device)
        neighbors = find_neighbors(
            features,
            features,
            knn.K,
            query_groups=split.place,
            bank_groups=split.place,
            device=device,
        )
        places = np.random.default_rng(0).permutation(len(features))[:SPEARMAN_PLACES]
        spearman = geo_spearman(
            torch.from_numpy(features[places]),
            torch.from_numpy(self.store.latlon[split.samples[places]]),
        )
        return {**self._score(neighbors), "probe_geo_spearman": float(spearman)}

    def _score(self, neighbors: Neighbors) -> dict[str, float]:
        """The k-NN score, under the name of its metric."""
        label = self.split.label
        if self.split.multi_label:
            scores = knn.score_labels(neighbors, label)[knn.K]
            return {"probe_ap_macro": AP_MACRO.value(scores, label, label.shape[1])}
        classes = int(label.max()) + 1
        predicted = knn.vote(neighbors, label, classes)[knn.K]
        return {"probe_accuracy_macro": ACCURACY_MACRO.value(predicted, label, classes)}


def _check_neighbors(store: PatchStore, split: Split) -> None:
    _, dates = np.unique(split.place, return_counts=True)
    fewest = len(split.place) - int(dates.max())
    if fewest < knn.K:
        raise StoreError(
            f"Probe store {store.path} is too small: the k-NN probe compares each labeled patch "
            f"with {knn.K} of other places, and here are only {fewest} for some."
        )


def _image_size(recipe: Recipe) -> int:
    views, size = recipe.image_size, recipe.probe.image_size
    if size is None or size == views:
        return views
    if not MIN_IMAGE_SIZE <= size <= MAX_IMAGE_SIZE:
        raise RecipeError(
            f"probe.image_size must lie between {MIN_IMAGE_SIZE} and {MAX_IMAGE_SIZE} pixels, "
            f"not {size}."
        )
    if has_fixed_size(recipe.backbone.name):
        raise RecipeError(
            f"probe.image_size {size}: {recipe.backbone.name} takes one size only. Leave it out, "
            f"or set it to {views} as in views.size."
        )
    return size
