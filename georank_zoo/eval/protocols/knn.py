"""k-nearest-neighbor classification of frozen features.

Protocol (Wu et al. 2018, "Unsupervised feature learning via non-parametric instance
discrimination", as used for GeoRank, Burgert et al. 2026): cosine similarity, k = 10,
temperature 0.9, and a class's score is the sum of exp(similarity / temperature) over the
neighbors of that class. Where a sample has several labels, a label's score is that sum over the
neighbors that have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from georank_zoo.eval.protocols.base import EvalContext, EvalPlan, Prediction, Protocol
from georank_zoo.eval.protocols.neighbors import Neighbors, find_neighbors
from georank_zoo.utils.errors import UsageError

K = 10
TEMPERATURE = 0.9


@dataclass(frozen=True)
class KNN(Protocol):
    """k-nearest-neighbor classification of frozen features.

    Attributes:
        k: Number of neighbors that vote; of several, all in one pass.
        temperature: Temperature of the neighbors' weights.
    """

    name: ClassVar[str] = "knn"
    k: int | Sequence[int] = (K,)
    temperature: float = TEMPERATURE

    @property
    def counts(self) -> tuple[int, ...]:
        """All numbers of neighbors."""
        return (self.k,) if isinstance(self.k, int) else tuple(self.k)

    def check(self, plan: EvalPlan) -> None:
        """Raises UsageError where k or the temperature is out of range."""
        known = len(plan.split.train)
        if not self.counts or not all(1 <= value <= known for value in self.counts):
            raise UsageError(
                f"k must lie between 1 and the {known} training samples, not {list(self.counts)}."
            )
        if not self.temperature > 0:
            raise UsageError(f"The temperature must be positive, not {self.temperature}.")

    def predict(self, context: EvalContext) -> list[Prediction]:
        """The votes of the nearest training samples of other places, for each k."""
        split = context.split
        neighbors = find_neighbors(
            context.features[split.test],
            context.features[split.train],
            max(self.counts),
            query_groups=split.place[split.test],
            bank_groups=split.place[split.train],
            device=context.device,
            on_progress=context.on_progress,
        )
        label = split.label[split.train]
        votes: dict[int, npt.NDArray[Any]] = (
            score_labels(neighbors, label, k=self.counts, temperature=self.temperature)
            if split.multi_label
            else vote(
                neighbors, label, context.num_classes, k=self.counts, temperature=self.temperature
            )
        )
        return [Prediction(votes[k], k=k, temperature=self.temperature) for k in votes]

    def describe(self) -> str:
        """The temperature; k stands with each number."""
        return f"neighbors by cosine similarity, temperature {self.temperature:g}"


def weights(neighbors: Neighbors, *, temperature: float = TEMPERATURE) -> npt.NDArray[np.float64]:
    """exp(similarity / temperature) of each neighbor (Q, k), up to a factor per query.

    The factor, which no comparison of scores within a query depends on, keeps low temperatures
    from overflowing. A missing neighbor weighs 0.

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
        neighbors: At least max(k) neighbors per query.
        labels: Class of each bank sample (N,).
        num_classes: Number of classes.
        k: Numbers of neighbors that vote.
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

    The sum of exp(similarity / temperature) over the neighbors that have the label, as a share of
    what it would be if all k had it at similarity 1: between 0 and 1, and ordered between queries
    as the published sum.

    Args:
        neighbors: At least max(k) neighbors per query.
        labels: 0 or 1 for each class of each bank sample (N, C).
        k: Numbers of neighbors that vote.
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
        raise UsageError(f"k must lie between 1 and the {found} neighbors found, not {list(k)}.")
    if not temperature > 0:
        raise UsageError(f"The temperature must be positive, not {temperature}.")
