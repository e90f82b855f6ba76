"""Queue of negatives, shared by all processes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from georank_zoo.utils import distributed
from georank_zoo.utils.errors import UsageError


class NegativeQueue(nn.Module):
    """The last keys of all processes, first in, first out; begins with random unit vectors.

    Both buffers are persistent: a resumed run continues with the same negatives.

    Args:
        size: Number of keys.
        dim: Dimension of the keys.

    Raises:
        UsageError: If the size is below 1.
    """

    keys: torch.Tensor
    position: torch.Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1:
            raise UsageError(f"The queue needs a size of 1 or more, not {size}.")
        self.register_buffer("keys", F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, keys: torch.Tensor) -> None:
        """Adds the keys (B, D) of this process and of all others; the oldest fall out."""
        size = len(self.keys)
        keys = distributed.gather(keys.detach())[-size:]
        slots = (self.position + torch.arange(len(keys), device=keys.device)) % size
        self.keys[slots] = keys.to(self.keys.dtype)
        self.position.add_(len(keys)).remainder_(size)
