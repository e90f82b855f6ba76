"""Collective operations of the losses: gather with gradient, sum."""

from __future__ import annotations

import torch
import torch.distributed as dist


def world() -> tuple[int, int]:
    """Number of processes and the number of this one; (1, 0) outside a distributed run."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size(), dist.get_rank()
    return 1, 0


def gather(tensor: torch.Tensor) -> torch.Tensor:
    """Concatenates the tensors (B, ...) of all processes to (N * B, ...), in their order.

    Gradients flow back to the process that each row came from; every process must give the same
    number of rows.
    """
    if world()[0] == 1:
        return tensor
    joined: torch.Tensor = _Gather.apply(tensor)
    return joined


def all_sum(tensor: torch.Tensor) -> torch.Tensor:
    """Sum over all processes, without gradient."""
    total = tensor.detach().clone()
    if world()[0] > 1:
        dist.all_reduce(total)
    return total


class _Gather(torch.autograd.Function):
    """Unlike torch.distributed.nn's all_gather, right for gradients of any memory layout on gloo.

    There the backward pass receives into tensors with the strides of the gradient what it sends
    contiguous, so the gradient of `x @ gather(y).T` comes back scrambled, without an error.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.contiguous()
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor)
        return torch.cat(parts)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, by_joined: torch.Tensor) -> torch.Tensor:
        processes, process = world()
        total = by_joined.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(processes)[process]
