"""Isotonic regression of the rows of a matrix, on any device."""

from __future__ import annotations

import numpy as np
import scipy.optimize
import torch
import torch.nn.functional as F


def isotonic_regression(values: torch.Tensor) -> torch.Tensor:
    """The non-decreasing rows nearest to the given ones (least squares).

        argmin over v_1 <= ... <= v_n of  sum_j (v_j - values_j)^2

    Each row of the result is a sequence of blocks; within a block all entries are the mean of the
    block's values, and equal to the bit.

    On the CPU scipy's pool-adjacent-violators does it row by row: linear and in C++, it beats
    everything that works on all rows at once there. On other devices `isotonic_by_merging` does
    it.

    Args:
        values: (rows, n), float64 or float32.

    Returns:
        (rows, n), of the same type.
    """
    if values.device.type != "cpu":
        return isotonic_by_merging(values)
    fitted = np.empty(values.shape, dtype=values.numpy().dtype)
    for row, out in zip(values.numpy(), fitted, strict=True):
        out[:] = scipy.optimize.isotonic_regression(row).x
    return torch.from_numpy(fitted)


def isotonic_by_merging(values: torch.Tensor) -> torch.Tensor:
    """`isotonic_regression` in torch alone, for any device; nothing waits for the device.

    Solved halves are merged, from single entries up, all rows and all pairs of halves at once.
    Two neighboring solutions differ from the solution of their union in one block at most: the
    upper end of the one and the lower end of the other, pooled as far as they contradict the
    order. Its mean m is the root of a decreasing function of m, so an entry v lies in the block
    if the function has changed its sign before v: a binary search in the other half decides it.
    """
    rows, n = values.shape
    width = 1 << (n - 1).bit_length()
    # Filled up to a power of two with values above all others, which are never pooled with them.
    filling = values.amax(dim=1, keepdim=True) + 1
    fit = torch.cat((values, filling.expand(rows, width - n)), dim=1)
    half = 1
    while half < width:
        fit = _merge(fit.view(-1, 2 * half), half)
        half *= 2
    return fit.view(rows, width)[:, :n]


def _merge(pairs: torch.Tensor, half: int) -> torch.Tensor:
    """Merges the two ascending halves of each row (m, 2 * half)."""
    left, right = pairs[:, :half].contiguous(), pairs[:, half:].contiguous()
    place = torch.arange(2 * half, device=pairs.device)
    prefix = F.pad(pairs, (1, 0)).cumsum(dim=1)

    # Every entry speaks for its whole block: it takes the place of the block's first, so that
    # rounding cannot part what has been pooled.
    first = torch.searchsorted(left, left)
    # A left block at v is pooled if all from there on and the right entries below v have a mean
    # below v.
    end = half + torch.searchsorted(right, left)
    tail = prefix.gather(1, end) - prefix.gather(1, first) - (end - first) * left
    pooled = (tail < 0) & (end > half)
    start = torch.where(pooled, first, half).amin(dim=1, keepdim=True)

    # A right block is pooled if it lies below the mean of all that comes before it.
    first = half + torch.searchsorted(right, right)
    before = prefix.gather(1, start)
    mean = (prefix.gather(1, first) - before) / (first - start)
    pooled = (right < mean) & (start < half)
    stop = torch.where(pooled, 2 * half, first).amin(dim=1, keepdim=True)

    mean = (prefix.gather(1, stop) - before) / (stop - start)
    return torch.where((place >= start) & (place < stop), mean, pairs)
