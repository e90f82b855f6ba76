"""Evaluation far from pretraining."""

from __future__ import annotations

import numpy as np
import pytest

from georank_cli.main import _run
from georank_zoo.eval.evaluate import evaluate
from georank_zoo.eval.protocols.knn import KNN
from georank_zoo.eval.results import predictions
from georank_zoo.eval.results import table as results
from georank_zoo.eval.splits.far_from_pretraining import beyond, pretraining_stores
from georank_zoo.eval.splits.make import make_split
from georank_zoo.models.run_facts import write_facts
from georank_zoo.utils.errors import UsageError
from tests.support.models import make_export, make_store, run_facts
from tests.support.oracles import haversine


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("min_km")
    make_store(root / "eval", [i % 2 for i in range(12)])
    pretrain = make_store(root / "pretrain", [0, 0], places=[0, 3])
    make_store(root / "other", [0, 0], places=[5, 5])
    for name, digest in (("run", pretrain.hash), ("stale", "0" * 64)):
        make_export(root / name / "export")
        write_facts(root / name / "run.json", run_facts(pretrain, hash=digest))
    make_export(root / "alone")
    return root


@pytest.fixture(autouse=True)
def here(root, monkeypatch):
    monkeypatch.chdir(root)


def test_only_test_samples_beyond_the_distance_stay(root):
    [pretrain] = pretraining_stores(["run", "run/export"])
    store = type(pretrain)("eval")
    split = make_split(store, "loo")
    km = haversine(store.latlon, pretrain.latlon).min(axis=1)
    limit = float(np.sort(km)[5])
    far = beyond(split, store, round(limit, 2), [pretrain])
    assert far.test.tolist() == np.flatnonzero(km > round(limit, 2)).tolist()
    np.testing.assert_array_equal(far.train, split.train)
    assert far.name == f"loo-beyond{round(limit, 2):g}km-{pretrain.hash[:8]}"
    # Places of pretraining themselves are not beyond 0 km.
    assert beyond(split, store, 0, [pretrain]).test.tolist() == np.flatnonzero(km > 1e-6).tolist()
    [other] = pretraining_stores(["alone"], [root / "other"])
    both = beyond(split, store, 0, [pretrain, other])
    assert set(both.test) == set(range(12)) - {0, 3, 5}
    assert both.name == beyond(split, store, 0, [other, pretrain]).name != far.name
    with pytest.raises(UsageError, match="No test sample of eval is farther than 20000 km"):
        beyond(split, store, 20_000, [pretrain])


def test_a_score_on_pretraining_ground_says_so():
    def notes(model):
        return evaluate(
            model, "eval", "folder", split="loo", floors=False, image_sizes=16,
            protocols=KNN(k=1), progress=False,
        ).notes  # fmt: skip

    assert any("2 of 12 test samples lie within 0.16 km" in note for note in notes("run"))
    # Without a known store nothing can be said, and nothing is.
    assert not any("test samples lie within" in n for m in ("alone", "stale") for n in notes(m))


def test_one_pretraining_store_is_taken_as_it_is():
    scores = evaluate(
        "alone", "eval", "folder", split="loo", min_km=1, pretrain_stores="other", floors=False,
        image_sizes=16, protocols=KNN(k=1), progress=False,
    )  # fmt: skip
    assert scores.rows[0].split.startswith("loo-beyond1km-")


def test_command_evaluates_them_and_keeps_predictions(root, tmp_path, capsys):
    path = tmp_path / "results.csv"
    arguments = ["eval", "run", "--task", "folder", "--data", "eval", "--split", "loo", "--k", "1"]
    assert _run([*arguments, "--min-km", "1", "--results", str(path)], False) == 0
    assert "2 of 12 test samples lie within 1 km" in capsys.readouterr().out
    rows = results.read_rows(path)
    assert {row.n_test for row in rows} == {10}
    assert all("loo-beyond1km-" in row.split for row in rows)
    kept = [predictions.read_predictions(path, row) for row in rows]
    assert len(list((tmp_path / "results_predictions").iterdir())) == len(rows) / 2 == 3
    for row, found in zip(rows, kept, strict=True):
        assert found.sample.tolist() == [1, 2, 4, 5, 6, 7, 8, 9, 10, 11]
        np.testing.assert_array_equal(found.target, found.sample % 2)
        if row.metric == "accuracy_overall":
            assert (found.predicted == found.target).mean() == pytest.approx(row.value, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["alone", "--min-km", "5"], 2, "alone is not a run folder"),
        (["stale", "--min-km", "5"], 2, "now holds something else"),
        (["run", "--min-km", "-5"], 2, "0 or more, not -5"),
        (["run", "--min-km", "30000"], 2, "No test sample"),
        (["run", "--min-km", "5", "--pretrain-store", "nothing"], 1, "No store at nothing"),
        (["run", "--pretrain-store", "pretrain"], 2, "--pretrain-store is for --min-km"),
    ],
)
def test_mistakes_end_with_a_sentence(monkeypatch, capsys, arguments, code, reason):
    def forbidden(*_, **__):
        raise AssertionError("weights were loaded before everything was checked")

    monkeypatch.setattr("georank_zoo.models.encoder.create_model", forbidden)
    ended = _run(["eval", *arguments, "--task", "folder", "--data", "eval", "--k", "1"], False)
    error = capsys.readouterr().err
    assert (ended, reason in error) == (code, True), error
