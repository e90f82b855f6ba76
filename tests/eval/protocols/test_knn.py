"""k-NN against slow oracles."""

from __future__ import annotations

import numpy as np
import pytest

from georank_zoo.eval.protocols.knn import vote, weights
from georank_zoo.eval.protocols.neighbors import Neighbors, find_neighbors
from georank_zoo.utils.errors import UsageError


def data(n, seed=0, dim=16):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def slow_knn(queries, bank, labels, classes, k, temperature, query_groups, bank_groups):
    """The protocol, one query at a time in float64."""
    predicted = []
    unit = bank.astype(np.float64) / np.linalg.norm(bank.astype(np.float64), axis=1)[:, None]
    for query, group in zip(queries.astype(np.float64), query_groups, strict=True):
        similarity = unit @ (query / np.linalg.norm(query))
        allowed = [j for j in range(len(bank)) if bank_groups[j] != group]
        nearest = sorted(allowed, key=lambda j: (-similarity[j], j))[:k]
        scores = np.zeros(classes)
        for j in nearest:
            scores[labels[j]] += np.exp(similarity[j] / temperature)
        predicted.append(int(scores.argmax()))
    return np.array(predicted)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.9), (10, 0.9), (10, 0.07), (50, 0.9)])
def test_equals_the_slow_oracle_leaving_out_places(k, temperature):
    bank, labels = data(120), np.random.default_rng(1).integers(0, 5, 120)
    bank += 0.7 * data(5, seed=2)[labels]
    places = np.arange(120) // 3
    neighbors = find_neighbors(
        bank, bank, k, query_groups=places, bank_groups=places, query_chunk=17, bank_chunk=23
    )
    assert (places[neighbors.index] != places[:, None]).all(), "a sample saw its own place"
    predicted = vote(neighbors, labels, 5, k=[k], temperature=temperature)[k]
    expected = slow_knn(bank, bank, labels, 5, k, temperature, places, places)
    np.testing.assert_array_equal(predicted, expected)
    assert 0.2 < (predicted == labels).mean() < 1, "too easy or too hard to tell anything"


def test_own_group_is_masked_even_when_it_is_all_but_one():
    bank = data(10)
    groups = np.array([0] * 9 + [1])
    found = find_neighbors(bank, bank, 3, query_groups=groups, bank_groups=groups)
    assert (found.index[:9, 0] == 9).all()
    # Fewer than k are left: the rest weigh nothing.
    assert (weights(found)[:9, 1:] == 0).all()
    labels = np.array([0] * 9 + [1])
    predicted = vote(found, labels, 2, k=[3])[3]
    assert predicted.tolist() == [1] * 9 + [0]
    with pytest.raises(UsageError, match="10 sample"):
        find_neighbors(bank, bank, 3, query_groups=groups * 0, bank_groups=groups * 0)


def test_several_k_in_one_pass_equal_single_ones():
    bank, labels = data(100), np.random.default_rng(1).integers(0, 4, 100)
    both = vote(find_neighbors(bank, bank, 20), labels, 4, k=[20, 1, 5])
    assert list(both) == [20, 1, 5]
    for k, predicted in both.items():
        single = vote(find_neighbors(bank, bank, k), labels, 4, k=[k])[k]
        np.testing.assert_array_equal(predicted, single)
    np.testing.assert_array_equal(both[1], labels)


def test_weights_follow_the_published_formula():
    similarity = np.array([[0.9, 0.5, -0.2]], np.float32)
    weight = weights(Neighbors(np.array([[0, 1, 2]]), similarity), temperature=0.9)
    expected = np.exp(similarity.astype(np.float64) / 0.9)
    np.testing.assert_allclose(weight / weight[0, 0], expected / expected[0, 0])
    # A temperature at which exp(similarity / T) would overflow.
    assert np.isfinite(
        weights(Neighbors(np.array([[0, 1, 2]]), similarity), temperature=1e-4)
    ).all()


def test_weights_decide():
    # One near neighbor of class 0 against two far ones of class 1.
    neighbors = Neighbors(np.array([[0, 1, 2]]), np.array([[0.5, 0.1, 0.1]], np.float32))
    labels = np.array([0, 1, 1])
    assert vote(neighbors, labels, 2, k=[3], temperature=0.9)[3] == [1]
    assert vote(neighbors, labels, 2, k=[3], temperature=0.1)[3] == [0]


@pytest.mark.parametrize("k", [0, 11])
def test_impossible_k(k):
    with pytest.raises(UsageError, match="between 1 and the 10"):
        find_neighbors(data(3), data(10), k)
    with pytest.raises(UsageError, match="between 1 and the 10"):
        vote(find_neighbors(data(3), data(10), 10), np.zeros(10, int), 1, k=[k])


def test_temperature_must_be_positive():
    with pytest.raises(UsageError, match="positive"):
        weights(find_neighbors(data(3), data(10), 2), temperature=0)
