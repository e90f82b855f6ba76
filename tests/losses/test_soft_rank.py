"""Ranks against scipy and against scikit-learn's isotonic regression, row by row."""

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from georank_zoo.losses import soft_rank as ranking
from georank_zoo.losses.isotonic import isotonic_by_merging
from georank_zoo.losses.soft_rank import average_rank, soft_rank, sort_rows
from tests.support.oracles import soft_rank_blocks


def rows(kind: str, n: int) -> np.ndarray:
    rng = np.random.default_rng(n)
    values = rng.normal(size=(7, n))
    if kind == "clustered":
        values = np.round(values) + 0.01 * values
    elif kind == "tied":
        values = np.round(values, 1)
    elif kind == "collapsed":
        values = np.full((7, n), 0.3) + 1e-12 * values
    elif kind == "equal":
        values = np.zeros((7, n))
    elif kind == "sorted":
        values = np.sort(values, axis=1)
    return values


@pytest.mark.parametrize("kind", ["random", "clustered", "tied", "collapsed", "equal", "sorted"])
@pytest.mark.parametrize("n", [1, 2, 3, 17, 200])
@pytest.mark.parametrize("strength", [1e-4, 1e-2, 0.3, 10.0])
def test_soft_rank_equals_the_slow_oracle(
    kind: str, n: int, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = rows(kind, n)
    expected = np.stack([soft_rank_blocks(row, strength)[0] for row in values])
    found = soft_rank(torch.from_numpy(values), strength).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-9, rtol=0)
    monkeypatch.setattr(ranking, "isotonic_regression", isotonic_by_merging)  # as on other devices
    found = soft_rank(torch.from_numpy(values), strength).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("strength", [0.05, 0.5, 5.0])
def test_soft_rank_gradcheck(strength: float) -> None:
    values = torch.randn(3, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(
        lambda x: soft_rank(x, strength), values.requires_grad_(), eps=1e-7
    )


def test_soft_rank_limits() -> None:
    values = torch.tensor([[0.3, -1.0, 2.0, 0.9]])
    assert torch.allclose(soft_rank(values, 1e-6), torch.tensor([[2.0, 1.0, 4.0, 3.0]]))
    assert torch.allclose(soft_rank(values, 1e6), torch.full((1, 4), 2.5), atol=1e-4)


def test_soft_rank_permutes_with_its_input() -> None:
    values = torch.randn(2, 50, dtype=torch.float64)
    order = torch.randperm(50)
    assert torch.equal(soft_rank(values, 0.1)[:, order], soft_rank(values[:, order], 0.1))


def test_soft_rank_of_float32_is_as_exact_as_float32_allows() -> None:
    values = torch.randn(4, 300)
    exact = soft_rank(values.double(), 0.01)
    assert soft_rank(values, 0.01).dtype == torch.float32
    torch.testing.assert_close(soft_rank(values, 0.01).double(), exact, rtol=1e-6, atol=1e-5)


def test_soft_rank_refuses_a_strength_of_zero() -> None:
    with pytest.raises(ValueError, match="strength must be above 0"):
        soft_rank(torch.zeros(1, 3), 0.0)


def test_average_rank_equals_scipy() -> None:
    values = np.round(np.random.default_rng(0).normal(size=(5, 60)), 1)
    found = average_rank(torch.from_numpy(values)).numpy()
    np.testing.assert_array_equal(found, rankdata(values, axis=1))


def test_entries_that_are_far_apart_have_exactly_their_ranks() -> None:
    # To the bit: the rank loss asks whether a deviation is above one rank.
    values = torch.randperm(300, generator=torch.Generator().manual_seed(0)).double()[None]
    values = values / 7.0  # gaps of 1,400 strengths
    assert torch.equal(soft_rank(values, 1e-4), values.argsort().argsort().double() + 1)


@pytest.mark.parametrize("numpy_up_to", [0, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_sort_rows_by_numpy_and_by_torch(
    numpy_up_to: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "NUMPY_UP_TO_THREADS", numpy_up_to)
    values = torch.randn(5, 300, generator=torch.Generator().manual_seed(0)).to(dtype)
    values[1, 7] = float("nan")
    ordered, order = sort_rows(values.requires_grad_())
    assert torch.equal(ordered.nan_to_num(9), values.nan_to_num(9).sort(dim=1).values)
    assert torch.equal(values.gather(1, order).nan_to_num(9), ordered.nan_to_num(9))
    assert ordered[1, -1].isnan()
