"""k-NN against slow oracles."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from georank_zoo.errors import UsageError
from georank_zoo.eval import knn
from georank_zoo.eval.knn import Neighbors, find_neighbors, vote, weights


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


def test_equals_scikit_learn():
    queries, bank = data(40, seed=3), data(300)
    found = find_neighbors(queries, bank, 7)
    oracle = NearestNeighbors(n_neighbors=7, metric="cosine", algorithm="brute").fit(bank)
    distance, index = oracle.kneighbors(queries)
    np.testing.assert_allclose(found.similarity, 1 - distance, atol=1e-5)
    # Two that are equal to float32 may change places.
    changed = found.index != index
    assert changed.mean() < 0.02
    assert all(set(a) == set(b) for a, b in zip(found.index, index, strict=True))


@pytest.mark.parametrize("chunks", [(1, 1), (7, 5), (64, 1000), (1000, 64)])
def test_chunks_do_not_matter(chunks):
    bank = data(200)
    groups = np.arange(200) // 2
    options = {"query_groups": groups, "bank_groups": groups}
    whole = find_neighbors(bank, bank, 9, query_chunk=1000, bank_chunk=1000, **options)
    part = find_neighbors(bank, bank, 9, query_chunk=chunks[0], bank_chunk=chunks[1], **options)
    np.testing.assert_array_equal(part.index, whole.index)
    np.testing.assert_allclose(part.similarity, whole.similarity, atol=1e-6)


@pytest.mark.parametrize("bank_chunk", [1, 3, 8, 100])
def test_equal_similarities_go_by_index(bank_chunk):
    # Unit vectors: similarities are exactly 0, 1 and -1.
    bank = np.eye(4, dtype=np.float32)[[0, 1, 0, 0, 2, 0, 1, 3, 0, 0] * 3]
    bank[5::10] *= -1
    found = find_neighbors(bank[:1], bank, 20, bank_chunk=bank_chunk)
    similarity = bank @ bank[0]
    expected = sorted(range(30), key=lambda j: (-similarity[j], j))[:20]
    assert found.index[0].tolist() == expected
    np.testing.assert_array_equal(found.similarity[0], similarity[expected])


def test_negative_similarities_keep_their_order():
    bank = -np.abs(data(50))
    query = np.abs(data(1, seed=9))
    found = find_neighbors(query, bank, 50, bank_chunk=7)
    assert (np.diff(found.similarity[0]) <= 0).all()
    assert found.similarity.max() < 0
    assert sorted(found.index[0].tolist()) == list(range(50))


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
    # One near neighbour of class 0 against two far ones of class 1.
    neighbors = Neighbors(np.array([[0, 1, 2]]), np.array([[0.5, 0.1, 0.1]], np.float32))
    labels = np.array([0, 1, 1])
    assert vote(neighbors, labels, 2, k=[3], temperature=0.9)[3] == [1]
    assert vote(neighbors, labels, 2, k=[3], temperature=0.1)[3] == [0]


def test_no_matrix_of_all_pairs(monkeypatch):
    largest = []
    best_keys = knn._best_keys

    def recorded(similarity, k, first):
        largest.append(tuple(similarity.shape))
        keys = best_keys(similarity, k, first)
        assert keys.shape[1] <= k
        return keys

    monkeypatch.setattr(knn, "_best_keys", recorded)
    bank = data(3000, dim=4)
    find_neighbors(bank, bank, 10, query_chunk=256, bank_chunk=512)
    assert max(largest) == (256, 512)
    assert sum(rows * columns for rows, columns in largest) == 3000**2


@pytest.mark.parametrize("k", [0, 11])
def test_impossible_k(k):
    with pytest.raises(UsageError, match="between 1 and the 10"):
        find_neighbors(data(3), data(10), k)
    with pytest.raises(UsageError, match="between 1 and the 10"):
        vote(find_neighbors(data(3), data(10), 10), np.zeros(10, int), 1, k=[k])


def test_temperature_must_be_positive():
    with pytest.raises(UsageError, match="positive"):
        weights(find_neighbors(data(3), data(10), 2), temperature=0)
