"""Numbers that no evaluation gives are refused wherever they come in."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from georank_zoo.eval.metrics.score import score_with_interval
from georank_zoo.eval.results.table import append_rows, read_rows
from georank_zoo.publish.catalog import CatalogScore
from georank_zoo.utils.errors import GeorankError, UsageError
from tests.eval.results.test_table import ROW
from tests.support.command_line import run

IMPOSSIBLE = [
    ("value", "nan", "value is a share"),
    ("value", "inf", "value is a share"),
    ("value", "5.0", "value is a share between 0 and 1, not 5"),
    ("value", "-0.1", "value is a share"),
    ("value", "0.9", "does not hold its value"),
    ("ci_low", "nan", "ci_low is a share"),
    ("ci_low", "0.6", "the interval 0.6 to 0.75 does not hold its value, 0.5"),
    ("ci_high", "0.2", "does not hold its value"),
    ("ci_high", "-inf", "ci_high is a share"),
    ("n_test", "0", "n_test is 1 or more"),
    ("n_test", "-3", "n_test is 1 or more"),
    ("n_train", "-1", "n_train is 1 or more"),
    ("k", "0", "k is 1 or more"),
    ("k", "203", "203 neighbors are more than the 202 training samples"),
    ("temperature", "nan", "temperature is above 0"),
    ("temperature", "0", "temperature is above 0"),
    ("temperature", "inf", "temperature is above 0"),
    ("image_size", "0", "image_size is 1 or more"),
    ("seed", "-1", "seed is 0 or more"),
]


@pytest.mark.parametrize(("column", "text", "message"), IMPOSSIBLE)
def test_an_impossible_number_is_refused(
    column: str, text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = (int if column in ("n_test", "n_train", "k", "image_size", "seed") else float)(text)
    with pytest.raises(UsageError, match=message):
        replace(ROW, **{column: number})
    score = CatalogScore.of(ROW).model_dump() | {column: number}
    with pytest.raises(ValidationError, match=message):
        CatalogScore.model_validate(score)
    path = tmp_path / "results.csv"
    append_rows(path, [ROW])
    written = list(csv.DictReader(io.StringIO(path.read_text())))
    with path.open("a", newline="") as file:
        csv.DictWriter(file, list(asdict(ROW)), lineterminator="\n").writerow(
            {**written[0], column: text}
        )
    assert run("compare", path) == 1
    shown = capsys.readouterr()
    assert "row 3" in shown.err and message in shown.err and shown.out == ""


@pytest.mark.parametrize("text", ["1_0", " 1", "\u0661", "0x10", "9" * 20, "", "x"])
def test_what_only_python_takes_for_a_number_is_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    append_rows(path, [ROW])
    path.write_text(path.read_text().replace(f",{ROW.image_size},", f",{text},"))
    with pytest.raises(GeorankError, match="row 2: image_size cannot be"):
        read_rows(path)


def test_settings_hold_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    append_rows(path, [replace(ROW, settings='{"lr": NaN}')])
    with pytest.raises(GeorankError, match="row 2: it holds NaN, which is no number"):
        read_rows(path)


def test_an_interval_of_rare_classes_holds_its_value() -> None:
    """Ten classes of one wrong sample each: a resample never has them all, so all are better."""
    target = np.array([0] * 10 + list(range(1, 11)))
    predicted = np.zeros(20, np.int64)
    found = score_with_interval("accuracy_macro", predicted, target, 11, place=np.arange(20))
    assert found.low == found.value == pytest.approx(1 / 11)
    assert found.high > 0.12
