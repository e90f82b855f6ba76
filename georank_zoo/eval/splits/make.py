"""Splits of a labeled store into training and test samples.

Those that are drawn here never go through a place; published ones are taken as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from georank_zoo.data.store.patch import ROLES, UNKNOWN
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.eval.arrays import Indices
from georank_zoo.eval.splits.distance import split_by_distance
from georank_zoo.utils.errors import StoreError, UsageError, unknown_name
from georank_zoo.utils.rng import stream

TEST_FRACTION = 0.2
VALIDATION_FRACTION = 0.2
LEAVE_ONE_OUT = "loo"
_MASKS = 256  # at a time
_DISTANCE = re.compile(r"distance(\d+(?:\.\d+)?)km")


@dataclass(frozen=True)
class Split:
    """Which samples are known and which are predicted.

    Attributes:
        name: Name in results; names the seed where there is one.
        samples: Positions (n,) of the labeled patches in the store.
        label: Class of each sample (n,); in a store of several labels a patch 0 or 1 for each
            class (n, C); in a store of masks the class that most pixels have (n,).
        place: Place of each sample (n,).
        train: Positions in `samples`.
        test: Positions in `samples`.
        dropped: Patches of the store without a label, or without a part in the split.
        validation: Positions in `samples` of a published validation set; None where there is none.
    """

    name: str
    samples: Indices
    label: npt.NDArray[Any]
    place: Indices
    train: Indices
    test: Indices
    dropped: int
    validation: Indices | None = None

    @property
    def multi_label(self) -> bool:
        """Whether a sample may have several labels."""
        return self.label.ndim == 2

    @property
    def n_shared_places(self) -> int:
        """Test samples of a place that training samples are of too."""
        known = np.isin(self.place[self.test], self.place[self.train])
        return int(known.sum())

    def absent(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """Classes without a test sample."""
        label = self.label[self.test]
        present = np.flatnonzero(label.any(axis=0)) if self.multi_label else np.unique(label)
        return tuple(name for index, name in enumerate(class_names) if index not in present)


def make_split(store: PatchStore, name: str, *, seed: int = 0) -> Split:
    """Splits the labeled patches of a store.

    Args:
        store: The patches.
        name: The name of a published split that the store holds, or one of this project's own:
            `loo`: each sample is predicted from all others that are not of its place.
            `random`: a fifth of the places of each class is the test set.
            `distance<R>km`, such as `distance50km`: about a fifth of the samples, in blocks, is the
            test set, and no training sample lies within R km of one of them.
        seed: Seed of the splits that are drawn.

    Raises:
        StoreError: If no patch has a label, or there are not two classes and two places.
        UsageError: If there is no such split.
    """
    choices = split_names(store)
    if name not in choices and not _DISTANCE.fullmatch(name):
        raise unknown_name("split", name, choices)
    samples = np.flatnonzero(store.labeled)
    if len(samples) == 0:
        raise StoreError(f"Store {store.path} has no labels: it cannot be evaluated.")
    label = store.label[samples] if store.labels is None else store.labels[samples].astype(np.int64)
    place = store.place[samples]
    if (label == label[0]).all() and _masks_are_uniform(store, samples):
        raise StoreError(f"Store {store.path} has one class only: there is nothing to predict.")
    if len(np.unique(place)) < 2:
        raise StoreError(
            f"Store {store.path} has one place only (patches that overlap are of one), and a place "
            "is never in both training and test set."
        )
    validation = None
    if name in store.roles:
        split_name = name
        train, validation, test = _published(store, name, samples)
    elif distance := _DISTANCE.fullmatch(name):
        store.require_positions("a split by distance")
        km = float(distance[1])
        train, test = split_by_distance(store.latlon[samples], km, TEST_FRACTION, seed=seed)
        split_name = f"{name}-seed{seed}"
    else:
        split_name, train, test = DRAWN_SPLITS[name](_strata(label), place, seed)
    if len(train) == 0 or len(test) == 0:
        raise StoreError(f"Store {store.path} has too few places per class for split {name!r}.")
    used = len(np.unique(np.concatenate([train, test, [] if validation is None else validation])))
    return Split(
        name=split_name,
        samples=samples,
        label=label,
        place=place,
        train=train,
        test=test,
        dropped=len(store) - used,
        validation=validation,
    )


def _masks_are_uniform(store: PatchStore, samples: Indices) -> bool:
    """Whether masks whose most frequent class is the same have no other; True without masks."""
    if store.target != "mask":
        return True
    for start in range(0, len(samples), _MASKS):
        masks = store.masks(samples[start : start + _MASKS])
        if ((masks != UNKNOWN) & (masks != store.label[samples[0]])).any():
            return False
    return True


def split_names(store: PatchStore) -> tuple[str, ...]:
    """Names that `make_split` takes for a store, with one example of a split by distance."""
    return (*store.roles, *DRAWN_SPLITS, "distance50km")


def _published(
    store: PatchStore, name: str, samples: Indices
) -> tuple[Indices, Indices | None, Indices]:
    """Training, validation (None where there is none) and test samples of a published split."""
    roles = store.roles[name][samples]
    train, validation, test = (np.flatnonzero(roles == part) for part in range(len(ROLES)))
    for role, part in zip(ROLES, (train, validation, test), strict=True):
        if len(part) == 0 and role != "validation":
            raise StoreError(
                f"Store {store.path} has no {role} patch in split {name!r}: it was prepared from a "
                "part of the data set. Choose split random, or loo, or prepare all of it."
            )
    return train, validation if len(validation) else None, test


def _strata(label: npt.NDArray[Any]) -> Indices:
    """A class (n,) to stratify by: of several labels the rarest, which a draw could miss."""
    if label.ndim == 1:
        return np.asarray(label, np.int64)
    counts = np.where(label.any(axis=0), label.sum(axis=0), len(label) + 1)
    rarest = np.where(label == 1, counts, len(label) + 2).argmin(axis=1)
    return np.asarray(np.where(label.any(axis=1), rarest, label.shape[1]), np.int64)


def require_held_out(split: Split, protocol: str) -> None:
    """Checks that no test sample is a training sample: what is trained would know it.

    Raises:
        UsageError: Names the splits that hold samples out.
    """
    if len(np.intersect1d(split.train, split.test)):
        raise UsageError(
            f"Protocol {protocol} needs test samples that it has not seen; split {split.name} "
            "trains on every sample. Choose from: random, a distance such as distance50km, or a "
            "published split that the store holds."
        )


def hold_out_validation(split: Split, *, seed: int = 0) -> tuple[Indices, Indices]:
    """The samples to fit to and to validate on; the test samples have no part in it.

    Args:
        split: The samples.
        seed: Seed of the choice.

    Returns:
        Positions in `split.samples`: the training and the published validation samples, or, where
        none are published, the training samples without, and with, a fifth of each class's
        training places.

    Raises:
        UsageError: If every class has one training place only.
    """
    if split.validation is not None:
        return split.train, split.validation
    held = _hold_out(
        _strata(split.label[split.train]),
        split.place[split.train],
        VALIDATION_FRACTION,
        stream(seed, "validation places"),
    )
    if not held.any():
        raise UsageError(
            f"Split {split.name} has one training place per class: none is left to validate on. "
            "Prepare a store with more labeled places."
        )
    return split.train[~held], split.train[held]


def _hold_out(
    label: Indices, place: Indices, fraction: float, generator: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Draws a share of each class's places, one at least, and never all; True (n,) where held."""
    places, first = np.unique(place, return_index=True)
    # A place counts for the class of its first sample; nearly all have one class only.
    stratum = label[first]
    held = []
    for value in np.unique(stratum):
        members = generator.permutation(places[stratum == value])
        count = max(1, round(fraction * len(members))) if len(members) > 1 else 0
        held.append(members[:count])
    return np.isin(place, np.concatenate(held))


def _leave_one_out(label: Indices, place: Indices, seed: int) -> tuple[str, Indices, Indices]:
    del place, seed  # every sample is both; the protocol leaves out a sample's own place
    everything = np.arange(len(label))
    return LEAVE_ONE_OUT, everything, everything


def _random(label: Indices, place: Indices, seed: int) -> tuple[str, Indices, Indices]:
    in_test = _hold_out(label, place, TEST_FRACTION, np.random.default_rng(seed))
    name = f"random{round(100 * (1 - TEST_FRACTION))}-seed{seed}"
    return name, np.flatnonzero(~in_test), np.flatnonzero(in_test)


DRAWN_SPLITS: dict[str, Callable[[Indices, Indices, int], tuple[str, Indices, Indices]]] = {
    LEAVE_ONE_OUT: _leave_one_out,
    "random": _random,
}
