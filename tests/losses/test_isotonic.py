"""Isotonic regression by rows and by merging, against scikit-learn."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.isotonic import isotonic_regression

from georank_zoo.losses.isotonic import isotonic_by_merging
from georank_zoo.losses.isotonic import isotonic_regression as regression

both = pytest.mark.parametrize("fit", [regression, isotonic_by_merging])
Fit = Callable[[torch.Tensor], torch.Tensor]


def rows(kind: str, n: int) -> np.ndarray:
    values = np.random.default_rng(n).normal(size=(6, n))
    return {
        "random": values,
        "rising": np.sort(values, axis=1),
        "falling": -np.sort(values, axis=1),
        "steps": np.round(values),
        "equal": np.ones_like(values),
        "walk": np.cumsum(values, axis=1),
        # One late value pulls in its neighbors one by one.
        "cascade": np.tile(np.r_[np.arange(n - 1.0), -n], (6, 1)),
        "large": 1e5 * values,
    }[kind]


@both
@pytest.mark.parametrize("kind", ["random", "rising", "falling", "steps", "equal", "walk"])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 9, 127, 1000])
def test_equals_scikit_learn(fit: Fit, kind: str, n: int) -> None:
    values = rows(kind, n)
    expected = np.stack([isotonic_regression(row) for row in values])
    np.testing.assert_allclose(fit(torch.from_numpy(values)), expected, atol=1e-11, rtol=0)


@both
@pytest.mark.parametrize("kind", ["cascade", "large"])
def test_equals_scikit_learn_on_long_rows(fit: Fit, kind: str) -> None:
    values = rows(kind, 4095)
    expected = np.stack([isotonic_regression(row) for row in values])
    np.testing.assert_allclose(fit(torch.from_numpy(values)), expected, atol=1e-9, rtol=1e-13)


@both
def test_blocks_are_equal_to_the_bit(fit: Fit) -> None:
    fitted = fit(torch.from_numpy(rows("walk", 500)))
    steps = fitted.diff(dim=1)
    assert bool((steps >= 0).all())
    assert bool(((steps == 0) | (steps > 1e-12)).all())  # nothing that is nearly equal


def test_merging_waits_for_no_device() -> None:
    # On the meta device there are no values: whatever needs one on the host fails.
    assert regression(torch.zeros(3, 17, device="meta")).shape == (3, 17)
