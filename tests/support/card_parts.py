"""For tests of cards: a tiny recipe, results as `georank eval` writes them, parts of a card."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from georank_zoo.bands import S2_12
from georank_zoo.eval.results import table as results
from georank_zoo.eval.results.table import Row
from georank_zoo.publish.card import folder_card, recipe_card
from georank_zoo.utils.files import sha256_of

TINY = [
    "views.size=32", "train.batch_size=8", "train.steps=2", "train.workers=0",
    "train.precision=fp32", "schedule.warmup_epochs=0", "data.places=40",
    "algorithm.hidden_dim=16", "algorithm.output_dim=8", "algorithm.queue_size=8",
]  # fmt: skip

TWIN_HASH = "b" * 64

NOT_EVALUATED = "No score of this model is in results.csv."  # as cards say it

# Each score is a number that stands nowhere else in a card.
_SCORES = {
    "georank-moco-r18": 0.812345, "moco-r18": 0.798765, "image statistics": 0.683456,
    "random resnet18": 0.614567,
}  # fmt: skip

_KINDS = {"image statistics": "image-statistics", "resnet18 from scratch": "scratch"}


def row(model: str, model_hash: str, **changes: object) -> Row:
    value = float(str(changes.get("value", _SCORES.get(model, 0.5))))
    floor = model_hash == "none"
    known = Row(
        when="2026-11-23T12:00:00+00:00", model=model, origin="",
        kind=_KINDS.get(model, "random-init") if floor else "model",
        baseline="moco-r18" if model == "georank-moco-r18" else "", model_hash=model_hash,
        architecture="" if model == "image statistics" else "resnet18", input_hash="0" * 16,
        recipe=f"{model}@0123456789ab" if model_hash != "none" else "", task="eurosat",
        store_hash="e" * 64, protocol="knn", k=10, temperature=0.9, settings="", chosen="",
        split="random80-seed0", image_size=64, bands=" ".join(S2_12), seed=0, n_train=21600,
        n_test=5400, metric="accuracy_macro", value=value, ci_low=round(value - 0.0123, 6),
        ci_high=round(value + 0.0134, 6), versions="torch 2.15.0; device cpu",
    )  # fmt: skip
    return replace(known, **changes)


def block(sha256: str, **changes: object) -> list[Row]:
    """A model, its twin and both floors, by two metrics."""
    hashes = [sha256, TWIN_HASH, "none", "none"]
    return [
        row(model, model_hash, **{"metric": metric, **extra, **changes})
        for model, model_hash in zip(_SCORES, hashes, strict=True)
        for metric, extra in (
            ("accuracy_macro", {}),
            ("accuracy_overall", {"value": round(_SCORES[model] + 0.011111, 6)}),
        )
    ]


def write_rows(path: Path, rows: list[Row]) -> Path:
    results.append_rows(path, rows)
    return path


def sha256(folder: Path) -> str:
    return sha256_of(folder / "model.safetensors")


def render_folder(folder: str | Path, **options: Any) -> str:
    return folder_card(folder, **options).text


def render_recipe(name: str, **options: Any) -> str:
    return recipe_card(name, **options).text


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.S)


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def table_scores(text: str) -> list[str]:
    return re.findall(r"-?[\d.]+ \[-?[\d.]+, -?[\d.]+\]", section(text, "Evaluation"))
