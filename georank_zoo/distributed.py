"""What the losses need to know of the other processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch.distributed.nn.functional import all_gather as _all_gather_with_gradient


def world() -> tuple[int, int]:
    """Number of processes and the number of this one; (1, 0) outside a distributed run."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size(), dist.get_rank()
    return 1, 0


def gather(tensor: torch.Tensor) -> torch.Tensor:
    """Joins the tensors (B, ...) of all processes to (N * B, ...), in the order of processes.

    Gradients flow back to the process that each row came from; every process must give the same
    number of rows.
    """
    if world()[0] == 1:
        return tensor
    parts = _all_gather_with_gradient(tensor.contiguous())  # type: ignore[no-untyped-call]
    return torch.cat(tuple(parts))


def all_sum(tensor: torch.Tensor) -> torch.Tensor:
    """The sum over all processes, without gradient."""
    total = tensor.detach().clone()
    if world()[0] > 1:
        dist.all_reduce(total)
    return total
