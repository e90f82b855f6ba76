"""Splits of a labelled store into training and test samples, never through a place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from georank_zoo.data.store import NO_LABEL, PatchStore
from georank_zoo.errors import StoreError, UsageError, unknown_name
from georank_zoo.random_streams import stream

Indices = npt.NDArray[np.int64]
TEST_FRACTION = 0.2
VALIDATION_FRACTION = 0.2
LEAVE_ONE_OUT = "loo"


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


def require_held_out(split: Split, protocol: str) -> None:
    """Checks that no test sample is a training sample: what is trained would know it.

    Raises:
        UsageError: Names the splits that hold samples out.
    """
    if len(np.intersect1d(split.train, split.test)):
        fitting = ", ".join(sorted(set(SPLITS) - {LEAVE_ONE_OUT}))
        raise UsageError(
            f"Protocol {protocol} is trained once and needs test samples that it has not seen; "
            f"split {split.name} trains on every sample. Choose from: {fitting}."
        )


def hold_out_validation(split: Split, *, seed: int = 0) -> tuple[Indices, Indices]:
    """Parts the training samples by place; the test samples have no part in it.

    Args:
        split: The samples.
        seed: Seed of the choice.

    Returns:
        Positions in `split.samples` of the samples to fit to, and of the validation samples: a
        fifth of each class's training places.

    Raises:
        UsageError: If every class has one training place only.
    """
    held = _hold_out(
        split.label[split.train],
        split.place[split.train],
        VALIDATION_FRACTION,
        stream(seed, "validation places"),
    )
    if not held.any():
        raise UsageError(
            f"Split {split.name} has one training place per class: none is left to validate on. "
            "Prepare a store with more labelled places."
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


SPLITS: dict[str, Callable[[Indices, Indices, int], tuple[str, Indices, Indices]]] = {
    LEAVE_ONE_OUT: _leave_one_out,
    "random": _random,
}
