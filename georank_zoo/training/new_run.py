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
from georank_zoo.utils.environment import versions
from georank_zoo.utils.errors import UsageError
from georank_zoo.utils.files import sha256_of, write_text


def create_run(
    path: Path, recipe: Recipe, store: PatchStore, latlon: npt.NDArray[np.float64]
) -> Run:
    """Writes what is known of a run before its first step.

    Args:
        path: Folder to create.
        recipe: Recipe of the run.
        store: Store to train on.
        latlon: Positions (places, 2) in degrees of the places that are trained on.

    Raises:
        UsageError: If something lies there already.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(
            f"{path} is not empty. Pass --resume (in Python: resume=True) to continue the run "
            "in it, or choose another folder with --out."
        )
    mean, std = store.mean_std(recipe.bands)
    path.mkdir(parents=True, exist_ok=True)
    run = Run(path, recipe)
    write_text(path / RECIPE, recipe.to_yaml())
    write_text(path / FOOTPRINT, Footprint.of(latlon).to_json())
    run.update(
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
        files={name: sha256_of(path / name) for name in (RECIPE, FOOTPRINT)},
        status="started",
    )  # fmt: skip
    return run


def _period(store: PatchStore) -> list[str] | None:
    """First and last day of the acquisitions, where the store knows any."""
    known = store.time[store.time != NO_TIME]
    if len(known) == 0:
        return None
    ends = np.array([known.min(), known.max()]).astype("datetime64[s]").astype("datetime64[D]")
    return [str(day) for day in ends]
