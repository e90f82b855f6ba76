"""The demo: a small synthetic world, MoCo v2 with and without GeoRank, end to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch

from georank_zoo import recipe as recipes
from georank_zoo.data.store import PatchStore
from georank_zoo.errors import ModelError
from georank_zoo.eval.results import Row
from georank_zoo.features import extract
from georank_zoo.figures import draw_comparison
from georank_zoo.recipe import Recipe
from georank_zoo.run import EXPORT
from georank_zoo.zoo import Encoder, create_model

SIZE = 32
STEPS = 400
# What makes the shipped recipes small: a minute or two each on two cores.
OVERRIDES: tuple[str, ...] = (
    f"views.size={SIZE}",
    "train.batch_size=128",
    "train.workers=0",
    "train.checkpoint_epochs=25",
    "optimizer.name=adamw",
    "optimizer.lr=1e-3",
    "optimizer.weight_decay=1e-4",
    "algorithm.queue_size=375",
    "algorithm.temperature=0.1",
)


@dataclass(frozen=True)
class Part:
    """One of the two runs.

    Attributes:
        recipe: Name of the shipped recipe.
        overrides: What the demo changes in it.
    """

    recipe: str
    overrides: tuple[str, ...]

    def load(self, store: Path) -> Recipe:
        """The recipe, on a store."""
        return recipes.load(self.recipe, self.overrides, {"data.store": str(store)})


def parts(steps: int | None = None, seed: int = 0) -> list[Part]:
    """The baseline and GeoRank, equal in everything else."""
    common = (*OVERRIDES, f"train.steps={steps or STEPS}", f"seed={seed}")
    # In this small world the paper's alpha of 0.5 lets the place drown what stands there.
    return [Part("moco", common), Part("moco_georank", (*common, "regularizer.alpha=0.9"))]


def check_reload(run: Path) -> None:
    """Compares what timm loads from a run's export with what `create_model` does.

    Raises:
        ModelError: If their features differ by a bit.
    """
    folder = run / EXPORT
    encoder = create_model(folder)
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = torch.rand(
        2, len(encoder.bands), SIZE, SIZE, generator=torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        z = encoder.standardize(images, encoder.bands, "reflectance")
        if not torch.equal(network(z), encoder(images)):
            raise ModelError(f"{folder}: timm and georank_zoo give different features.")


def draw(path: Path, encoders: Sequence[Encoder], store: PatchStore, rows: Sequence[Row]) -> None:
    """The figure of two models on held-out places, the baseline first."""
    first = np.unique(store.place, return_index=True)[1]  # one date of each place
    features = {encoder.name: extract(encoder, store, samples=first) for encoder in encoders}
    draw_comparison(
        path,
        latlon=store.latlon[first],
        features=features,
        rows=rows,
        title="A synthetic world: what GeoRank changes (numbers say nothing about the real Earth)",
    )
