"""Metrics and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from georank_zoo.eval.metrics.score import score_with_interval
from georank_zoo.utils.errors import UsageError

ACCURACIES = {"accuracy_macro": balanced_accuracy_score, "accuracy_overall": accuracy_score}


def sample(n=400, classes=6, right=0.7, seed=0):
    rng = np.random.default_rng(seed)
    target = rng.choice(classes, n, p=np.arange(1, classes + 1) / sum(range(1, classes + 1)))
    predicted = np.where(rng.random(n) < right, target, rng.integers(0, classes, n))
    return predicted, target


def alone(target):
    """Each sample is its own place."""
    return np.arange(len(target))


def value(metric, predicted, target, classes):
    return score_with_interval(metric, predicted, target, classes, place=alone(target)).value


def test_equal_scikit_learn():
    predicted, target = sample()
    assert value("accuracy_macro", predicted, target, 6) == pytest.approx(
        balanced_accuracy_score(target, predicted)
    )
    assert value("accuracy_overall", predicted, target, 6) == pytest.approx(
        accuracy_score(target, predicted)
    )


def test_a_class_without_samples_does_not_count_even_if_predicted():
    # torchmetrics' macro average gives class 2 an accuracy of 0 here.
    target = np.array([0, 0, 1, 1])
    predicted = np.array([0, 0, 1, 2])
    assert value("accuracy_macro", predicted, target, 4) == pytest.approx(0.75)
    assert value("accuracy_overall", predicted, target, 4) == pytest.approx(0.75)


@pytest.mark.parametrize("metric", ACCURACIES)
def test_interval_equals_resampling_of_samples(metric):
    predicted, target = sample(150)
    rng = np.random.default_rng(1)
    oracle = ACCURACIES[metric]
    draws = [rng.integers(0, 150, 150) for _ in range(1500)]
    values = [oracle(target[d], predicted[d]) for d in draws]
    found = score_with_interval(metric, predicted, target, 6, place=alone(target))
    assert found.low == pytest.approx(np.quantile(values, 0.025), abs=0.012)
    assert found.high == pytest.approx(np.quantile(values, 0.975), abs=0.012)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("metric", ACCURACIES)
def test_copies_of_the_samples_of_a_place_change_nothing(metric):
    predicted, target = sample(150)
    once = score_with_interval(metric, predicted, target, 6, place=alone(target))
    copies = [np.tile(values, 3) for values in (predicted, target)]
    assert score_with_interval(metric, *copies, 6, place=np.tile(alone(target), 3)) == once
    # Taken for independent, they would seem to know more.
    naive = score_with_interval(metric, *copies, 6, place=np.arange(3 * 150))
    assert naive.high - naive.low < 0.7 * (once.high - once.low)


@pytest.mark.parametrize("metric", ACCURACIES)
def test_interval_equals_resampling_of_places(metric):
    # Places of one to four dates, in no order, nearly always right or wrong together.
    rng = np.random.default_rng(5)
    dates = rng.integers(1, 5, 80)
    place = rng.permutation(np.repeat(rng.permutation(1000)[:80], dates))
    kind = {value: rng.integers(0, 4) for value in np.unique(place)}
    easy = {value: rng.random() < 0.7 for value in np.unique(place)}
    target = np.array([kind[p] for p in place])
    right = np.array([easy[p] for p in place]) ^ (rng.random(len(place)) < 0.1)
    predicted = np.where(right, target, (target + 1) % 4)
    oracle = ACCURACIES[metric]
    members = [np.flatnonzero(place == value) for value in np.unique(place)]
    values = []
    for _ in range(1500):
        drawn = np.concatenate([members[i] for i in rng.integers(0, 80, 80)])
        values.append(oracle(target[drawn], predicted[drawn]))
    found = score_with_interval(metric, predicted, target, 4, place=place)
    assert found.low == pytest.approx(np.quantile(values, 0.025), abs=0.012)
    assert found.high == pytest.approx(np.quantile(values, 0.975), abs=0.012)


def test_interval_covers_the_truth_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        target = rng.integers(0, 4, 300)
        predicted = np.where(rng.random(300) < 0.8, target, (target + 1) % 4)
        interval = score_with_interval(
            "accuracy_overall", predicted, target, 4, place=alone(target), seed=seed, resamples=400
        )
        covered += interval.low <= 0.8 <= interval.high
    assert 180 <= covered <= 199


def test_seeded():
    predicted, target = sample()
    first = score_with_interval("accuracy_macro", predicted, target, 6, place=alone(target), seed=3)
    assert (
        score_with_interval("accuracy_macro", predicted, target, 6, place=alone(target), seed=3)
        == first
    )
    assert (
        score_with_interval("accuracy_macro", predicted, target, 6, place=alone(target), seed=4)
        != first
    )


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_extremes(share):
    target = np.array([0, 1, 2] * 5)
    predicted = target if share else (target + 1) % 3
    found = score_with_interval("accuracy_macro", predicted, target, 3, place=alone(target))
    assert (found.value, found.low, found.high) == (share, share, share)


def test_unknown_metric():
    with pytest.raises(UsageError, match="Choose from: accuracy_macro, accuracy_overall"):
        score_with_interval("accuracy", np.array([0]), np.array([0]), 1, place=np.array([0]))
