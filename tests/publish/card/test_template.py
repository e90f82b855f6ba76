"""The card template shows the scores that it is given, each in its cell, and no other number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from georank_zoo.publish.card.evaluation import Evaluation, Line
from georank_zoo.publish.card.gather import folder_facts
from georank_zoo.publish.card.render import ModelIds, _render
from tests.support.card_parts import TWIN_HASH, row, section

TASK = ["eurosat", "knn (k=10, temperature=0.9)", "64", "random80-seed0", "21600 / 5400"]


def table(text: str) -> list[list[str]]:
    """The cells of the evaluation table, the header first."""
    lines = [line for line in section(text, "Evaluation").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [cells[0], *cells[2:]]


def render(folder: Path, evaluation: Evaluation | None) -> str:
    ids = ModelIds("hf-hub:org/x", "org/x")
    return _render(folder_facts(folder), evaluation, ids, license="mit").text


@pytest.fixture
def evaluation() -> Evaluation:
    own = row("georank-moco-r18", "a" * 64, value=0.1111, ci_low=0.1011, ci_high=0.1222)
    overall = replace(own, metric="accuracy_overall", value=0.2, ci_low=0.1949, ci_high=0.2051)
    twin = row("moco-r18", TWIN_HASH, value=0.3333, ci_low=0.3, ci_high=0.3666)
    floor = row("image statistics", "none", value=0.4444, ci_low=0.05, ci_high=1.0)
    lines = (Line(own, (twin, floor)), Line(overall, (None, floor)))
    return Evaluation("moco-r18", ("moco-r18", "image statistics"), lines)


def test_each_score_stands_in_its_cell(card_folder: Path, evaluation: Evaluation) -> None:
    header, *rows = table(render(card_folder, evaluation))
    assert header == [
        "Task", "Protocol", "Size (px)", "Split", "Training / test samples", "Metric",
        "**georank-moco-r18**", "moco-r18", "image statistics",
    ]  # fmt: skip
    assert rows == [
        [*TASK, "accuracy macro", "**11.1 [10.1, 12.2]**", "33.3 [30.0, 36.7]",
         "44.4 [5.0, 100.0]"],
        [*TASK, "accuracy overall", "**20.0 [19.5, 20.5]**", "\N{EN DASH}", "44.4 [5.0, 100.0]"],
    ]  # fmt: skip


def test_around_the_table_stand_hashes_and_no_score(
    card_folder: Path, evaluation: Evaluation
) -> None:
    text = section(render(card_folder, evaluation), "Evaluation")
    prose = " ".join(line for line in text.splitlines() if not line.startswith("|"))
    for known in ("95 %", "moco-r18@0123456789ab", TWIN_HASH[:12], "e" * 12, "a" * 12, "moco-r18"):
        assert known in prose
        prose = prose.replace(known, "")
    assert not [c for c in prose if c.isdigit()]


def test_without_scores_there_is_no_table_and_no_number(card_folder: Path) -> None:
    text = section(render(card_folder, None), "Evaluation")
    assert text.strip() == "Not evaluated. No score of this model is in results.csv."


def test_a_check_of_the_machinery_says_so(card_folder: Path, evaluation: Evaluation) -> None:
    own, overall = evaluation.lines
    small = replace(own, row=replace(own.row, n_test=202))
    mixed = render(card_folder, replace(evaluation, lines=(small, overall)))
    assert [cells[0] for cells in table(mixed)[1:]] == ["eurosat \N{DAGGER}", "eurosat"]
    assert [cells[4] for cells in table(mixed)[1:]] == ["21600 / 202", "21600 / 5400"]
    whole = render(card_folder, replace(evaluation, lines=(small,)))
    assert "**This is a check of the machinery, not a benchmark**" in whole
    assert table(whole)[1][0] == "eurosat"
