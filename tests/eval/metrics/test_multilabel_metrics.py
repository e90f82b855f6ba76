"""Metrics of several labels a sample and of masks, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, confusion_matrix, f1_score, jaccard_score

from georank_zoo.eval.metrics.score import paired_difference, score_with_interval

LABELS = 5


def sample(n=300, seed=0, ties=False, noise=1.0):
    """Scores (n, 5) and labels; label 3 has no positive."""
    rng = np.random.default_rng(seed)
    target = (rng.random((n, LABELS)) < [0.5, 0.2, 0.1, 0.0, 0.3]).astype(np.int64)
    scores = 1 / (1 + np.exp(-(2 * target - 1 + noise * rng.normal(size=target.shape))))
    if ties:
        scores = np.round(scores, 1)
    return scores.astype(np.float32), target


def ap_macro(scores, target):
    there = target.any(axis=0)
    return average_precision_score(target[:, there], scores[:, there], average="macro")


def ap_micro(scores, target):
    return average_precision_score(target, scores, average="micro")


def f1_macro(scores, target):
    there = target.any(axis=0)
    return f1_score(target[:, there], scores[:, there] > 0.5, average="macro", zero_division=0)


def f1_micro(scores, target):
    return f1_score(target, scores > 0.5, average="micro")


ORACLES = {"ap_macro": ap_macro, "ap_micro": ap_micro, "f1_macro": f1_macro, "f1_micro": f1_micro}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("metric", ORACLES)
def test_equal_scikit_learn_and_leave_out_labels_without_a_positive(metric, ties):
    scores, target = sample(ties=ties)
    found = score_with_interval(
        metric, scores, target, LABELS, place=np.arange(len(target)), resamples=10
    )
    assert found.value == pytest.approx(ORACLES[metric](scores, target), abs=1e-6)


@pytest.mark.parametrize("metric", ORACLES)
def test_interval_equals_resampling_of_places(metric):
    scores, target = sample(160, ties=True)
    place = np.random.default_rng(3).permutation(np.repeat(np.arange(80), 2))
    members = [np.flatnonzero(place == p) for p in range(80)]
    rng = np.random.default_rng(4)
    values = []
    for _ in range(800):
        drawn = np.concatenate([members[p] for p in rng.integers(0, 80, 80)])
        values.append(ORACLES[metric](scores[drawn], target[drawn]))
    found = score_with_interval(metric, scores, target, LABELS, place=place)
    assert found.low == pytest.approx(np.quantile(values, 0.025), abs=0.015)
    assert found.high == pytest.approx(np.quantile(values, 0.975), abs=0.015)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("metric", ORACLES)
def test_paired_differences_are_narrower_where_models_err_together(metric):
    better, target = sample(noise=1.0)
    worse = np.clip(better - 0.15 * target + 0.05, 0, 1).astype(np.float32)
    place = np.arange(len(target))
    found = paired_difference(metric, better, worse, target, LABELS, place=place, resamples=400)
    oracle = ORACLES[metric]
    assert found.value == pytest.approx(oracle(better, target) - oracle(worse, target), abs=1e-5)
    one = score_with_interval(metric, better, target, LABELS, place=place, resamples=400)
    assert found.high - found.low < one.high - one.low
    same = paired_difference(metric, better, better, target, LABELS, place=place, resamples=50)
    assert (same.value, same.low, same.high, same.above) == (0, 0, 0, 0.5)


def test_masks():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, (40, 8, 8))  # class 3 is in no mask, but is predicted
    found = np.where(rng.random(true.shape) < 0.7, true, rng.integers(0, 4, true.shape))
    counts = np.stack(
        [
            confusion_matrix(t.ravel(), f.ravel(), labels=range(4))
            for t, f in zip(true, found, strict=True)
        ]
    )
    label, place = np.zeros(40, np.int64), np.arange(40)
    miou = score_with_interval("miou", counts, label, 4, place=place)
    oracle = jaccard_score(true.ravel(), found.ravel(), labels=[0, 1, 2], average="macro")
    assert miou.value == pytest.approx(oracle)
    assert miou.low < miou.value < miou.high
    accuracy = score_with_interval("pixel_accuracy", counts, label, 4, place=place)
    assert accuracy.value == pytest.approx((true == found).mean())


def test_no_positive_at_all_is_zero():
    scores, target = sample(20)
    nothing = np.zeros_like(target)
    for metric in ORACLES:
        found = score_with_interval(
            metric, scores, nothing, LABELS, place=np.arange(20), resamples=20
        )
        assert (found.value, found.low, found.high) == (0, 0, 0), metric
