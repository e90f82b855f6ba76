"""Comparisons: what stands side by side, and differences on the same samples."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from georank_cli.main import _run
from georank_zoo.eval.metrics.score import paired_difference, score_with_interval
from georank_zoo.eval.results import compare_tables
from georank_zoo.eval.results import table as results
from georank_zoo.eval.results.compare import compare
from georank_zoo.eval.results.compare_tables import score_tables
from georank_zoo.eval.results.predictions import (
    Predictions,
    predictions_path,
    read_predictions,
    write_predictions,
)
from georank_zoo.eval.results.scores import Scores
from georank_zoo.utils.errors import GeorankError, UsageError
from tests.eval.results.test_table import ROW

N = 240
ACCURACIES = ("accuracy_macro", "accuracy_overall")


def world(seed=0):
    """Predictions of two models that err on nearly the same samples; two samples a place."""
    rng = np.random.default_rng(seed)
    target, place = rng.integers(0, 4, N), np.arange(N) // 2
    wrong = (target + 1) % 4
    baseline = np.where(rng.random(N) < 0.6, target, wrong)
    # Twelve more are right than with the baseline, and four that were right are not.
    better = baseline.copy()
    better[np.flatnonzero(baseline != target)[:12]] = target[
        np.flatnonzero(baseline != target)[:12]
    ]
    right = np.flatnonzero(baseline == target)[-4:]
    better[right] = wrong[right]
    return target, place, baseline, better


def write(path, models, *, keep=True, **changes):
    """A results file with predictions; values are what the predictions give."""
    target, place, *_ = world()
    for title, predicted in models.items():
        name, _, origin = title.partition(" @ ")
        floor = name.startswith("random")
        digest = "none" if floor else title.replace("georank", "variant").ljust(64, "0")[:64]
        stated = name.removeprefix("georank-") if name.startswith("georank-") else ""
        for metric in ACCURACIES:
            found = score_with_interval(metric, predicted, target, 4, place=place)
            numbers = {"value": found.value, "ci_low": found.low, "ci_high": found.high}
            row = replace(
                ROW,
                model=name,
                origin=origin,
                kind="random-init" if floor else "model",
                baseline=stated,
                model_hash=digest,
                metric=metric,
                n_train=N,
                n_test=N,
                **numbers,
            )
            row = replace(row, **changes)
            results.append_rows(path, [row])
        if keep:
            kept = Predictions(np.arange(N), place, target, predicted)
            write_predictions(path, row, kept)
    return path


@pytest.fixture
def twins(tmp_path):
    _, _, baseline, better = world()
    models = {"random resnet18": baseline[::-1].copy(), "georank-moco-r18": better}
    return write(tmp_path / "results.csv", {**models, "moco-r18": baseline})


def test_known_difference_and_resampling_of_places():
    target, place, baseline, better = world()
    found = paired_difference("accuracy_overall", better, baseline, target, 4, place=place)
    assert found.value == pytest.approx(8 / N)
    rng = np.random.default_rng(1)
    gain = ((better == target).astype(int) - (baseline == target)).reshape(-1, 2)
    draws = gain[rng.integers(0, N // 2, (4000, N // 2))].sum(axis=(1, 2)) / N
    assert found.low == pytest.approx(np.quantile(draws, 0.025), abs=0.006)
    assert found.high == pytest.approx(np.quantile(draws, 0.975), abs=0.006)
    expected = (draws > 0).mean() + (draws == 0).mean() / 2
    assert found.above == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("metric", ACCURACIES)
def test_narrower_than_unpaired_where_predictions_correlate(metric):
    target, place, baseline, better = world()
    found = paired_difference(metric, better, baseline, target, 4, place=place)
    scores = [score_with_interval(metric, p, target, 4, place=place) for p in (better, baseline)]
    assert found.value == pytest.approx(scores[0].value - scores[1].value)
    unpaired = np.hypot(*(s.high - s.low for s in scores))
    assert 0 < found.high - found.low < 0.6 * unpaired
    back = paired_difference(metric, baseline, better, target, 4, place=place)
    assert (back.value, back.low, back.high) == pytest.approx(
        (-found.value, -found.high, -found.low), abs=2e-3
    )


@pytest.mark.parametrize("metric", ACCURACIES)
def test_identical_models_differ_by_nothing(metric):
    target, place, baseline, _ = world()
    found = paired_difference(metric, baseline, baseline.copy(), target, 4, place=place)
    assert (found.value, found.low, found.high, found.above) == (0, 0, 0, 0.5)


def test_baselines_that_rows_state_are_paired(twins):
    comparison = compare(twins)
    assert comparison.models == ("georank-moco-r18", "moco-r18", "random resnet18")
    assert comparison.metrics == ("accuracy_macro",)
    assert comparison.pairs == (("georank-moco-r18", "moco-r18"),)
    [result] = comparison.differences
    target, place, baseline, better = world()
    expected = paired_difference("accuracy_macro", better, baseline, target, 4, place=place)
    assert result.paired == expected
    assert comparison.notes == ()
    other = compare(twins, pairs=[("moco-r18", "random resnet18")], metrics=list(ACCURACIES))
    assert [r.second.model for r in other.differences] == ["random resnet18"] * 2


def test_without_predictions_the_scores_only(tmp_path):
    _, _, baseline, better = world()
    path = write(tmp_path / "r.csv", {"georank-x": better, "x": baseline}, keep=False)
    comparison = compare(path, metrics=["accuracy_overall"])
    [result] = comparison.differences
    assert result.paired is None
    assert result.value == pytest.approx(8 / N, abs=1e-6)
    assert "predictions of one of the models are missing" in comparison.notes[0]


def test_predictions_for_other_samples_are_not_paired(tmp_path):
    target, place, baseline, better = world()
    path = write(tmp_path / "r.csv", {"georank-x": better, "x": baseline})
    row = next(row for row in results.read_rows(path) if row.model == "x")
    moved = Predictions(np.arange(N) + 1, place, target, baseline)
    write_predictions(path, row, moved)
    assert compare(path).differences[0].paired is None


def test_only_equal_settings_share_a_column(tmp_path):
    _, _, baseline, better = world()
    a = write(tmp_path / "a.csv", {"georank-x": better, "x": baseline})
    b = write(tmp_path / "b.csv", {"georank-x": better}, image_size=128)
    c = write(tmp_path / "c.csv", {"x": baseline}, store_hash="c" * 64)
    comparison = compare(a, b, c)
    assert len(comparison.settings) == 3
    assert len(set(comparison.labels().values())) == 3
    assert len(comparison.differences) == 1
    with pytest.raises(UsageError, match=r"no two models .* image_size \(128, 64\); store_hash"):
        compare(b, c)
    with pytest.raises(UsageError, match="there is one model only"):
        compare(b)


def test_stores_of_one_task_have_their_own_metrics(tmp_path):
    """A task `folder` of classes, then one of masks: neither is left out."""
    rows = [
        replace(ROW, task="folder", model=model, model_hash=model, store_hash=store, metric=metric)
        for store, metrics in (("c" * 64, ACCURACIES), ("d" * 64, ("miou", "pixel_accuracy")))
        for model in ("a", "b")
        for metric in metrics
    ]
    results.append_rows(tmp_path / "r.csv", rows)
    comparison = compare(tmp_path / "r.csv")
    assert comparison.metrics == ("accuracy_macro", "miou")
    tables = score_tables(comparison)
    assert [(len(table.header), len(table.rows)) for table in tables] == [(2, 2), (2, 2)]


def test_ambiguous_baselines_and_models_of_one_name(tmp_path):
    _, _, baseline, better = world()
    path = tmp_path / "r.csv"
    write(path, {"georank-x": better, "x @ a": baseline, "x @ b": baseline})
    comparison = compare(path)
    assert comparison.pairs == ()
    assert "--pair 'georank-x=x (a)'" in comparison.notes[0]
    write(path, {"georank-x": baseline}, model_hash="d" * 64)
    names = compare(path).models
    assert {"georank-x #variant-", "georank-x #dddddddd"} <= set(names)


def test_the_newest_of_repeated_rows_counts(tmp_path):
    _, _, baseline, better = world()
    path = write(tmp_path / "r.csv", {"a": better, "b": better}, when="2026-01-02T00:00:00+00:00")
    write(path, {"a": baseline}, when="2026-01-01T00:00:00+00:00")
    [_, b] = [e.row.value for e in compare(path).entries]
    assert compare(path).find("a", compare(path).settings[0], "accuracy_macro").row.value == b


def test_damaged_predictions(twins):
    row = next(row for row in results.read_rows(twins) if row.model == "moco-r18")
    path = predictions_path(twins, row)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(GeorankError, match="is damaged"):
        compare(twins)
    one = np.arange(1)
    write_predictions(twins, row, Predictions(one, one, one, one))
    with pytest.raises(GeorankError, match="does not hold the 240 predictions"):
        compare(twins)


def test_impossible_predictions(twins):
    row = next(row for row in results.read_rows(twins) if row.model == "moco-r18")
    known = read_predictions(twins, row)
    scores, counts = np.full((N, 3), 0.5), np.ones((N, 2, 2), np.int64)
    for change in (
        {"predicted": known.predicted - 9}, {"predicted": known.predicted + 10**12},
        {"predicted": known.predicted / 2}, {"target": known.target - 9},
        {"sample": known.sample - 9}, {"predicted": -counts}, {"predicted": counts[:, :1]},
        {"predicted": scores * np.nan, "target": np.ones((N, 3), np.int64)},
        {"predicted": scores, "target": np.full((N, 3), 7)},
    ):  # fmt: skip
        write_predictions(twins, row, replace(known, **change))
        with pytest.raises(GeorankError, match="or impossible ones"):
            compare(twins)


def test_command_shows_and_writes(twins, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert _run(["compare", str(twins), "--out", str(tmp_path / "out")], False) == 0
    shown = capsys.readouterr().out
    for text in ("eurosat: accuracy macro %", "georank-moco-r18 - moco-r18", "above 0"):
        assert text in shown
    out = tmp_path / "out"
    names = {"scores.csv", "differences.csv", "compare.md", "compare.png", "compare.svg"}
    assert {path.name for path in out.iterdir()} == names
    [line] = csv.DictReader((out / "differences.csv").open())
    paired = compare(twins).differences[0].paired
    assert float(line["ci_low"]) == pytest.approx(paired.low, abs=1e-6)
    assert len(list(csv.DictReader((out / "scores.csv").open()))) == 3
    markdown = (out / "compare.md").read_text()
    assert "| georank-moco-r18 - moco-r18 | eurosat, knn k=10, 64 px, loo | +" in markdown
    assert "georank-moco-r18" in (out / "compare.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["nothing.csv"], 2, "does not exist"),
        (["notes.csv"], 1, "is not a results file"),
        (["empty.csv"], 1, "is empty: it holds not even"),
        (["results.csv", "--metric", "f1"], 2, "Unknown metric 'f1'"),
        (["results.csv", "--task", "euro"], 2, "Unknown task 'euro'. Did you mean 'eurosat'"),
        (["results.csv", "--pair", "moco-r18"], 2, "MODEL=BASELINE"),
        (["results.csv", "--pair", "moco-r18=moco"], 2, "Unknown model 'moco'. Did you mean"),
        (["single.csv"], 2, "Nothing to compare"),
    ],
)
def test_mistakes_end_with_a_sentence(twins, monkeypatch, capsys, arguments, code, reason):
    monkeypatch.chdir(twins.parent)
    (twins.parent / "notes.csv").write_text("my notes\n")
    (twins.parent / "empty.csv").touch()
    results.append_rows("single.csv", [ROW])
    assert _run(["compare", *arguments], False) == code
    assert reason in " ".join(capsys.readouterr().err.split())


def test_scores_compare_as_their_file_does(twins, tmp_path):
    """Rows and predictions in memory, or a file and its folder: the same, and each counts once."""
    target, place, baseline, better = world()
    rows = tuple(results.read_rows(twins))
    named = {"moco-r18": baseline, "georank-moco-r18": better}
    kept = tuple(
        (row, Predictions(np.arange(N), place, target, named[row.model]))
        for row in rows
        if row.model in named and row.metric == ACCURACIES[1]
    )
    scores = Scores(rows, kept, "EuroSAT land cover", ())
    alone, stored, both = compare(scores), compare(twins), compare(scores, twins, twins)
    for found in (alone, both):
        assert found.differences[0].paired == stored.differences[0].paired is not None
        assert [e.row for e in found.entries] == [e.row for e in stored.entries]
    assert alone.title == "Results: EuroSAT land cover"
    assert both.title == "Results: EuroSAT land cover, results.csv"
    with pytest.raises(UsageError, match="There is nothing to compare"):
        compare()


def test_a_notebook_shows_a_comparison(twins):
    comparison = compare(twins)
    page = comparison._repr_html_()
    for text in ("<caption>eurosat: accuracy macro %</caption>", "georank-moco-r18 - moco-r18",
                 "<li>95 % intervals in brackets"):  # fmt: skip
        assert text in page
    assert "Differences of accuracy macro in percentage points" in str(comparison)
    assert repr(comparison) == "Comparison(3 models and floors, 1 settings, 1 differences)"
    assert comparison.plot()._repr_png_().startswith(b"\x89PNG")
    frame = comparison.to_dataframe()
    assert len(frame) == 3 and set(frame["model"]) == set(comparison.models)


def test_a_missing_file_is_named_in_python():
    with pytest.raises(UsageError, match=r"no results file nothing\.csv"):
        compare("nothing.csv")


def test_all_files_of_a_comparison_or_none(twins, tmp_path, monkeypatch):
    comparison = compare(twins)
    (tmp_path / "out" / "compare.svg").mkdir(parents=True)  # in the way of the last file
    with pytest.raises((GeorankError, OSError)):
        comparison.save(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["compare.svg"]
    monkeypatch.setattr(compare_tables, "comparison_figure", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        comparison.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()
