"""k-nearest-neighbour classification of frozen features.

Protocol (Wu et al. 2018, "Unsupervised feature learning via non-parametric instance
discrimination", as used for GeoRank, Burgert et al. 2026): cosine similarity, k = 10,
temperature 0.9, and a class's score is the sum of exp(similarity / temperature) over the
neighbours of that class. Where a sample has several labels, a label's score is that sum over the
neighbours that have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from georank_zoo.errors import UsageError
from georank_zoo.eval.protocol import Prediction, Protocol, Subject
from georank_zoo.eval.splits import Split

K = 10
TEMPERATURE = 0.9

_INDEX_BITS = 32
_INDEX_MASK = 2**_INDEX_BITS - 1


@dataclass(frozen=True)
class KNN(Protocol):
    """The protocol with its settings.

    Attributes:
        k: Numbers of neighbours that vote, all in one pass.
        temperature: Of the neighbours' weights.
    """

    name: ClassVar[str] = "knn"
    k: Sequence[int] = (K,)
    temperature: float = TEMPERATURE

    def check(self, split: Split, *, sizes: Sequence[int], seed: int, device: torch.device) -> None:
        """Raises UsageError where k or the temperature is out of range."""
        if not self.k or not all(1 <= value <= len(split.train) for value in self.k):
            raise UsageError(
                f"k must lie between 1 and the {len(split.train)} training samples, not "
                f"{list(self.k)}."
            )
        if not self.temperature > 0:
            raise UsageError(f"The temperature must be positive, not {self.temperature}.")

    def predict(self, subject: Subject) -> list[Prediction]:
        """The votes of the nearest training samples of other places, for each k."""
        split = subject.split
        neighbors = find_neighbors(
            subject.features[split.test],
            subject.features[split.train],
            max(self.k),
            query_groups=split.place[split.test],
            bank_groups=split.place[split.train],
            device=subject.device,
        )
        label = split.label[split.train]
        votes: dict[int, npt.NDArray[Any]] = (
            score_labels(neighbors, label, k=self.k, temperature=self.temperature)
            if split.multi_label
            else vote(neighbors, label, subject.num_classes, k=self.k, temperature=self.temperature)
        )
        return [Prediction(votes[k], k=k, temperature=self.temperature) for k in votes]

    def describe(self) -> str:
        """The temperature; k stands with each number."""
        return f"neighbours by cosine similarity, temperature {self.temperature:g}"


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
    k: int = K,
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


def weights(neighbors: Neighbors, *, temperature: float = TEMPERATURE) -> npt.NDArray[np.float64]:
    """exp(similarity / temperature) of each neighbour (Q, k), up to a factor per query.

    The factor, which no comparison of scores within a query depends on, keeps low temperatures
    from overflowing. A neighbour that is lacking weighs 0.

    Raises:
        UsageError: If the temperature is not positive.
    """
    if not temperature > 0:
        raise UsageError(f"The temperature must be positive, not {temperature}.")
    similarity = neighbors.similarity.astype(np.float64)
    scaled: npt.NDArray[np.float64] = np.exp((similarity - similarity[:, :1]) / temperature)
    return scaled


def vote(
    neighbors: Neighbors,
    labels: npt.NDArray[np.int64],
    num_classes: int,
    *,
    k: Sequence[int] = (K,),
    temperature: float = TEMPERATURE,
) -> dict[int, npt.NDArray[np.int64]]:
    """Predicted class of each query, for each k.

    Args:
        neighbors: At least max(k) neighbours per query.
        labels: Class of each bank sample (N,).
        num_classes: Number of classes.
        k: Numbers of neighbours that vote.
        temperature: Temperature of the weights.

    Returns:
        Classes (Q,) by k; the lower class where scores are equal.
    """
    _check_votes(neighbors, k, temperature)
    weight = weights(neighbors, temperature=temperature)
    label = labels[neighbors.index]
    scores = np.zeros((len(label), num_classes), np.float64)
    rows = np.arange(len(label))
    predicted = {}
    for rank in range(max(k)):
        scores[rows, label[:, rank]] += weight[:, rank]
        if rank + 1 in k:
            predicted[rank + 1] = scores.argmax(axis=1)
    return {value: predicted[value] for value in k}


def score_labels(
    neighbors: Neighbors,
    labels: npt.NDArray[np.int64],
    *,
    k: Sequence[int] = (K,),
    temperature: float = TEMPERATURE,
) -> dict[int, npt.NDArray[np.float32]]:
    """Score of each label for each query, for each k.

    The sum of exp(similarity / temperature) over the neighbours that have the label, as a share of
    what it would be if all k had it at similarity 1: between 0 and 1, and ordered between queries
    as the published sum.

    Args:
        neighbors: At least max(k) neighbours per query.
        labels: 0 or 1 for each class of each bank sample (N, C).
        k: Numbers of neighbours that vote.
        temperature: Temperature of the weights.

    Returns:
        Scores (Q, C) by k.
    """
    _check_votes(neighbors, k, temperature)
    similarity = neighbors.similarity.astype(np.float64)
    # Rounding takes a similarity of 1 a little above it.
    weight = np.exp((np.minimum(similarity, 1) - 1) / temperature)
    sums = np.zeros((len(similarity), labels.shape[1]))
    scores = {}
    for rank in range(max(k)):
        sums += weight[:, rank, None] * labels[neighbors.index[:, rank]]
        if rank + 1 in k:
            scores[rank + 1] = (sums / (rank + 1)).astype(np.float32)
    return {value: scores[value] for value in k}


def _check_votes(neighbors: Neighbors, k: Sequence[int], temperature: float) -> None:
    found = neighbors.index.shape[1]
    if not k or max(k) > found or min(k) < 1:
        raise UsageError(f"k must lie between 1 and the {found} neighbours found, not {list(k)}.")
    if not temperature > 0:
        raise UsageError(f"The temperature must be positive, not {temperature}.")
