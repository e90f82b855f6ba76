"""A card states no score that results.csv does not hold, and none without its conditions."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from georank_zoo.eval.results import table as results
from georank_zoo.eval.results.settings import settings_to_json
from georank_zoo.publish.card import facts as card_facts
from georank_zoo.publish.card.evaluation import evaluation_of
from georank_zoo.publish.card.metadata import LICENSES, check_front_matter
from georank_zoo.utils.errors import GeorankError, UsageError
from tests.support import card_parts as cards
from tests.support.card_parts import (
    TWIN_HASH,
    block,
    row,
    section,
    sha256,
    table_scores,
    write_rows,
)
from tests.support.hostile_names import HOSTILE_NAMES, is_harmless

NONE = "\N{EN DASH}"  # as cards write it


def test_every_score_is_one_of_results_csv(card_folder: Path, tmp_path: Path) -> None:
    rows = block(sha256(card_folder))
    path = write_rows(tmp_path / "results.csv", rows)
    text = cards.render_folder(card_folder, results=path)
    # All rows are shown, and nothing else.
    assert sorted(table_scores(text)) == sorted(known.percent for known in rows)
    assert "**81.2 [80.0, 82.6]** | 79.9 [78.6, 81.2] | 68.3 [67.1, 69.7] | 61.5" in text
    header = next(line for line in text.splitlines() if line.startswith("| Task"))
    columns = ["**georank-moco-r18**", "moco-r18", "image statistics", "random resnet18"]
    assert [part.strip() for part in header.strip("|").split("|")][-4:] == columns
    for shown in ("knn (k=10, temperature=0.9)", "64", "random80-seed0", "21600 / 5400"):
        assert f"| {shown} |" in section(text, "Evaluation")
    assert "moco-r18@0123456789ab" in section(text, "Evaluation")
    assert "check of the machinery" not in text
    # The model-index, as the Hub's client reads it.
    found = {
        (result.metric_name, result.metric_value): result
        for result in ModelCard(text).data.eval_results
    }
    own = rows[:2]
    names = ["Macro accuracy", "Overall accuracy"]
    assert set(found) == {(name, known.value) for name, known in zip(names, own, strict=True)}
    result = found["Macro accuracy", own[0].value]
    assert (result.dataset_type, result.dataset_split) == ("torchgeo/eurosat", "random80-seed0")
    assert result.task_type == "image-classification" and "64 px" in result.dataset_config
    # It survives being written again.
    again = ModelCard(str(ModelCard(text))).data.eval_results
    assert {(r.metric_name, r.metric_value) for r in again} == set(found)


def test_a_changed_row_changes_the_card(card_folder: Path, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "results.csv", block(sha256(card_folder)))
    before = cards.render_folder(card_folder, results=path)
    path.write_text(path.read_text().replace("0.812345", "0.822345"))
    after = cards.render_folder(card_folder, results=path)
    assert "**81.2 [" in before and "**81.2 [" not in after
    assert "**82.2 [" in after
    assert ModelCard(after).data.eval_results[0].metric_value == 0.822345
    path.write_text(path.read_text().replace("0.822345", "ninety"))
    with pytest.raises(GeorankError, match="row 2"):
        cards.render_folder(card_folder, results=path)


def test_a_score_in_the_front_matter_that_no_row_holds_is_refused(
    card_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = block(sha256(card_folder))
    path = write_rows(tmp_path / "results.csv", rows)
    text = cards.render_folder(card_folder, results=path)
    found = evaluation_of(rows, sha256=sha256(card_folder))
    check_front_matter(text, found)
    with pytest.raises(GeorankError, match=r"Macro accuracy 0\.82.*no row"):
        check_front_matter(text.replace("value: 0.812345", "value: 0.82"), found)
    with pytest.raises(GeorankError, match="does not hold the 2 scores"):
        check_front_matter(cards.render_folder(card_folder), found)
    # A template that changes a score does not render.
    template = card_facts.text_of("card.md.jinja")
    boast = template.replace("{{ front_matter }}", "{{ front_matter | replace('0.81', '0.91') }}")
    assert boast != template
    monkeypatch.setattr(
        "georank_zoo.publish.card.render.text_of", lambda name: boast if "card" in name else ""
    )
    with pytest.raises(GeorankError, match=r"Macro accuracy 0\.912345.*no row"):
        cards.render_folder(card_folder, results=path)


def test_rows_of_other_weights_are_not_its_scores(card_folder: Path, tmp_path: Path) -> None:
    others = write_rows(tmp_path / "results.csv", block("c" * 64))
    for text in (
        cards.render_folder(card_folder, results=others),
        cards.render_folder(card_folder),
    ):
        assert cards.NOT_EVALUATED in text and not table_scores(text)
        assert not ModelCard(text).data.eval_results


def test_only_what_was_evaluated_alike_stands_in_a_line(card_folder: Path, tmp_path: Path) -> None:
    own = sha256(card_folder)
    rows = [
        row("georank-moco-r18", own, origin="runs/a"),
        row("georank-moco-r18", own, value=0.7, when="2026-11-24T00:00:00+00:00"),  # newer
        row("georank-moco-r18", own, image_size=128),
        row("moco-r18", TWIN_HASH, origin="runs/b", image_size=128, value=0.71),
        row("byol-r18", "d" * 64, value=0.72),  # another model
        row("random resnet50", "none", value=0.73, architecture="resnet50"),
        row("image statistics", "none", origin="input of georank-moco-r18", value=0.75),
        row("image statistics", "none", origin="input of x", value=0.74, input_hash="1" * 16),
        row("moco-r18", TWIN_HASH, value=0.69, bands="B02 B03"),
        row("image statistics", "none", value=0.76, store_hash="f" * 64),
        row("random resnet18", "none", value=0.77, bands="B02 B03"),
    ]
    text = cards.render_folder(card_folder, results=write_rows(tmp_path / "results.csv", rows))
    lines = [line for line in section(text, "Evaluation").splitlines() if "| eurosat" in line]
    assert len(lines) == 2
    assert "| 64 |" in lines[0] and "**70.0 [" in lines[0] and f"| {NONE} | 75.0 [" in lines[0]
    assert "| 128 |" in lines[1] and "| 71.0 [" in lines[1] and lines[1].endswith(f"| {NONE} |")
    assert len(table_scores(text)) == 4
    config = {result.dataset_config for result in ModelCard(text).data.eval_results}
    assert len(config) == 2


def test_finetuning_stands_beside_training_from_scratch(card_folder: Path, tmp_path: Path) -> None:
    common = {"protocol": "finetune", "k": None, "temperature": None}
    settings = settings_to_json({"epochs": 30, "lr": 0.001, "backbone_lr": 0.0001})
    common |= {"settings": settings}
    own = {"chosen": settings_to_json({"epoch": 9, "backbone_lr": 0.001})}
    rows = [
        row("georank-moco-r18", sha256(card_folder), chosen=settings_to_json({"epoch": 7})),
        row("resnet18 from scratch", "none", **own),
        row("resnet50 from scratch", "none", kind="scratch", architecture="resnet50", **own),
    ]
    rows = [replace(known, **common) for known in rows]
    text = cards.render_folder(card_folder, results=write_rows(tmp_path / "results.csv", rows))
    assert sorted(table_scores(text)) == sorted([rows[0].percent, rows[1].percent])
    assert "resnet18 from scratch" in text and "backbone_lr=0.0001" in text


def test_the_baseline_is_one_model_or_named(card_folder: Path, tmp_path: Path) -> None:
    rows = [*block(sha256(card_folder)), row("moco-r18", "a" * 64, origin="again", value=0.79)]
    rows.append(row("byol-r18", "d" * 64, value=0.72))
    path = write_rows(tmp_path / "results.csv", rows)
    with pytest.raises(UsageError, match=r"2 models called moco-r18.*--baseline aaaaaaaaaaaa"):
        cards.render_folder(card_folder, results=path)
    text = cards.render_folder(card_folder, results=path, baseline=TWIN_HASH[:12])
    assert "79.9 [" in text and "79.0 [" not in text
    assert "72.0 [" in cards.render_folder(card_folder, results=path, baseline="byol-r18")
    with pytest.raises(UsageError, match="No model 'dino-r18' was evaluated in the way of"):
        cards.render_folder(card_folder, results=path, baseline="dino-r18")


@pytest.mark.parametrize(
    ("changes", "whole"),
    [({"n_test": 202}, True), ({"task": "synthetic"}, True), ({"task": "folder"}, False)],
)
def test_what_checks_the_machinery_is_no_benchmark(
    card_folder: Path, tmp_path: Path, changes: dict[str, object], whole: bool
) -> None:
    path = write_rows(tmp_path / "results.csv", block(sha256(card_folder), **changes))
    text = cards.render_folder(card_folder, results=path)
    assert ("**This is a check of the machinery, not a benchmark**" in text) == whole
    # A leaderboard has no room for such a sentence, and none for data that nobody else has.
    assert ModelCard(text).data.eval_results is None
    assert len(table_scores(text)) == 8
    results.append_rows(path, block(sha256(card_folder)))
    mixed = cards.render_folder(card_folder, results=path)
    marked = [line for line in mixed.splitlines() if line.startswith(f"| {rows_task(changes)} †")]
    assert len(marked) == (2 if whole else 0)
    assert ("Rows with † are checks of the machinery" in mixed) == whole
    assert len(ModelCard(mixed).data.eval_results) == 2


def rows_task(changes: dict[str, object]) -> object:
    return changes.get("task", "eurosat")


def test_front_matter(card_folder: Path) -> None:
    data = ModelCard(cards.render_folder(card_folder, license="CC-BY-4.0")).data
    assert (data.license, data.library_name) == ("cc-by-4.0", "timm")
    assert data.pipeline_tag == "image-feature-extraction"
    assert data.datasets == ["torchgeo/eurosat"]
    assert {"sentinel-2", "moco", "georank", "resnet18"} <= set(data.tags)
    with pytest.raises(UsageError, match=r"Unknown license 'cc-by-4'. Did you mean 'cc-by-4.0'"):
        cards.render_folder(card_folder, license="cc-by-4")
    text = cards.render_folder(card_folder)
    for right, wrong in (
        ("license: apache-2.0", "license: nonsense"),
        ("library_name: timm", "library_name: tim"),
        ("pipeline_tag: image-feature-extraction", "pipeline_tag: nope"),
        ("license: apache-2.0", "license: [apache-2.0"),
    ):
        assert right in text
        with pytest.raises(GeorankError, match="front matter"):
            check_front_matter(text.replace(right, wrong), None)
    assert len(set(LICENSES)) == len(LICENSES)


def test_hostile_names_change_no_construct_of_a_card(card_folder: Path, tmp_path: Path) -> None:
    def tags(name: str) -> list[str]:
        """Opening tags of the card's body where a baseline, split and protocol have a name."""
        rows = [
            replace(r, model=name if r.model_hash == TWIN_HASH else r.model, baseline=name)
            for r in block(sha256(card_folder), split=name, protocol=name)
        ]
        (tmp_path / "results.csv").unlink(missing_ok=True)
        path = write_rows(tmp_path / "results.csv", rows)
        text = cards.render_folder(card_folder, results=path)
        body = text.split("\n---\n", 1)[1]
        assert all(map(is_harmless, body.split("\n")))
        return re.findall(r"<\w+", MarkdownIt("gfm-like", {"linkify": False}).render(body))

    usual = tags("name")
    for name in HOSTILE_NAMES:
        if "\udcff" not in name:  # no file of results holds it
            assert tags(name) == usual, name
