"""Ranks of the rows of a matrix: soft (differentiable) and hard, batched, on any device."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import isotonic_regression

from georank_zoo.geo import exact_dtype


def non_decreasing(values: torch.Tensor) -> torch.Tensor:
    """The non-decreasing rows nearest to the given ones (least squares).

    Each row of the result is a sequence of blocks; within a block all entries are the mean of the
    block's values, and equal to the bit.

    On the CPU scipy's pool-adjacent-violators does it row by row: linear and in C++, it beats
    everything that works on all rows at once there. On other devices `merged` does it.

    Args:
        values: (rows, n), float64 or float32.

    Returns:
        (rows, n), of the same type.
    """
    if values.device.type != "cpu":
        return merged(values)
    fitted = np.empty(values.shape, dtype=values.numpy().dtype)
    for row, out in zip(values.numpy(), fitted, strict=True):
        out[:] = isotonic_regression(row).x
    return torch.from_numpy(fitted)


def merged(values: torch.Tensor) -> torch.Tensor:
    """`non_decreasing` in torch alone, for any device; nothing waits for the device.

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


# numpy sorts with AVX-512 or AVX2, two to three times faster than torch on a core, but on one
# core only; torch takes one core a row. See benchmarks/README.md, "The rank loss".
NUMPY_UP_TO_THREADS = 3


def sort_rows(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row (rows, n) in ascending order, and the columns it came from; NaN last.

    The order of equal entries is not defined.
    """
    many = torch.get_num_threads() > NUMPY_UP_TO_THREADS
    if many or values.device.type != "cpu" or values.dtype == torch.bfloat16:
        ordered, order = values.sort(dim=1)
        return ordered, order
    order = torch.from_numpy(np.argsort(values.detach().numpy(), axis=1))
    return values.gather(1, order), order


def average_rank(values: torch.Tensor) -> torch.Tensor:
    """Ordinal ranks along the last dimension, 1 for the smallest value.

    Equal values share the average of the ranks that they cover. Of the usual conventions it is
    the only one that does not depend on the order of the entries: places at equal distance (two
    dates of one place, say) are never told apart by their position in the batch.

    Args:
        values: (..., n), without NaN.

    Returns:
        Ranks (..., n) in [1, n], of the same floating type.
    """
    ordered, order = sort_rows(values.reshape(-1, values.shape[-1]))
    ranks = torch.empty_like(ordered).scatter_(1, order, average_rank_of_sorted(ordered))
    return ranks.view_as(values)


def average_rank_of_sorted(values: torch.Tensor) -> torch.Tensor:
    """`average_rank` of values (..., n) that already ascend."""
    ranks = torch.arange(1, values.shape[-1] + 1, dtype=values.dtype, device=values.device)
    return _Blocks(values).mean(ranks.expand_as(values))


def soft_rank(values: torch.Tensor, strength: float) -> torch.Tensor:
    """Soft ranks along the last dimension, 1 for the smallest value.

    The Euclidean projection of `values / strength` onto the permutahedron of (1, ..., n): the
    ordinal ranks where neighboring values differ by more than `strength`, pulled together where
    they differ by less; all equal to (n + 1) / 2 for a large strength.

    Source: Blondel et al. 2020, "Fast Differentiable Sorting and Ranking", l2 regularization.

    Args:
        values: (..., n). The work is done in float64 (float32 where the device has no float64).
        strength: Regularization strength, above 0, in the unit of the values.

    Returns:
        Soft ranks (..., n), of the same type. The backward pass costs one mean per block.

    Raises:
        ValueError: If the strength is not positive.
    """
    if not strength > 0:
        raise ValueError(f"strength must be above 0, not {strength}.")
    ranks: torch.Tensor = _SoftRank.apply(values.reshape(-1, values.shape[-1]), strength)
    return ranks.view_as(values)


class _SoftRank(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, values: torch.Tensor, strength: float
    ) -> torch.Tensor:
        # Ascending, so that the projection is `v - ordered`, where v is the non-decreasing isotonic
        # regression of `ordered + hard` (Blondel et al., Prop. 3, with the signs turned).
        ordered, order = sort_rows(values.to(exact_dtype(values.device)) * (-1 / strength))
        n = ordered.shape[1]
        hard = torch.arange(n, 0, -1, dtype=ordered.dtype, device=ordered.device)
        blocks = _Blocks(non_decreasing(ordered + hard))
        # In a block v is the mean, so the rank is the mean hard rank plus the deviation from the
        # block's mean value. Nothing large is subtracted from something large like this, and a
        # block of one has exactly its hard rank: the margin of the rank loss needs that.
        ranks = blocks.mean(hard.expand_as(ordered)) + (blocks.mean(ordered) - ordered)
        ctx.save_for_backward(order, blocks.number, blocks.size)
        ctx.strength = strength  # type: ignore[attr-defined]
        return torch.empty_like(ranks).scatter_(1, order, ranks).to(values.dtype)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor
    ) -> tuple[torch.Tensor, None]:
        order, number, size = ctx.saved_tensors  # type: ignore[attr-defined]
        ordered = gradient.to(exact_dtype(gradient.device)).gather(1, order)
        ordered = (ordered - _block_mean(ordered, number, size)) * (1 / ctx.strength)  # type: ignore[attr-defined]
        return torch.empty_like(ordered).scatter_(1, order, ordered).to(gradient.dtype), None


class _Blocks:
    """The runs of equal values along the last dimension.

    Attributes:
        number: Of each entry's block in its row (..., n), from 0.
        size: Number of entries of block b at [..., b]; 1 where a row has fewer blocks.
    """

    def __init__(self, values: torch.Tensor) -> None:
        opens = torch.zeros_like(values, dtype=torch.long)
        torch.ne(values[..., 1:], values[..., :-1], out=opens[..., 1:])
        self.number = opens.cumsum(dim=-1)
        ones = torch.ones_like(values)
        self.size = torch.zeros_like(values).scatter_add_(-1, self.number, ones).clamp_(min=1)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Each entry (..., n) replaced by the mean over its block."""
        return _block_mean(values, self.number, self.size)


def _block_mean(values: torch.Tensor, number: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    sums = torch.zeros_like(size).scatter_add_(-1, number, values)
    return sums.div_(size).gather(-1, number)
