"""Sorting the rows of a matrix."""

from __future__ import annotations

import numpy as np
import torch

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
