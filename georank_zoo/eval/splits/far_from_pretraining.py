"""Evaluation far from pretraining: only test samples beyond a distance from every place of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.eval.splits.make import Split
from georank_zoo.eval.splits.overlap import check_radii, nearest_km
from georank_zoo.models.folder import EXPORT, FACTS
from georank_zoo.models.run_facts import read_facts
from georank_zoo.utils.errors import StoreError, UsageError

_PIXEL_KM = 0.01


def pretraining_stores(models: Sequence[str], given: Sequence[Path] = ()) -> list[PatchStore]:
    """The stores that models were pretrained on, each once.

    Args:
        models: Run folders, exports in them, or others.
        given: Stores; without them they are what the models' `run.json` names.

    Raises:
        UsageError: If a model's store is not known, or is no longer there or another.
        StoreError: If a given store is none.
        ModelError: If a `run.json` is damaged.
    """
    paths = list(given) or [_store_of(model) for model in models]
    return list({store.hash: store for store in map(PatchStore, paths)}.values())


def _store_of(model: str) -> Path:
    folder = Path(model)
    candidates = [folder / FACTS]
    if folder.absolute().name == EXPORT:
        candidates.append(folder.absolute().parent / FACTS)
    facts_path = next((path for path in candidates if path.is_file()), None)
    advice = "Give the store that it was pretrained on with --pretrain-store."
    if facts_path is None:
        raise UsageError(
            f"{model} is not a run folder: where its pretraining places lie is not known. {advice}"
        )
    facts = read_facts(facts_path, remedy=advice)["store"]
    path, digest = Path(facts["path"]), facts["hash"]
    if not path.is_dir():
        raise UsageError(f"{model} was pretrained on {path}, which is not there. {advice}")
    if PatchStore(path).hash != digest:
        raise UsageError(
            f"{model} was pretrained on {path}, which now holds something else (hash differs from "
            f"{digest[:12]}). {advice}"
        )
    return path


def on_pretraining_ground(split: Split, store: PatchStore, models: Sequence[str]) -> list[str]:
    """Says of which models' pretraining places test samples show the ground.

    Self-supervised training saw their pixels, not their labels; still a score there is not one
    of unseen places. Models whose pretraining store is not known or not there are passed over.

    Args:
        split: The split of the store.
        store: The labeled patches.
        models: Run folders, exports in them, or others.

    Returns:
        A sentence per model that has seen some.
    """
    side_km = store.size * _PIXEL_KM
    test = store.latlon[split.samples[split.test]]
    test = test[~np.isnan(test).any(axis=1)]
    notes = []
    for model in models:
        with suppress(UsageError, StoreError):
            (pretraining,) = pretraining_stores([model])
            places = np.unique(pretraining.latlon[pretraining.located], axis=0)
            seen = int((nearest_km(test, places) < side_km).sum())
            if seen:
                notes.append(
                    f"{seen} of {len(split.test)} test samples lie within {side_km:g} km, the side "
                    f"of a patch, of places that {model} was pretrained on: it has seen their "
                    "pixels, not their labels. A least distance (min_km) leaves them out."
                )
    return notes


def beyond(split: Split, store: PatchStore, km: float, pretraining: Sequence[PatchStore]) -> Split:
    """A split without the test samples within a distance of a pretraining place.

    The training samples stay. The name tells the distance and the pretraining data, so that only
    results on the same samples are compared: `loo-beyond100km-28a3d3ed`.

    Args:
        split: The split of the store.
        store: The labeled patches.
        km: Test samples must be farther than this from every pretraining place.
        pretraining: The stores of the pretraining.

    Raises:
        UsageError: If no test sample is that far away, or the distance is invalid.
    """
    check_radii([km])
    for other in (store, *pretraining):
        other.require_positions("a distance")
    # An array of positions, not of stores: most places have several dates.
    places = np.unique(np.concatenate([other.latlon for other in pretraining]), axis=0)
    distance = nearest_km(store.latlon[split.samples[split.test]], places)
    test = split.test[distance > km]
    if len(test) == 0:
        raise UsageError(
            f"No test sample of {store.path} is farther than {km:g} km from every pretraining "
            f"place; the farthest is {distance.max():.4g} km away. `georank data overlap` shows "
            "the distances. Give a smaller --min-km."
        )
    digest = hashlib.sha256("".join(sorted(s.hash for s in pretraining)).encode()).hexdigest()
    if len(pretraining) == 1:
        digest = pretraining[0].hash
    return replace(split, name=f"{split.name}-beyond{km:g}km-{digest[:8]}", test=test)
