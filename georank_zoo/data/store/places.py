"""Places: which patches show the same ground.

Two patches are of one place if their footprints overlap by more than a tenth of the smaller one,
if the reader says so, or if their pixels are equal; and so are patches that a chain of such pairs
joins. A split that keeps places together then never shows a model its test pixels in training.
They are of one footprint if they show all but the same ground, such as dates of one tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from georank_zoo.data.store.ground import Meters, overlaps

OVERLAP = 0.1  # of the smaller footprint; neighbors of a grid touch, and jitter makes them overlap
SAME = 0.9  # intersection over union of footprints that are the same

# Footprints whose corners differ by less of their side are the same without a look at each pair:
# a thousand dates of a place are then no more work than one.
_SNAP = 1 / 200
_CENTERS, _PAIRS = 8_192, 100_000  # looked at in one go

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Places:
    """Which patches show the same ground.

    Attributes:
        place: Place of each patch (N,), numbered in the order of their first patches.
        footprint: Footprint of each patch (N,), numbered likewise.
        copies: Patches with exactly the pixels of an earlier one elsewhere, and that one (M, 2).
    """

    place: Numbers
    footprint: Numbers
    copies: Numbers


def find_places(ground: Meters, group: Numbers, pixels: Numbers) -> Places:
    """Finds the places of patches, in linear time where each overlaps a few others.

    Args:
        ground: Corners of the footprints (N, 4, 3) in earth-centered meters, in order around the
            patch; NaN where unknown.
        group: The reader's own grouping (N,): patches of one number show the same ground.
        pixels: Hash of each patch's pixels (N,), 0 for one that shall equal no other.
    """
    count = len(ground)
    known = np.flatnonzero(np.isfinite(ground).all(axis=(1, 2)))
    overlapping, same = (known[pairs] for pairs in _common_ground(ground[known]))
    grouped = _equal(group)
    footprint = _components(count, grouped, same)
    of_ground = _components(count, grouped, same, overlapping)
    shown = np.flatnonzero(pixels)
    equal = shown[_equal(pixels[shown])]
    copies = equal[of_ground[equal[:, 0]] != of_ground[equal[:, 1]]]
    place = _components(count, grouped, same, overlapping, copies)
    return Places(place, footprint, copies[np.argsort(copies[:, 0])])


def _equal(values: npt.NDArray[np.int64]) -> Numbers:
    """Pairs (M, 2) of each position of a value and its first."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    pairs = np.stack((np.arange(len(values)), first[inverse]), axis=1)
    return np.asarray(pairs[pairs[:, 0] != pairs[:, 1]])


def _components(count: int, *pairs: Numbers) -> Numbers:
    """Connected component of each node (count,), numbered in the order of first nodes."""
    one, other = np.concatenate(pairs).T
    graph = coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse], np.int64)


def _common_ground(ground: Meters) -> tuple[Numbers, Numbers]:
    """Pairs (M, 2) that overlap, and pairs that are the same; as many as join the components."""
    center = ground.mean(axis=1)
    radius = np.linalg.norm(ground - center[:, None], axis=-1).max(axis=1, initial=0)
    # Powers of two: a few large footprints among many small ones do not make all pairs near.
    level = np.frexp(radius)[1]
    first = _snapped(ground, level)
    chosen = np.unique(first)
    merged = np.stack((np.arange(len(first)), first), axis=1)
    overlapping, same = [merged[:0]], [merged[merged[:, 0] != merged[:, 1]]]
    for near in _near(center[chosen], radius[chosen], level[chosen]):
        pairs = chosen[near]
        of_smaller, of_union = overlaps(ground[pairs[:, 0]], ground[pairs[:, 1]])
        overlapping.append(_forest(pairs[of_smaller > OVERLAP]))
        same.append(_forest(pairs[of_union >= SAME]))
    return np.concatenate(overlapping), np.concatenate(same)


def _snapped(ground: Meters, level: npt.NDArray[np.integer]) -> Numbers:
    """The first of the footprints (N,) whose corners fall on the same points of a fine grid.

    The second of two grids, half a step off, joins what a line of the first one divides.
    """
    step = np.ldexp(_SNAP / np.sqrt(2), level)[:, None]  # of a side of at least radius * sqrt(2)
    first = np.arange(len(ground))
    for shift in (0.0, 0.5):
        own = np.unique(first)
        cells = np.floor(ground[own].reshape(len(own), 12) / step[own] + shift)
        rows = np.column_stack((cells, level[own])).astype(np.int64)
        _, found, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        first = own[found[inverse]][np.searchsorted(own, first)]
    return first


def _near(
    center: npt.NDArray[np.float64],
    radius: npt.NDArray[np.float64],
    level: npt.NDArray[np.integer],
) -> Iterator[Numbers]:
    """Pairs (M, 2) of footprints that may overlap, a part at a time."""
    for size in np.unique(level):
        larger = np.flatnonzero(level == size)
        tree = KDTree(center[larger])
        queries = np.flatnonzero(level <= size)
        for start in range(0, len(queries), _CENTERS):
            part = queries[start : start + _CENTERS]
            found = tree.query_ball_point(center[part], radius[part] + radius[larger].max())
            counts = np.array([len(row) for row in found])
            partners = larger[np.concatenate([*found, []]).astype(np.int64)]
            pairs = np.stack((np.repeat(part, counts), partners), axis=1)
            # Of two of one size each finds the other.
            once = (level[pairs[:, 0]] < size) | (pairs[:, 0] < pairs[:, 1])
            pairs = pairs[once]
            for begin in range(0, len(pairs), _PAIRS):
                yield pairs[begin : begin + _PAIRS]


def _forest(pairs: Numbers) -> Numbers:
    """Pairs that join the same nodes, one fewer than the nodes of each component."""
    nodes, inverse = np.unique(pairs, return_inverse=True)
    first = _components(len(nodes), inverse.reshape(-1, 2))
    _, at = np.unique(first, return_index=True)
    joined = np.stack((nodes, nodes[at[first]]), axis=1)
    return np.asarray(joined[joined[:, 0] != joined[:, 1]])
