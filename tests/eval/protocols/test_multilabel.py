"""Evaluation where a patch has several labels: each protocol, from the command line to the file."""

from __future__ import annotations

import numpy as np
import pytest
import timm
from sklearn.linear_model import LogisticRegression

from georank_cli.main import _run
from georank_zoo.eval.metrics.score import score_with_interval
from georank_zoo.eval.protocols.knn import score_labels
from georank_zoo.eval.protocols.linear import fit, standardize_features
from georank_zoo.eval.protocols.neighbors import Neighbors
from georank_zoo.eval.results import predictions
from georank_zoo.eval.results import table as results
from tests.support.models import PARTS, ROWS, SMALL, make_export, multi_label_store


def test_knn_scores_are_the_published_sum():
    rng = np.random.default_rng(0)
    index = rng.integers(0, 30, (7, 6))
    similarity = np.sort(rng.uniform(-1, 1, (7, 6)), axis=1)[:, ::-1].astype(np.float32)
    similarity[0, 4:] = -np.inf  # a query with four neighbors
    labels = rng.integers(0, 2, (30, 5))
    found = score_labels(Neighbors(index, similarity), labels, k=(1, 6), temperature=0.9)
    for k, scores in found.items():
        expected = [
            sum(np.exp(similarity[q, j] / 0.9) * labels[index[q, j]] for j in range(k))
            for q in range(7)
        ]
        np.testing.assert_allclose(scores, np.array(expected) / (k * np.exp(1 / 0.9)), rtol=1e-5)
        assert scores.min() >= 0
        assert scores.max() <= 1


def test_linear_is_one_regression_a_label():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(200, 4)).astype(np.float32)
    labels = (features @ rng.normal(size=(4, 3)) + rng.normal(size=(200, 3)) > 0).astype(np.int64)
    (x,) = standardize_features(features)
    head = fit(x, labels, 3, 1e-2)
    for c in range(3):
        oracle = LogisticRegression(C=1 / (200 * 1e-2), tol=1e-10, max_iter=1000)
        oracle.fit(x.numpy(), labels[:, c])
        np.testing.assert_allclose(head.weight[c, :-1], oracle.coef_[0], atol=1e-5)
        assert float(head.weight[c, -1]) == pytest.approx(oracle.intercept_[0], abs=1e-5)


@pytest.fixture
def model(tmp_path):
    return make_export(
        tmp_path / "model", georank={"name": "moco"}, image_size=16, bands=("B02", "B03"),
        network=timm.create_model(SMALL, in_chans=2, num_classes=0), mean=[0.1] * 2, std=[0.05] * 2,
    )  # fmt: skip


@pytest.mark.parametrize("protocol", ["knn", "linear", "linear-sgd", "finetune"])
def test_command(protocol, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    store = multi_label_store(tmp_path / "s", ROWS, roles=PARTS)
    given = ["--k", "3"] if protocol == "knn" else []
    given += ["--epochs", "2"] if protocol in ("linear-sgd", "finetune") else []
    arguments = ["eval", str(model), "--task", "folder", "--data", "s", "--protocol", protocol]
    assert _run([*arguments, "--split", "official", "--results", "r.csv", *given], False) == 0
    shown = capsys.readouterr().out
    assert "ap macro" in shown
    assert "8 training and 8 test samples" in shown
    rows = results.read_rows(tmp_path / "r.csv")
    assert [row.metric for row in rows[:4]] == ["ap_macro", "ap_micro", "f1_macro", "f1_micro"]
    kept = predictions.read_predictions(tmp_path / "r.csv", rows[0])
    assert kept is not None
    assert kept.predicted.shape == kept.target.shape == (8, 3)
    np.testing.assert_array_equal(kept.target, store.labels[kept.sample])
    for row in rows[:4]:
        again = score_with_interval(row.metric, kept.predicted, kept.target, 3, place=kept.place)
        assert row.value == pytest.approx(again.value, abs=1e-6)
        assert row.ci_low == pytest.approx(again.low, abs=1e-6)
    floor = next(row.model for row in rows if row.model != "moco")
    assert _run(["compare", "r.csv", "--pair", f"moco={floor}", "--out", "c"], False) == 0
    differences = (tmp_path / "c" / "differences.csv").read_text().splitlines()
    assert differences[1].split(",")[-3] != ""  # the paired interval is there


def test_names_and_numbers_fit_a_screen(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    multi_label_store(tmp_path / "s", ROWS)
    assert _run(["eval", str(model), "--task", "folder", "--data", "s", "--k", "3"], False) == 0
    shown = capsys.readouterr().out
    assert "…" not in shown
    # Two tables of two metrics, each with the names.
    assert shown.count("│ moco ") == shown.count("│ random test_") == 2
    for metric in ("ap macro", "ap micro", "f1 macro", "f1 micro"):
        assert shown.count(f"{metric} %") == 1


def test_eurosat_refuses_a_store_of_labels(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    multi_label_store(tmp_path / "s", ROWS)
    assert _run(["eval", str(model), "--task", "eurosat", "--data", "s"], False) == 1
    assert "a patch has several labels there, not one class" in capsys.readouterr().err
