"""Nearest neighbours by cosine similarity, exact, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from georank_zoo.errors import UsageError

_INDEX_BITS = 32
_INDEX_MASK = 2**_INDEX_BITS - 1


@dataclass(frozen=True)
class Neighbors:
    """The nearest bank samples of each query, nearest first, the lower index first when equal.

    Attributes:
        index: Positions in the bank (Q, k).
        similarity: Cosine similarities (Q, k); -inf where a query has fewer than k neighbours.
    """

    index: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float32]


def find_neighbors(
    queries: npt.NDArray[np.float32],
    bank: npt.NDArray[np.float32],
    k: int,
    *,
    query_groups: npt.NDArray[np.int64] | None = None,
    bank_groups: npt.NDArray[np.int64] | None = None,
    query_chunk: int = 1024,
    bank_chunk: int = 4096,
    device: str | torch.device = "cpu",
) -> Neighbors:
    """The k nearest bank samples of each query by cosine similarity, in float32.

    Queries and bank are both taken in chunks and only the best k so far are kept, so memory
    does not grow with Q x N.

    Args:
        queries: Features (Q, D).
        bank: Features (N, D).
        k: Neighbours per query.
        query_groups: Group of each query (Q,). Bank samples of a query's own group are not its
            neighbours. With each sample as its own group this is leave-one-out; with places it
            leaves out the place.
        bank_groups: Group of each bank sample (N,).
        query_chunk: Queries at a time.
        bank_chunk: Bank samples at a time.
        device: Where to compute.

    Raises:
        UsageError: If k is not between 1 and N, or a query has no neighbour left.
    """
    if not 1 <= k <= len(bank):
        raise UsageError(f"k must lie between 1 and the {len(bank)} training samples, not {k}.")
    if (query_groups is None) != (bank_groups is None):
        raise ValueError("give the groups of both queries and bank, or of neither")
    # Normalised once; the bank stays on the CPU and goes to the device chunk by chunk.
    bank_unit = F.normalize(torch.from_numpy(bank).float())
    index = np.empty((len(queries), k), np.int64)
    similarity = np.empty((len(queries), k), np.float32)
    for start in range(0, len(queries), query_chunk):
        part = slice(start, start + query_chunk)
        query = F.normalize(torch.from_numpy(queries[part]).float().to(device))
        groups = None if query_groups is None else _on(query_groups[part], device)
        best = torch.empty((len(query), 0), dtype=torch.int64, device=device)
        for first in range(0, len(bank), bank_chunk):
            chunk = slice(first, first + bank_chunk)
            found = query @ bank_unit[chunk].to(device).T
            if groups is not None and bank_groups is not None:
                own = groups[:, None] == _on(bank_groups[chunk], device)[None, :]
                found.masked_fill_(own, -torch.inf)
            best = torch.cat((best, _best_keys(found, k, first)), dim=1)
            best = best.topk(min(k, best.shape[1]), dim=1)[0]
        index[part] = _INDEX_MASK - (best & _INDEX_MASK).cpu().numpy()
        similarity[part] = _from_ordered((best >> _INDEX_BITS).to(torch.int32)).cpu().numpy()
    lonely = int((similarity[:, 0] == -np.inf).sum())
    if lonely:
        raise UsageError(f"{lonely} sample(s) have no training sample outside their own place.")
    return Neighbors(index, similarity)


def _on(values: npt.NDArray[np.int64], device: str | torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)


def _best_keys(similarity: torch.Tensor, k: int, first: int) -> torch.Tensor:
    """The k best pairs of each row as keys (rows, k) that have no ties.

    `topk` breaks ties as it likes, which would make results depend on the chunks. A key orders
    by similarity, then by lower bank index.
    """
    k = min(k, similarity.shape[1])
    values, index = similarity.topk(k, dim=1)
    # Only where more than k reach the k-th value has topk made a choice of its own.
    tied = ((similarity >= values[:, -1:]).sum(dim=1) > k).nonzero()[:, 0]
    if len(tied):
        ordered = similarity[tied].sort(dim=1, descending=True, stable=True)
        values[tied], index[tied] = ordered.values[:, :k], ordered.indices[:, :k]
    # The bits of a float32 order like an int32, except that negative ones run backwards.
    bits = (values + 0.0).view(torch.int32)  # + 0.0 turns -0.0 into 0.0
    ordered_bits = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(torch.int64)
    keys: torch.Tensor = (ordered_bits << _INDEX_BITS) | (_INDEX_MASK - (index + first))
    return keys


def _from_ordered(ordered: torch.Tensor) -> torch.Tensor:
    bits: torch.Tensor = torch.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered)
    return bits.view(torch.float32)
