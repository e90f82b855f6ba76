"""Scores as a value: what a notebook shows, and what is saved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from georank_zoo.eval.results.predictions import Predictions, read_predictions
from georank_zoo.eval.results.scores import Scores
from georank_zoo.eval.results.table import read_rows
from georank_zoo.utils.errors import GeorankError
from tests.eval.results.test_table import ROW


@pytest.fixture
def scores():
    metrics = ("accuracy_macro", "accuracy_overall", "f1_macro")
    rows = tuple(
        replace(ROW, model=name, kind=kind, model_hash=digest, k=k, metric=metric, n_test=3)
        for name, kind, digest in (("<b>moco", "model", "a" * 64), ("noise", "random-init", "none"))
        for k in (1, 5)
        for metric in metrics
    )
    part = np.arange(3)
    kept = tuple((row, Predictions(part, part, part, part)) for row in rows[2::3])
    return Scores(rows, kept, "EuroSAT land cover", ("Only 3 test samples & no benchmark.",))


def test_tables_hold_two_metrics_and_name_a_model_once(scores):
    first, second = scores.tables()
    assert first.title == "EuroSAT land cover, knn"
    assert first.header == ("model", "px", "k", "accuracy macro %", "accuracy overall %")
    assert second.header[3:] == ("f1 macro %",)
    assert [row[:3] for row in first.rows] == [
        ("<b>moco", "64", "1"), ("", "64", "5"), ("noise", "64", "1"), ("", "64", "5"),
    ]  # fmt: skip
    assert first.rows[0][3] == "50.0 [25.0, 75.0]"


def test_a_notebook_shows_tables_and_notes(scores):
    page = scores._repr_html_()
    assert page.count("<table>") == page.count("</table>") == 2
    for text in ("<caption>EuroSAT land cover, knn</caption>", "&lt;b&gt;moco", "<li>Only 3",
                 "samples &amp; no"):  # fmt: skip
        assert text in page
    assert "<b>" not in page
    assert "noise" in str(scores) and "no benchmark" in str(scores)
    assert repr(scores) == "Scores('EuroSAT land cover': 12 rows of 2 models and floors)"


def test_a_data_frame_has_a_column_per_field(scores):
    frame = scores.to_dataframe()
    assert len(frame) == 12
    assert set(frame["kind"]) == {"model", "random-init"}
    assert frame["value"].dtype == float


def test_saved_are_rows_and_predictions(scores, tmp_path):
    path = scores.save(tmp_path / "new" / "results.csv")
    rows = read_rows(path)
    assert rows == list(scores.rows)
    for row in rows:
        assert read_predictions(path, row).predicted.tolist() == [0, 1, 2]
        assert scores.predictions_of(row).predicted.tolist() == [0, 1, 2]
    assert len(list((path.parent / "results_predictions").iterdir())) == 4
    assert scores.predictions_of(replace(rows[0], seed=7)) is None


def test_nothing_is_written_next_to_another_file(scores, tmp_path):
    (tmp_path / "notes.csv").write_text("my notes\n")
    with pytest.raises(GeorankError, match="is not a results file"):
        scores.save(tmp_path / "notes.csv")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
