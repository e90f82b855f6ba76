"""Split by distance: no training sample lies near a test sample.

Random splits of patches put neighbors on both sides, and what is nearby looks alike: scores then
tell how well a model remembers a region, not how well it knows another.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import KDTree

from georank_zoo.geo import chord_of_km, unit_vectors
from georank_zoo.utils.errors import UsageError

# Side of a block in units of the distance. The wider, the fewer training samples lie at the edge
# of a test block and are lost; the narrower, the more blocks there are to draw from.
_BLOCK = 4.0
_FARTHEST_KM = 5000.0  # a quarter of the way around: beyond, one side of the split is empty


def split_by_distance(
    latlon: npt.NDArray[np.float64], km: float, fraction: float, *, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Draws blocks as the test set and drops the training samples near them.

    The blocks are the cells of a cubic grid laid through the globe at a random offset, so that they
    are of one size everywhere and have no edge that the data follow.

    Args:
        latlon: Positions (n, 2) in degrees.
        km: Every training sample is farther than this from every test sample.
        fraction: Share of the samples to test on, about.
        seed: Seed of the blocks.

    Returns:
        Positions of the training and of the test samples. What lies within `km` of a test sample
        and is none is in neither.

    Raises:
        UsageError: If the distance is out of range, or leaves nothing to train on.
    """
    if not 0 < km <= _FARTHEST_KM:
        raise UsageError(
            f"A split's distance must lie above 0 and up to {_FARTHEST_KM:g} km, not {km:g}."
        )
    points = unit_vectors(torch.from_numpy(latlon)).numpy()
    radius = chord_of_km(km)
    generator = np.random.default_rng(seed)
    cells = np.floor(points / (_BLOCK * radius) + generator.random(3)).astype(np.int64)
    _, block, sizes = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    order = generator.permutation(len(sizes))
    # The number of blocks that comes nearest to the share; one at least.
    reached = np.cumsum(sizes[order])
    count = 1 + int(np.abs(reached - math.ceil(fraction * len(latlon))).argmin())
    in_test = np.isin(block.reshape(-1), order[:count])
    test = np.flatnonzero(in_test)
    distance, _ = KDTree(points[test]).query(points, distance_upper_bound=np.nextafter(radius, 3))
    train = np.flatnonzero(~in_test & (distance > radius))
    if len(train) == 0:
        raise UsageError(
            f"No sample is farther than {km:g} km from the test samples: the data lie too close "
            "together. Give a smaller distance."
        )
    return train, test
