"""The k-NN probe: how good the features are while they are being learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from georank_zoo.data.store import PatchStore
from georank_zoo.diagnostics import geo_spearman
from georank_zoo.eval import knn
from georank_zoo.eval.metrics import accuracy_macro
from georank_zoo.eval.splits import Split, make_split
from georank_zoo.features import extract
from georank_zoo.recipe import Recipe
from georank_zoo.zoo import Encoder

# Spearman's correlation compares all pairs; of more places than this a sample is drawn.
SPEARMAN_PLACES = 1024


@dataclass(frozen=True)
class Probe:
    """Leave-one-place-out k-NN on a labelled store, in the published protocol.

    Attributes:
        store: Labelled store.
        split: Its samples.
        bands, mean, std: Input contract of the backbone in training.
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

        Raises:
            StoreError: If the store is missing, has no labels or lacks all bands.
        """
        if recipe.probe.store is None:
            return None
        store = PatchStore(recipe.probe.store)
        store.require_bands(recipe.bands)
        return cls(
            store=store,
            split=make_split(store, "loo"),
            bands=recipe.bands,
            mean=mean,
            std=std,
            image_size=recipe.probe.image_size or recipe.views.options()["size"],
        )

    def __call__(self, backbone: nn.Module, device: torch.device) -> dict[str, float]:
        """Scores the backbone as it is, and leaves it in its mode.

        Returns:
            `probe_accuracy_macro`, and `probe_geo_spearman`: how far the similarity of features
            follows nearness, over all samples (1,024 at most).
        """
        encoder = Encoder(
            backbone,
            model_bands=self.bands,
            mean=self.mean,
            std=self.std,
            image_size=self.image_size,
            name="probe",
        )
        encoder.train(backbone.training)
        split = self.split
        features = extract(encoder, self.store, samples=split.samples, device=device)
        neighbors = knn.find_neighbors(
            features, features, query_groups=split.place, bank_groups=split.place, device=device
        )
        classes = int(split.label.max()) + 1
        predicted = knn.vote(neighbors, split.label, classes)[knn.K]
        accuracy = accuracy_macro(predicted, split.label, classes)
        places = np.random.default_rng(0).permutation(len(features))[:SPEARMAN_PLACES]
        spearman = geo_spearman(
            torch.from_numpy(features[places]),
            torch.from_numpy(self.store.latlon[split.samples[places]]),
        )
        return {
            "probe_accuracy_macro": float(accuracy),
            "probe_geo_spearman": float(spearman),
        }
