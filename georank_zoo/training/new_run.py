"""Creation of a run folder."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import numpy.typing as npt

from georank_zoo.data.store.patch import NO_TIME
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.models.config import RECIPE
from georank_zoo.models.footprint import FOOTPRINT, Footprint
from georank_zoo.training.recipe import Recipe
from georank_zoo.training.run import Run
from georank_zoo.training.run_folder import require_new
from georank_zoo.utils.environment import versions
from georank_zoo.utils.files import new_folder, sha256_of, write_text
from georank_zoo.utils.write_errors import explain_write_errors


def create_run(
    path: Path, recipe: Recipe, store: PatchStore, latlon: npt.NDArray[np.float64]
) -> Run:
    """Writes what is known of a run before its first step.

    A new folder gets its name when all is written. One that exists is filled in its place, the
    facts last; what a run that was not started left there is deleted first.

    Args:
        path: Folder to create, whose lock the caller holds.
        recipe: Recipe of the run.
        store: Store to train on.
        latlon: Positions (places, 2) in degrees of the places that are trained on.

    Raises:
        UsageError: If something lies there already.
    """
    require_new(path)
    recipe = _from_anywhere(recipe)
    if path.exists():
        with explain_write_errors(path):
            _fill(path, recipe, store, latlon)
    else:
        with new_folder(path) as temporary:
            _fill(temporary, recipe, store, latlon)
    return Run(path, recipe)


def _from_anywhere(recipe: Recipe) -> Recipe:
    """The recipe with paths that hold in whatever folder the run is continued."""
    data = recipe.data.model_copy(update={"store": str(Path(recipe.data.store).absolute())})
    probe = recipe.probe
    if probe.store:
        probe = probe.model_copy(update={"store": str(Path(probe.store).absolute())})
    return recipe.model_copy(update={"data": data, "probe": probe})


def _fill(folder: Path, recipe: Recipe, store: PatchStore, latlon: npt.NDArray[np.float64]) -> None:
    mean, std = store.mean_std(recipe.bands)
    write_text(folder / RECIPE, recipe.to_yaml())
    write_text(folder / FOOTPRINT, Footprint.of(latlon).to_json())
    Run(folder, recipe).update(
        recipe=recipe.name,
        recipe_hash=recipe.hash,
        store={
            "path": str(store.path.resolve()), "hash": store.hash, "patches": len(store),
            "places": store.header.footprints, "level": store.header.level,
            "places_used": recipe.data.places or store.header.footprints,
            "source": store.header.source, "license": store.header.license,
            "reader": store.header.reader, "period": _period(store),
        },
        bands=list(recipe.bands),
        mean=mean,
        std=std,
        versions=versions(),
        python=platform.python_version(),
        files={name: sha256_of(folder / name) for name in (RECIPE, FOOTPRINT)},
        status="started",
    )  # fmt: skip


def _period(store: PatchStore) -> list[str] | None:
    """First and last day of the acquisitions, where the store knows any."""
    known = store.time[store.time != NO_TIME]
    if len(known) == 0:
        return None
    ends = np.array([known.min(), known.max()]).astype("datetime64[s]").astype("datetime64[D]")
    return [str(day) for day in ends]
