"""Ranks of the rows of a matrix: soft (differentiable) and hard, batched, on any device."""

from __future__ import annotations

import torch

from georank_zoo.geo import exact_dtype


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
    ordered = values.sort(dim=-1).values.contiguous()
    values = values.contiguous()
    below = torch.searchsorted(ordered, values, right=False)
    not_above = torch.searchsorted(ordered, values, right=True)
    return (below + not_above + 1).to(values.dtype) / 2


def soft_rank(values: torch.Tensor, strength: float) -> torch.Tensor:
    """Soft ranks along the last dimension, 1 for the smallest value.

    The Euclidean projection of `values / strength` onto the permutahedron of (1, ..., n): the
    ordinal ranks where neighbouring values differ by more than `strength`, pulled together where
    they differ by less; all equal to (n + 1) / 2 for a large strength.

    Source: Blondel et al. 2020, "Fast Differentiable Sorting and Ranking", l2 regularisation.

    Args:
        values: (..., n). The work is done in float64 (float32 where the device has no float64).
        strength: Regularisation strength, above 0, in the unit of the values.

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
        rows, n = values.shape
        scaled = values.to(exact_dtype(values.device)) / strength
        ordered, order = scaled.sort(dim=1, descending=True)
        # The hard ranks in that order; the projection is `ordered - v`, where v is the
        # non-increasing isotonic regression of `ordered - hard` (Blondel et al., Prop. 3).
        hard = torch.arange(n, 0, -1, dtype=ordered.dtype, device=ordered.device).expand(rows, n)
        block = _non_increasing_blocks(ordered - hard)
        # In a block v is the mean, so the rank is the mean hard rank plus the deviation from the
        # block's mean value. Written like this nothing large is subtracted from something large.
        ranks = _block_mean(hard, block) + (ordered - _block_mean(ordered, block))
        ctx.save_for_backward(order, block)
        ctx.strength = strength  # type: ignore[attr-defined]
        return torch.empty_like(ranks).scatter_(1, order, ranks).to(values.dtype)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor
    ) -> tuple[torch.Tensor, None]:
        order, block = ctx.saved_tensors  # type: ignore[attr-defined]
        ordered = gradient.to(exact_dtype(gradient.device)).gather(1, order)
        ordered = (ordered - _block_mean(ordered, block)) / ctx.strength  # type: ignore[attr-defined]
        return torch.empty_like(ordered).scatter_(1, order, ordered).to(gradient.dtype), None


def _non_increasing_blocks(values: torch.Tensor) -> torch.Tensor:
    """Blocks of the isotonic regression of each row, as a block number per entry.

    Pool adjacent violators, all rows and all violators at once: neighbouring blocks whose means
    increase belong together in the solution whatever else is pooled, so each round joins every
    run of such blocks, until there is none.

    Args:
        values: (rows, n), float.

    Returns:
        Block numbers (rows, n), non-decreasing over the flattened matrix; no block crosses rows.
    """
    rows, n = values.shape
    device = values.device
    # Sums over any span by two look-ups; centred, so that they stay small.
    centred = values - values.mean(dim=1, keepdim=True)
    prefix = torch.cat((centred.new_zeros(1), centred.flatten().cumsum(0)))
    end = torch.tensor([rows * n], device=device)
    starts = torch.arange(rows * n, device=device)
    while True:
        bounds = torch.cat((starts, end))
        mean = prefix[bounds].diff() / bounds.diff()
        opens_row = starts[1:] % n == 0
        kept = opens_row | (mean[1:] < mean[:-1])
        if bool(kept.all()):
            break
        starts = torch.cat((starts[:1], starts[1:][kept]))
    lengths = torch.cat((starts, end)).diff()
    numbers = torch.arange(len(starts), device=device)
    return numbers.repeat_interleave(lengths, output_size=rows * n).view(rows, n)


def _block_mean(values: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
    """Each entry (rows, n) replaced by the mean over its block."""
    flat, numbers = values.reshape(-1), block.reshape(-1)
    sums = torch.zeros_like(flat).index_add_(0, numbers, flat)
    counts = torch.zeros_like(flat).index_add_(0, numbers, torch.ones_like(flat))
    return (sums / counts.clamp_(min=1))[numbers].view_as(values)
