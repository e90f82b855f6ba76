"""Losses over the pairs of samples of a batch: all processes, chunks of rows, exact numbers."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike

from georank_zoo.geo import chord_of_km, chords, exact_dtype, unit_vectors
from georank_zoo.losses.base import Regularizer
from georank_zoo.utils import distributed
from georank_zoo.utils.errors import UsageError

# Pairs that are worked on at once. On the CPU a chunk and its temporaries should stay in the
# cache (2 MiB a tensor); elsewhere few large kernels are better, within bounds (128 MiB a tensor).
CHUNK_PAIRS_CPU = 2**18
CHUNK_PAIRS = 2**24


class PairLoss(Regularizer):
    """A loss that compares the similarity of two samples with the distance of their places.

    Called as `loss(embeddings, latlon)`. In a distributed run the pairs go over the batches of
    all processes: each process takes the rows of its own samples, and the mean of the processes'
    losses and gradients (what DDP forms) is that of one process with the joined batch. All
    processes must bring batches of one size.

    Whatever comes in is computed in float64 (float32 where the device has none): it costs
    little beside the sorting, and what is ordered must not depend on rounding. The rows are taken
    in chunks and the gradient is found along with the value, so nothing of size (B, B) is kept.

    Args:
        min_km: Least distance of the pairs compared.
        max_km: Largest distance of the pairs compared.

    Raises:
        UsageError: If the range is empty.
    """

    def __init__(self, min_km: float, max_km: float) -> None:
        super().__init__()
        if not 0 <= min_km < max_km:
            raise UsageError(
                f"{type(self).__name__}: need 0 <= min_km < max_km, not {min_km:g} and {max_km:g}."
            )
        self.min_km = min_km
        self.max_km = max_km

    @abstractmethod
    def rows_sum(
        self, own: torch.Tensor, everyone: torch.Tensor, chord: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum of the loss's elements over the pairs in range of some rows, and their number.

        Args:
            own: Unit embeddings (R, D) of the rows.
            everyone: Unit embeddings (N, D) of all samples.
            chord: Distances (R, N) in Earth radii; -1 where a sample meets itself.
        """

    def forward(
        self, embeddings: torch.Tensor | ArrayLike, latlon: torch.Tensor | ArrayLike
    ) -> torch.Tensor:
        """The loss of a batch: the mean over its pairs in range.

        Args:
            embeddings: (B, D), any scale and floating type: a tensor, an array or a list of rows.
                Only tensors have a gradient.
            latlon: Positions (B, 2), latitude and longitude in degrees, likewise, on any device.
                They are checked if they lie on the CPU; elsewhere that would stall the device.

        Returns:
            Scalar loss, float32 or better, on the device of the embeddings; 0 with gradient 0
            when no pair is in range.

        Raises:
            UsageError: On fewer than 2 samples, other shapes or invalid positions.
        """
        embeddings, latlon = self.to_batch(embeddings, latlon)
        if len(embeddings) * distributed.world()[0] < 2:
            raise UsageError(
                f"{type(self).__name__} compares samples: it needs a batch of 2 or more."
            )
        device = embeddings.device
        with _full_precision(device):
            own = F.normalize(embeddings.to(exact_dtype(device)), dim=1)
            # Onto the CPU without waiting would be too early to read.
            wait_for_none = device.type != "cpu"
            latlon = latlon.to(device, exact_dtype(device), non_blocking=wait_for_none)
            points = unit_vectors(latlon)
            everyone, all_points = distributed.gather(own), distributed.gather(points)
            processes, process = distributed.world()

            def rows_sum(
                rows: torch.Tensor, others: torch.Tensor, start: int
            ) -> tuple[torch.Tensor, torch.Tensor]:
                chord = chords(points[start : start + len(rows)], all_points)
                chord.diagonal(process * len(own) + start).fill_(-1)
                return self.rows_sum(rows, others, chord)

            total, pairs = _sum_in_chunks(own, everyone, rows_sum)
            # Over all processes; DDP's mean of the gradients makes up for the factor.
            loss = total * processes / distributed.all_sum(pairs).clamp(min=1)
        return loss.to(torch.promote_types(embeddings.dtype, torch.float32))

    def in_range(self, chord: torch.Tensor) -> torch.Tensor:
        """Which pairs count, by their chords; no sample with itself."""
        return (chord >= chord_of_km(self.min_km)) & (chord <= chord_of_km(self.max_km))

    @torch.no_grad()
    def diagnostics(self, latlon: torch.Tensor) -> dict[str, torch.Tensor]:
        """`pairs_in_range`: the share of the pairs of a batch at (B, 2) that count."""
        points = unit_vectors(latlon)
        chord = chords(points, points).fill_diagonal_(-1)
        pairs = max(1, len(latlon) * (len(latlon) - 1))
        return {"pairs_in_range": self.in_range(chord).sum() / pairs}


def _full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Switches autocast off where the device has it."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


class _RowsSum(Protocol):
    def __call__(
        self, rows: torch.Tensor, others: torch.Tensor, start: int
    ) -> tuple[torch.Tensor, torch.Tensor]: ...


def _sum_in_chunks(
    own: torch.Tensor, everyone: torch.Tensor, rows_sum: _RowsSum
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of what `rows_sum` gives for chunks of the rows: the loss and the number of pairs."""
    total, pairs = _SumInChunks.apply(own, everyone, rows_sum, torch.is_grad_enabled())
    return total, pairs


class _SumInChunks(torch.autograd.Function):
    """Finds the gradient of each chunk in the forward pass, so that no chunk need be kept."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        own: torch.Tensor,
        everyone: torch.Tensor,
        rows_sum: _RowsSum,
        with_gradient: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        budget = CHUNK_PAIRS_CPU if own.device.type == "cpu" else CHUNK_PAIRS
        size = max(1, budget // len(everyone))
        with_gradient = with_gradient and any(ctx.needs_input_grad)  # type: ignore[attr-defined]
        total, pairs = own.new_zeros(()), own.new_zeros((), dtype=torch.long)
        own_gradient = torch.empty_like(own)
        gradient = torch.zeros_like(everyone)
        for start in range(0, len(own), size):
            with torch.set_grad_enabled(with_gradient):
                rows = own[start : start + size].detach().requires_grad_(with_gradient)
                others = everyone.detach().requires_grad_(with_gradient)
                part, count = rows_sum(rows, others, start)
            if with_gradient:
                found = torch.autograd.grad(part, (rows, others))
                own_gradient[start : start + size] = found[0]
                gradient += found[1]
            total += part.detach()
            pairs += count
        ctx.save_for_backward(own_gradient, gradient)
        ctx.mark_non_differentiable(pairs)
        return total, pairs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, by_total: torch.Tensor, _: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        own, everyone = ctx.saved_tensors  # type: ignore[attr-defined]
        return by_total * own, by_total * everyone, None, None
