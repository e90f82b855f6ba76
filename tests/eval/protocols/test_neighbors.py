"""The search for nearest neighbors against slow oracles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from georank_zoo.eval.protocols import neighbors
from georank_zoo.eval.protocols.neighbors import find_neighbors
from georank_zoo.utils.errors import UsageError


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


@pytest.mark.parametrize("chunks", [(1, 50), (7, 5), (64, 1000), (1000, 64)])
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


def test_places_are_left_out_wherever_the_chunks_end():
    bank = data(400, dim=8)
    bank[1::2] = bank[::2] + 1e-3 * data(200, seed=1, dim=8)  # the nearest are of one's own place
    groups = np.arange(400) // 2
    similarity = bank.astype(np.float64) / np.linalg.norm(bank.astype(np.float64), axis=1)[:, None]
    similarity = similarity @ similarity.T
    similarity[groups[:, None] == groups] = -np.inf
    expected = np.sort(similarity, axis=1)[:, ::-1][:, :12]
    for chunks in ((400, 400), (37, 53), (400, 130)):
        found = find_neighbors(
            bank, bank, 12, query_groups=groups, bank_groups=groups,
            query_chunk=chunks[0], bank_chunk=chunks[1],
        )  # fmt: skip
        assert (groups[found.index] != groups[:, None]).all()
        np.testing.assert_allclose(found.similarity, expected, atol=1e-6)


@pytest.mark.parametrize("order", ["nearest last", "nearest first", "one class after another"])
@pytest.mark.parametrize("k", [3, 300])
def test_the_order_of_the_bank_does_not_matter(order, k):
    """Nearer and nearer samples put whole tiles among the best; more than are looked into."""
    axis = np.zeros(8, np.float32)
    axis[0] = 1
    bank = axis * np.linspace(0, 4, 9000, dtype=np.float32)[:, None] + data(9000, dim=8)
    if order == "nearest first":
        bank = bank[::-1]
    elif order == "one class after another":
        bank = bank[np.argsort(np.arange(9000) % 3, kind="stable")]
    queries = axis + 0.1 * data(70, seed=1, dim=8)
    found = find_neighbors(queries, bank, k)
    unit = bank.astype(np.float64) / np.linalg.norm(bank.astype(np.float64), axis=1)[:, None]
    queries = queries.astype(np.float64) / np.linalg.norm(queries, axis=1)[:, None]
    expected = np.sort(queries @ unit.T, axis=1)[:, ::-1][:, :k]
    np.testing.assert_allclose(found.similarity, expected, atol=1e-6)
    at_index = (queries[:, None] * unit[found.index]).sum(2)
    np.testing.assert_allclose(at_index, found.similarity, atol=1e-6)
    assert all(len(set(row)) == k for row in found.index)


def test_thousands_of_equal_samples_go_by_index():
    # Multiples of a quarter: products and sums are exact in any order.
    kinds = np.random.default_rng(0).choice([-0.25, 0.25], (3, 16)).astype(np.float32)
    kind = np.random.default_rng(1).integers(0, 3, 5000)
    bank = kinds[kind]
    for chunk in (5000, 700, 64):
        found = find_neighbors(kinds, bank, 500, bank_chunk=chunk)
        for number in range(3):
            expected = np.flatnonzero(kind == number)[:500]
            np.testing.assert_array_equal(found.index[number], expected)


def test_memory_maps_equal_arrays(tmp_path):
    bank = data(300)
    np.save(tmp_path / "bank.npy", bank)
    mapped = np.load(tmp_path / "bank.npy", mmap_mode="r")
    found = find_neighbors(mapped[:20], mapped, 5, bank_chunk=128)
    expected = find_neighbors(bank[:20], bank, 5, bank_chunk=128)
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.similarity, expected.similarity)


def test_only_chunks_are_copied(monkeypatch):
    """No matrix of all pairs, no normalized copy of all features."""
    copied, tiles = [], []
    unit, take = neighbors._unit, neighbors._Best.take

    def recorded_unit(features, device):
        copied.append(features.shape)
        return unit(features, device)

    def recorded_take(self, similarity, *rest):
        tiles.append(tuple(similarity.shape))
        take(self, similarity, *rest)

    monkeypatch.setattr(neighbors, "_unit", recorded_unit)
    monkeypatch.setattr(neighbors._Best, "take", recorded_take)
    bank = data(3000, dim=4)
    find_neighbors(bank, bank, 10, query_chunk=256, bank_chunk=512)
    assert max(copied) == (512, 4)
    assert sum(rows for rows, _ in copied) == 3000 + 6 * 3000
    assert max(tiles) == (256, 16, 32)
    assert len(tiles) == 12 * 6


def test_progress_ends_at_the_total():
    seen = []
    find_neighbors(data(30), data(50), 3, query_chunk=20, bank_chunk=40,
                   on_progress=lambda *step: seen.append(step))  # fmt: skip
    assert seen == [(800, 1500), (1200, 1500), (1400, 1500), (1500, 1500)]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_broken_features_are_refused(value):
    broken = data(10)
    broken[3, 2] = value
    for queries, bank in ((broken, data(10)), (data(10), broken)):
        with pytest.raises(UsageError, match=r"1 feature vector.*NaN or infinity"):
            find_neighbors(queries, bank, 2)


def test_a_zero_vector_is_near_nothing_and_breaks_nothing():
    bank = data(10)
    bank[4] = 0
    found = find_neighbors(bank, bank, 10)
    assert (found.similarity[4] == 0).all()
    assert found.index[4].tolist() == list(range(10))


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_any_query(count):
    found = find_neighbors(data(count), data(10), 4)
    assert found.index.shape == found.similarity.shape == (count, 4)


def test_hardly_any_similarity_is_looked_into(monkeypatch):
    merged = []
    merge = neighbors._merge

    def recorded(best, least, row, keys):
        merged.append(len(keys))
        merge(best, least, row, keys)

    monkeypatch.setattr(neighbors, "_merge", recorded)
    queries, bank = data(50, seed=1), data(40_000)
    find_neighbors(queries, bank, 5, bank_chunk=4096)
    # All in the first sixteen blocks, then about 5 / n of them after n samples.
    assert 50 * 512 <= sum(merged) < 1.15 * 50 * 512
    # Each sample nearer than all before it: still no more than sixteen blocks at a time.
    merged.clear()
    bank = np.stack((np.arange(9000), np.full(9000, 5000)), axis=1).astype(np.float32)
    find_neighbors(bank[-1:], bank, 5)
    assert max(merged) <= 512
    assert sum(merged) > 8000


def test_the_keys_of_both_zeros_are_equal():
    zeros = neighbors._keys(torch.tensor([0.0, -0.0]), torch.tensor([7, 7]))
    assert zeros[0] == zeros[1]
