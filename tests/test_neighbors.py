"""The search for nearest neighbours against slow oracles."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from georank_zoo.eval import neighbors
from georank_zoo.eval.neighbors import find_neighbors


def data(n, seed=0, dim=16):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


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


def test_no_matrix_of_all_pairs(monkeypatch):
    largest = []
    best_keys = neighbors._best_keys

    def recorded(similarity, k, first):
        largest.append(tuple(similarity.shape))
        keys = best_keys(similarity, k, first)
        assert keys.shape[1] <= k
        return keys

    monkeypatch.setattr(neighbors, "_best_keys", recorded)
    bank = data(3000, dim=4)
    find_neighbors(bank, bank, 10, query_chunk=256, bank_chunk=512)
    assert max(largest) == (256, 512)
    assert sum(rows * columns for rows, columns in largest) == 3000**2
