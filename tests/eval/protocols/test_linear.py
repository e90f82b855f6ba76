"""Linear evaluation against scikit-learn, and what it may see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from georank_zoo.eval.protocols import linear
from georank_zoo.eval.protocols.base import EvalContext, EvalPlan
from georank_zoo.eval.protocols.linear import Linear, fit, standardize_features, validation_score
from georank_zoo.eval.splits.make import Split, hold_out_validation, make_split
from georank_zoo.utils.errors import UsageError
from tests.support.models import make_store


def blobs(n=300, classes=4, dim=12, spread=1.0, seed=0):
    """Features of overlapping classes, of very different scales, and their labels."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    centers = rng.normal(size=(classes, dim))
    features = centers[label] + spread * rng.normal(size=(n, dim))
    return (features * np.geomspace(0.01, 100, dim) + 5).astype(np.float32), label


def context_of(features, label, *, test=0.3, place=None, seed=0, classes=4, on_progress=None):
    """A context whose features are given; the last samples are the test set."""
    n = len(label)
    cut = round(n * (1 - test))
    split = Split(
        name="own", samples=np.arange(n), label=label,
        place=np.arange(n) if place is None else place,
        train=np.arange(cut), test=np.arange(cut, n), dropped=0,
    )  # fmt: skip
    context = EvalContext(
        encoder=None, store=None, split=split, num_classes=classes, image_size=32, seed=seed,
        on_progress=on_progress,
    )  # fmt: skip
    vars(context)["features"] = features
    return context


@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("spread", [1.0, 0.05])
def test_same_optimum_as_scikit_learn(l2, spread):
    raw, label = blobs(spread=spread)
    (features,) = standardize_features(raw)
    oracle = LogisticRegression(C=1 / (l2 * len(label)), tol=1e-10, max_iter=20_000)
    oracle.fit(features.numpy(), label)
    head = fit(features, label, 4, l2)
    np.testing.assert_allclose(head.weight[:, :-1], oracle.coef_, atol=1e-3)
    probability = head(features).softmax(dim=1)
    np.testing.assert_allclose(probability, oracle.predict_proba(features.numpy()), atol=1e-4)


def test_the_start_does_not_move_the_optimum():
    raw, label = blobs()
    (features,) = standardize_features(raw)
    cold = fit(features, label, 4, 1e-3)
    warm = fit(features, label, 4, 1e-3, start=fit(features, label, 4, 10.0))
    np.testing.assert_allclose(warm.weight[:, :-1], cold.weight[:, :-1], atol=1e-4)
    assert torch.equal(fit(features, label, 4, 1e-3).weight, cold.weight)


def test_a_class_without_a_sample_is_never_predicted():
    raw, label = blobs()
    (features,) = standardize_features(raw)
    assert (fit(features, label, 6, 1e-3)(features).argmax(dim=1) < 4).all()


def test_standardized_with_the_training_set_alone():
    train = np.array([[1, 7, 0.1], [3, 7, 0.1], [5, 7, 0.1]], np.float32)
    a, b = standardize_features(train, np.array([[5, 9, 0.1]], np.float32))
    np.testing.assert_allclose(a[:, 0], [-(1.5**0.5), 0, 1.5**0.5])
    np.testing.assert_allclose(b[0], [1.5**0.5, 2, 0], atol=1e-12)
    assert (a[:, 1:] == 0).all()


def test_learns_and_is_deterministic():
    features, label = blobs(n=400, spread=0.5)
    context = context_of(features, label)
    [first] = Linear().predict(context)
    [again] = Linear().predict(context)
    accuracy = (first.predicted == label[context.split.test]).mean()
    assert accuracy > 0.9
    np.testing.assert_array_equal(first.predicted, again.predicted)
    assert (first.settings, first.chosen) == (again.settings, again.chosen)
    assert (first.k, first.temperature) == (None, None)


def test_the_strength_that_validation_finds_best():
    # The classes differ in the small difference of two features, which strong ones do not find,
    # and among features of noise, which weak ones overfit.
    rng = np.random.default_rng(3)
    label = rng.integers(0, 2, 600)
    features = rng.normal(size=(600, 60)).astype(np.float32)
    features[:, 1] = features[:, 0] + 0.3 * label + 0.1 * features[:, 1]
    context = context_of(features, label, classes=2)
    [chosen] = Linear().predict(context)
    strength = chosen.chosen["l2"]
    # By hand, each strength from the start.
    fitted, held = hold_out_validation(context.split)
    train, validation = standardize_features(features[fitted], features[held])
    scores = {}
    for l2 in Linear().l2:
        head = fit(train, label[fitted], 2, l2)
        scores[l2] = validation_score(head(validation), label[held])
    assert strength == max(scores, key=scores.get)
    assert 1e-6 < strength < 10
    # The prediction is that of a fit to all training samples, not to the fitted part.
    [alone] = Linear(l2=(strength,)).predict(context)
    np.testing.assert_array_equal(alone.predicted, chosen.predicted)
    assert (alone.settings, alone.chosen) == ({"l2": strength}, {})


@pytest.mark.parametrize(("l2", "fits"), [((1.0, 1e-2, 1e-4), 4), ((1e-2,), 1)])
def test_progress_moves_within_each_fit_and_ends_once(l2, fits):
    seen = []
    context = context_of(*blobs(spread=2.0), on_progress=lambda *step: seen.append(step))
    Linear(l2=l2).predict(context)
    done = [step for step, _ in seen]
    total = fits * 1000
    assert {of for _, of in seen} == {total}
    assert done == sorted(set(done)), "it fell back or stood still"
    assert set(range(1000, total + 1, 1000)) <= set(done)
    assert all(any(fit < step < fit + 1000 for step in done) for fit in range(0, total, 1000))
    assert done[-1] == total


def test_a_fit_that_is_cut_off_is_done_once(monkeypatch):
    monkeypatch.setattr(linear, "_MAX_ITERATIONS", 3)
    seen = []
    context = context_of(*blobs(spread=2.0), on_progress=lambda *step: seen.append(step))
    Linear(l2=(1e-4,)).predict(context)
    assert seen == [(1, 3), (2, 3), (2, 3), (3, 3)]


def test_validation_is_of_other_places_and_never_of_the_test_set(tmp_path):
    places = np.repeat(np.arange(45), 2)
    store = make_store(tmp_path / "s", (places % 3).tolist(), places=places.tolist())
    split = make_split(store, "random")
    fitted, held = hold_out_validation(split, seed=1)
    assert sorted([*fitted, *held]) == split.train.tolist()
    assert not set(split.place[fitted]) & set(split.place[held])
    assert not set(split.place[held]) & set(split.place[split.test])
    # 12 training places of each class, a fifth of them held out.
    assert [len(set(split.place[held][split.label[held] == c])) for c in range(3)] == [2, 2, 2]
    assert set(hold_out_validation(split, seed=2)[1]) != set(held)
    np.testing.assert_array_equal(hold_out_validation(split, seed=1)[1], held)


def test_test_samples_change_nothing_but_their_own_prediction():
    features, label = blobs(n=200)
    context = context_of(features, label)
    [clean] = Linear().predict(context)
    test = context.split.test
    spoiled, wrong = features.copy(), label.copy()
    spoiled[test[1:]] *= 1000
    wrong[test] = (wrong[test] + 1) % 4
    [other] = Linear().predict(context_of(spoiled, wrong))
    assert (other.settings, other.chosen) == (clean.settings, clean.chosen)
    assert other.predicted[0] == clean.predicted[0]
    assert (other.predicted != clean.predicted).any()


def check(protocol, split):
    protocol.check(EvalPlan(store=None, split=split, num_classes=3, image_sizes=(32,)))


def test_what_does_not_suit_is_refused(tmp_path):
    store = make_store(tmp_path / "s", [i % 3 for i in range(12)])
    with pytest.raises(UsageError, match=r"linear.*split loo.*Choose from: random, a distance"):
        check(Linear(), make_split(store, "loo"))
    split = make_split(store, "random")
    check(Linear(), split)
    for l2 in ((), (0.0,), (1.0, float("nan")), (float("inf"),)):
        with pytest.raises(UsageError, match="L2 strengths must be positive"):
            check(Linear(l2=l2), split)
    # One training place per class: nothing to validate on, and nothing to choose either.
    few = replace(split, train=split.train[:3], place=np.arange(12) % 3)
    with pytest.raises(UsageError, match="one training place per class"):
        check(Linear(), few)
    check(Linear(l2=(0.1,)), few)
