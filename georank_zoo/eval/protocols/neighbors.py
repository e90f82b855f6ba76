"""Nearest neighbors by cosine similarity: exact, in bounded memory.

Nearly all the time goes into the matrix product. Once some samples have been seen, hardly any
entry of a tile of similarities belongs to a neighbor: only the largest of each block is compared
with the query's k-th best so far, and only blocks that reach beyond it are looked into.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from georank_zoo.utils.errors import UsageError

# A tile of 64 MiB: smaller ones cost more in calls, larger ones gain nothing.
QUERY_CHUNK = 1024
BANK_CHUNK = 16384

_BLOCK = 32  # similarities that are compared as one
_FEW = 16  # blocks of a tile and query that are looked into at once, whatever k is
_INDEX_BITS = 32
_INDEX_MASK = 2**_INDEX_BITS - 1


@dataclass(frozen=True)
class Neighbors:
    """The nearest bank samples of each query, nearest first, the lower index first when equal.

    Attributes:
        index: Positions in the bank (Q, k).
        similarity: Cosine similarities (Q, k); -inf, with an index that means nothing, where a
            query has fewer than k neighbors.
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
    query_chunk: int = QUERY_CHUNK,
    bank_chunk: int = BANK_CHUNK,
    device: str | torch.device = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> Neighbors:
    """The k nearest bank samples of each query by cosine similarity, in float32.

    Queries and bank may be memory maps: chunks of them are read and normalized, the bank's once,
    and nothing is kept but the best k so far. So memory grows with Q x k alone.

    Args:
        queries: Features (Q, D).
        bank: Features (N, D).
        k: Neighbors per query.
        query_groups: Group of each query (Q,). Bank samples of a query's own group are not its
            neighbors. With each sample as its own group this is leave-one-out; with places it
            leaves out the place.
        bank_groups: Group of each bank sample (N,).
        query_chunk: Queries at a time.
        bank_chunk: Bank samples at a time.
        device: Device to compute on.
        on_progress: Called with the number of similarities done and their total.

    Raises:
        UsageError: If k is not between 1 and N, a feature is NaN or infinite, or a query has no
            neighbor left.
    """
    if not 1 <= k <= len(bank):
        raise UsageError(f"k must lie between 1 and the {len(bank)} training samples, not {k}.")
    if (query_groups is None) != (bank_groups is None):
        raise ValueError("give the groups of both queries and bank, or of neither")
    best = _Best(len(queries), k, device)
    blocks = -(-min(bank_chunk, len(bank)) // _BLOCK)
    # One for all: fresh memory of this size costs a good part of the product's time.
    tile = torch.empty((min(query_chunk, len(queries)), blocks * _BLOCK), device=device)
    for first in range(0, len(bank), bank_chunk):
        chunk = slice(first, first + bank_chunk)
        known = _unit(bank[chunk], device)
        known_groups = None if bank_groups is None else _on(bank_groups[chunk], device)
        tile[:, len(known) :] = -torch.inf
        for start in range(0, len(queries), query_chunk):
            part = slice(start, start + query_chunk)
            query = _unit(queries[part], device)
            torch.mm(query, known.T, out=tile[: len(query), : len(known)])
            own_groups = None if query_groups is None else _on(query_groups[part], device)
            similarity = tile[: len(query)].view(len(query), blocks, _BLOCK)
            best.take(similarity, part, first, own_groups, known_groups)
            if on_progress is not None:
                done = first * len(queries) + len(known) * (start + len(query))
                on_progress(done, len(bank) * len(queries))
    return best.neighbors()


class _Best:
    """The best k bank samples so far of each query.

    Attributes:
        keys: Keys of the samples (Q, k), in no order.
        least: Similarity of the k-th best (Q,).
    """

    def __init__(self, queries: int, k: int, device: str | torch.device) -> None:
        nothing = _keys(torch.tensor(-torch.inf), torch.tensor(0))
        self.keys = nothing.to(device).repeat(queries, k)
        self.least = torch.full((queries,), -torch.inf, device=device)

    def take(
        self,
        similarity: torch.Tensor,
        part: slice,
        first: int,
        query_groups: torch.Tensor | None,
        bank_groups: torch.Tensor | None,
    ) -> None:
        """Takes in a tile. Tiles must come in the order of the bank.

        Args:
            similarity: Similarity of queries to bank samples, in blocks (q, blocks, _BLOCK).
            part: Which queries.
            first: Index of the first bank sample.
            query_groups: Groups of these queries (q,).
            bank_groups: Groups of these bank samples.
        """
        best, least = self.keys[part], self.least[part]
        largest = similarity.amax(dim=2)
        few = max(_FEW, 8 * best.shape[1] // _BLOCK)
        spans = [(0, largest.shape[1])]
        while spans:
            low, high = spans.pop()
            # Not >=: what comes later has the higher index.
            row, block = (largest[:, low:high] > least[:, None]).nonzero().unbind(1)
            # Where much is promising, as it is at first, the first half rules out much of the rest.
            if high - low > few and int(torch.bincount(row, minlength=1).max()) > few:
                middle = (low + high) // 2
                spans += [(middle, high), (low, middle)]
                continue
            block = block + low
            values = similarity.flatten(0, 1).index_select(0, row * largest.shape[1] + block)
            hit, offset = (values > least[row][:, None]).nonzero().unbind(1)
            row, column = row[hit], block[hit] * _BLOCK + offset
            keys = _keys(values[hit, offset], first + column)
            if query_groups is not None and bank_groups is not None:
                foreign = query_groups[row] != bank_groups[column]
                row, keys = row[foreign], keys[foreign]
            if len(row):
                _merge(best, least, row, keys)

    def neighbors(self) -> Neighbors:
        """The result.

        Raises:
            UsageError: If a query has no neighbor.
        """
        index = np.empty(self.keys.shape, np.int64)
        similarity = np.empty(self.keys.shape, np.float32)
        for start in range(0, len(index), QUERY_CHUNK):
            part = slice(start, start + QUERY_CHUNK)
            keys = self.keys[part].sort(dim=1, descending=True).values
            index[part] = (_INDEX_MASK - (keys & _INDEX_MASK)).cpu().numpy()
            similarity[part] = _similarity(keys).cpu().numpy()
        lonely = int((similarity[:, 0] == -np.inf).sum())
        if lonely:
            raise UsageError(f"{lonely} sample(s) have no training sample outside their own place.")
        return Neighbors(index, similarity)


def _merge(best: torch.Tensor, least: torch.Tensor, row: torch.Tensor, keys: torch.Tensor) -> None:
    """Merges keys (n,) of rows (n,), in ascending order, into the best keys (Q, k) in place."""
    k = best.shape[1]
    rows, place, counts = torch.unique_consecutive(row, return_inverse=True, return_counts=True)
    rank = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[place]
    pool = best.new_full((len(rows), k + int(counts.max())), torch.iinfo(best.dtype).min)
    pool[:, :k] = best[rows]
    pool[place, k + rank] = keys
    kept = pool.topk(k, dim=1, sorted=False).values
    best[rows] = kept
    least[rows] = _similarity(kept.amin(dim=1))


def _keys(similarity: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Keys that order pairs by similarity, then by lower index, so that there are no ties."""
    # The bits of a float32 order like an int32, except that negative ones run backwards.
    bits = (similarity + 0.0).view(torch.int32)  # + 0.0 turns -0.0 into 0.0
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(torch.int64)
    keys: torch.Tensor = (ordered << _INDEX_BITS) | (_INDEX_MASK - index)
    return keys


def _similarity(keys: torch.Tensor) -> torch.Tensor:
    ordered = (keys >> _INDEX_BITS).to(torch.int32)
    return torch.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered).view(torch.float32)


def _unit(features: npt.NDArray[np.float32], device: str | torch.device) -> torch.Tensor:
    """Features (n, D) of norm 1, copied."""
    unit = torch.from_numpy(np.array(features, np.float32)).to(device)
    norm = torch.linalg.vector_norm(unit, dim=1, keepdim=True)
    broken = int((~norm.isfinite()).sum())
    if broken:
        raise UsageError(f"{broken} feature vector(s) hold NaN or infinity: none is near them.")
    return unit.div_(norm.clamp_min_(1e-12))


def _on(values: npt.NDArray[np.int64], device: str | torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)
