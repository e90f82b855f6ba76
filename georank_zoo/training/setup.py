"""Parts of a run: stores, batches, views, objective and probe of a recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.training.batches import PlaceBatches
from georank_zoo.training.build import build_objective, build_views
from georank_zoo.training.objective import Objective
from georank_zoo.training.probe import Probe
from georank_zoo.training.recipe import Recipe
from georank_zoo.views import Views


@dataclass(frozen=True)
class Length:
    """The length of a run in optimizer steps.

    Attributes:
        steps: Steps of the whole run.
        per_epoch: Steps of an epoch.
        warmup: Steps of the learning rate's warm-up.
    """

    steps: int
    per_epoch: int
    warmup: int

    @classmethod
    def from_recipe(cls, recipe: Recipe, per_epoch: int) -> Length:
        """The length of a recipe's run on a store that gives an epoch of so many steps."""
        steps = recipe.train.steps or (recipe.train.epochs or 1) * per_epoch
        return cls(steps, per_epoch, min(steps, round(recipe.schedule.warmup_epochs * per_epoch)))


@dataclass(frozen=True)
class Setup:
    """The parts of a run, each built once.

    Attributes:
        recipe: Recipe of the run.
        batches: Batches of this process, from the recipe's store.
        views: Augmentation.
        objective: Algorithm and regularizer, fitted to the places, on the CPU.
        probe: k-NN probe, if the recipe has one.
    """

    recipe: Recipe
    batches: PlaceBatches
    views: Views
    objective: Objective
    probe: Probe | None

    @classmethod
    def from_recipe(cls, recipe: Recipe, *, rank: int = 0, processes: int = 1) -> Setup:
        """Opens the stores and builds the rest.

        Args:
            recipe: Recipe of the run.
            rank: Number of this process.
            processes: Number of processes.

        Raises:
            GeorankError: If recipe, store and probe store do not fit.
        """
        store = PatchStore(recipe.data.store)
        mean, std = store.mean_std(recipe.bands)
        views = build_views(recipe)
        probe = Probe.from_recipe(recipe, mean=mean, std=std)
        objective = build_objective(recipe, views)
        batches = PlaceBatches(
            store,
            bands=recipe.bands,
            batch_size=recipe.train.batch_size,
            parts=recipe.train.accumulate,
            seed=recipe.seed,
            temporal=recipe.data.temporal,
            views=objective.algorithm.num_views + views.local_views,
            draws=views.draws,
            subset=recipe.data.places,
            neighbors_km=recipe.data.neighbors_km,
            rank=rank,
            processes=processes,
        )
        objective.fit(torch.from_numpy(batches.latlon))
        return cls(recipe, batches, views, objective, probe)

    @property
    def length(self) -> Length:
        """The length of the run."""
        return Length.from_recipe(self.recipe, self.batches.per_epoch)

    def advice(self) -> Iterator[str]:
        """Warnings about settings that are valid but probably not what the user wants."""
        batches, size = self.batches, self.recipe.image_size
        epochs = self.length.steps / batches.per_epoch
        for text in (self.objective.algorithm.advice(batches.places, epochs), batches.advice()):
            if text is not None:
                yield text
        if batches.store.size > size:
            yield (
                f"The patches of {batches.store.size} px are larger than the views of {size} px, "
                "so that large crops skip pixels. Better: patches or views of one size."
            )
