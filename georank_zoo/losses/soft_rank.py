"""Ranks of the rows of a matrix, on any device: `soft_rank` (differentiable), `average_rank`.

Source: Blondel et al. 2020, "Fast Differentiable Sorting and Ranking" (arXiv 2002.08871), with
l2 regularization; there 1 is the rank of the largest value, here of the smallest. For a row
t = (t_1, ..., t_n) and a regularization strength eps:

    r    = projection of t / eps onto the permutahedron, the convex hull of the permutations of
           (1, ..., n): the point of it with the least |r - t / eps|^2
    a    = -t / eps in ascending order
    v    = argmin over v_1 <= ... <= v_n of |v - (a + (n, ..., 1))|^2       isotonic regression
    r    = v - a, in the order of t                                         proposition 3

v is constant on blocks of neighbors, so a rank is the mean ordinal rank of its block plus the
deviation of t / eps from the block's mean. Entries alone in their block have their ordinal rank and
no gradient. The Jacobian is (identity - averaging over the blocks) / eps (proposition 4), which is
symmetric, and the vector-Jacobian product of a gradient g by r:

    g_t  = (g - mean of g over the block) / eps
"""

from __future__ import annotations

import numpy as np
import torch

from georank_zoo.geo import exact_dtype
from georank_zoo.losses.isotonic import isotonic_regression

# numpy sorts with AVX-512 or AVX2, two to three times faster than torch on a core, but on one
# core only; torch takes one core a row. See benchmarks/README.md, "The rank loss".
NUMPY_UP_TO_THREADS = 3


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
        blocks = _Blocks(isotonic_regression(ordered + hard))
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
