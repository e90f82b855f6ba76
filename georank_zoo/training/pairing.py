"""Random orders of places in pairs of near ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from georank_zoo.geo import EARTH_RADIUS_KM, chord_of_km, unit_vectors

# After so many rounds, 98 % of the places that could be paired with another are, on a map of
# clusters; each costs a sort of the places that are left.
_ROUNDS = 12


def order_in_pairs(
    latlon: npt.NDArray[np.float64], km: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], int]:
    """A random order of places in which as many as possible follow or precede a near one.

    Each place stands in it once. Two by two from the first on, the order is made of pairs of
    near places and of pairs of what was left over, mixed; so a cut at an even position divides
    no pair. Which of its neighbors a place gets is drawn anew for each order.

    Args:
        latlon: Positions (P, 2) in degrees.
        km: Near places are at most this far from each other, and not at the same position.
        rng: Draws the order.

    Returns:
        Places (P,) in order, and the number of pairs of near ones.
    """
    points = unit_vectors(torch.from_numpy(latlon)).numpy() * EARTH_RADIUS_KM
    left = rng.permutation(len(points))
    found = [np.empty((0, 2), np.int64)]
    for _ in range(_ROUNDS):
        pairs, left = _match_in_cells(points, left, km, rng)
        found.append(pairs)
    pairs = np.concatenate(found)
    left = rng.permutation(left)
    odd = len(left) % 2
    slots = np.concatenate((pairs, left[: len(left) - odd].reshape(-1, 2)))
    order = slots[rng.permutation(len(slots))].reshape(-1)
    return np.concatenate((order, left[len(left) - odd :])), len(pairs)


def _match_in_cells(
    points: npt.NDArray[np.float64],
    left: npt.NDArray[np.int64],
    km: float,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pairs (M, 2) of near places of the same cell of a grid at a random position, and the rest."""
    # The cells have the side of the largest distance, so no list of all neighbors is needed:
    # there are billions of them where the places lie as densely as pixels.
    cell = np.floor((points[left] + rng.random(3) * km) / km)
    shuffled = rng.permutation(len(left))
    by_cell = shuffled[np.lexsort(cell[shuffled].T)]
    left, cell = left[by_cell], cell[by_cell]
    starts = np.flatnonzero(np.r_[True, (cell[1:] != cell[:-1]).any(axis=1)])
    within = np.arange(len(left)) - np.repeat(starts, np.diff(np.r_[starts, len(left)]))
    first = np.flatnonzero((within[:-1] % 2 == 0) & (within[1:] == within[:-1] + 1))
    apart = np.linalg.norm(points[left[first]] - points[left[first + 1]], axis=1)
    first = first[(apart > 0) & (apart <= chord_of_km(km) * EARTH_RADIUS_KM)]
    rest = np.ones(len(left), dtype=bool)
    rest[first] = rest[first + 1] = False
    return np.stack((left[first], left[first + 1]), axis=1), left[rest]
