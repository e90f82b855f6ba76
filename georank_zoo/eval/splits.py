"""Splits of a labelled store into training and test samples, never through a place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from georank_zoo.data.store import NO_LABEL, PatchStore
from georank_zoo.errors import StoreError, unknown_name

Indices = npt.NDArray[np.int64]
TEST_FRACTION = 0.2


@dataclass(frozen=True)
class Split:
    """Which samples are known and which are predicted.

    Attributes:
        name: Name in results; names the seed where there is one.
        samples: Positions (n,) of the labelled patches in the store.
        label: Class of each sample (n,).
        place: Place of each sample (n,). A test sample must not see samples of its own place.
        train: Positions in `samples`.
        test: Positions in `samples`.
        dropped: Patches of the store without a label.
    """

    name: str
    samples: Indices
    label: Indices
    place: Indices
    train: Indices
    test: Indices
    dropped: int

    def absent(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """Classes without a test sample."""
        present = set(self.label[self.test].tolist())
        return tuple(name for index, name in enumerate(class_names) if index not in present)


def make_split(store: PatchStore, name: str, *, seed: int = 0) -> Split:
    """Splits the labelled patches of a store.

    Args:
        store: The patches.
        name: `loo`: each sample is predicted from all others that are not of its place.
            `random`: a fifth of the places of each class is the test set. It is this project's
            own split, not an official one.
        seed: Seed of the random split.

    Raises:
        StoreError: If no patch has a label, or there are not two classes and two places.
        UsageError: If there is no such split.
    """
    if name not in SPLITS:
        raise unknown_name("split", name, SPLITS)
    samples = np.flatnonzero(store.label != NO_LABEL)
    if len(samples) == 0:
        raise StoreError(f"Store {store.path} has no labels: it cannot be evaluated.")
    label, place = store.label[samples], store.place[samples]
    if len(np.unique(label)) < 2:
        raise StoreError(f"Store {store.path} has one class only: there is nothing to predict.")
    if len(np.unique(place)) < 2:
        raise StoreError(
            f"Store {store.path} has one place only, and a place is never in both training and "
            "test set."
        )
    split_name, train, test = SPLITS[name](label, place, seed)
    if len(train) == 0 or len(test) == 0:
        raise StoreError(f"Store {store.path} has too few places per class for split {name!r}.")
    return Split(
        name=split_name,
        samples=samples,
        label=label,
        place=place,
        train=train,
        test=test,
        dropped=len(store) - len(samples),
    )


def _leave_one_out(label: Indices, place: Indices, seed: int) -> tuple[str, Indices, Indices]:
    del place, seed  # every sample is both; the protocol leaves out a sample's own place
    everything = np.arange(len(label))
    return "loo", everything, everything


def _random(label: Indices, place: Indices, seed: int) -> tuple[str, Indices, Indices]:
    places, first = np.unique(place, return_index=True)
    # A place counts for the class of its first sample; nearly all have one class only.
    stratum = label[first]
    generator = np.random.default_rng(seed)
    test_places = []
    for value in np.unique(stratum):
        members = generator.permutation(places[stratum == value])
        count = max(1, round(TEST_FRACTION * len(members))) if len(members) > 1 else 0
        test_places.append(members[:count])
    in_test = np.isin(place, np.concatenate(test_places))
    name = f"random{round(100 * (1 - TEST_FRACTION))}-seed{seed}"
    return name, np.flatnonzero(~in_test), np.flatnonzero(in_test)


SPLITS: dict[str, Callable[[Indices, Indices, int], tuple[str, Indices, Indices]]] = {
    "loo": _leave_one_out,
    "random": _random,
}
