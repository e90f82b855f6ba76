"""Results files put side by side: only what is comparable, and differences on the same samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from georank_zoo.eval.metrics.score import Difference, paired_difference
from georank_zoo.eval.results import predictions
from georank_zoo.eval.results import table as results
from georank_zoo.eval.results.table import Row
from georank_zoo.models.encoder import NO_HASH
from georank_zoo.utils.errors import UsageError, unknown_name

# Rows are comparable where all of these are equal.
SETTING: tuple[str, ...] = (
    "task", "protocol", "k", "temperature", "split", "image_size", "store_hash", "seed", "n_train",
    "n_test", "given_settings",
)  # fmt: skip
# What recipes put before the name of their baseline: georank-moco-r18 is moco-r18 with GeoRank.
_VARIANTS = ("georank-", "geobasic-", "geoaware-")

Setting = tuple[object, ...]
Pair = tuple[str, str]


@dataclass(frozen=True)
class Entry:
    """A row, and the file that it stands in.

    Attributes:
        path: Results file.
        row: The row.
        model: Name that no other model of the comparison has.
    """

    path: Path
    row: Row
    model: str

    @property
    def setting(self) -> Setting:
        """What must be equal in comparable rows."""
        return tuple(getattr(self.row, name) for name in SETTING)


@dataclass(frozen=True)
class PairedResult:
    """Two models under one setting.

    Attributes:
        first: Entry of the model.
        second: Entry of its baseline.
        value: Difference of the scores, first minus second, as a fraction.
        paired: The paired difference, where both models' predictions are there.
    """

    first: Entry
    second: Entry
    value: float
    paired: Difference | None


@dataclass(frozen=True)
class Comparison:
    """Models side by side.

    Attributes:
        entries: The newest row of each model, setting and metric.
        models: Names of the models in the order of the files, floors last.
        floors: Those of them that nobody trained.
        settings: Settings in the order of the files.
        metrics: Metrics in the order of the files.
        pairs: Models with their baselines.
        differences: Per pair, metric and setting.
        notes: What one must know to read it.
    """

    entries: tuple[Entry, ...]
    models: tuple[str, ...]
    floors: frozenset[str]
    settings: tuple[Setting, ...]
    metrics: tuple[str, ...]
    pairs: tuple[Pair, ...]
    differences: tuple[PairedResult, ...]
    notes: tuple[str, ...]

    def find(self, model: str, setting: Setting, metric: str) -> Entry | None:
        """The entry of a cell of the table."""
        return next(
            (
                entry
                for entry in self.entries
                if (entry.model, entry.setting, entry.row.metric) == (model, setting, metric)
            ),
            None,
        )

    def labels(self) -> dict[Setting, str]:
        """A short name for each setting; with the store, and more, where it is needed."""
        labels = {}
        for setting in self.settings:
            fact = dict(zip(SETTING, setting, strict=True))
            k = f" k={fact['k']}" if fact["protocol"] == "knn" else ""
            labels[setting] = (
                f"{fact['task']}, {fact['protocol']}{k}, {fact['image_size']} px, {fact['split']}"
            )
            same = [other for other in labels if labels[other] == labels[setting]]
            if len(same) > 1:
                differing = [
                    f"{name} {str(value)[:8]}"
                    for name, value, *others in zip(SETTING, setting, *same, strict=True)
                    if len(set(others)) > 1
                ]
                labels[setting] += f" ({', '.join(differing)})"
        return labels


def compare(
    paths: Sequence[Path],
    *,
    metrics: Sequence[str] = (),
    tasks: Sequence[str] = (),
    pairs: Sequence[Pair] = (),
    seed: int = 0,
) -> Comparison:
    """Puts the rows of results files side by side.

    Args:
        paths: Results files.
        metrics: Metrics to show; by default the first of each task and store.
        tasks: Tasks to show; by default all.
        pairs: Models with their baselines; by default by name, `georank-moco-r18` with
            `moco-r18`.
        seed: Seed of the bootstrap.

    Raises:
        UsageError: If a name is unknown, or no two models have a setting in common.
        GeorankError: If a file is damaged or no results file.
    """
    entries = _named([(path, row) for path in paths for row in results.read(path)])
    if not entries:
        raise UsageError(f"{', '.join(map(str, paths))}: no results in it. Run `georank eval`.")
    _require("task", tasks, (entry.row.task for entry in entries))
    entries = [entry for entry in entries if not tasks or entry.row.task in tasks]
    _require("metric", metrics, (entry.row.metric for entry in entries))
    # Of a task and store: stores of task `folder` may hold classes, labels or masks.
    first: dict[tuple[str, str], str] = {}
    for entry in entries:
        first.setdefault((entry.row.task, entry.row.store_hash), entry.row.metric)
    entries = [
        entry
        for entry in entries
        if entry.row.metric in (metrics or (first[entry.row.task, entry.row.store_hash],))
    ]
    _require_comparable(entries)
    floors = frozenset(entry.model for entry in entries if entry.row.model_hash == NO_HASH)
    models = list(dict.fromkeys(entry.model for entry in entries))
    for name in (name for pair in pairs for name in pair):
        _require("model", [name], models)
    notes: list[str] = []
    chosen = list(pairs) or _pairs_by_name(entries, floors, notes)
    return Comparison(
        entries=tuple(entries),
        models=tuple(sorted(models, key=lambda model: model in floors)),
        floors=floors,
        settings=tuple(dict.fromkeys(entry.setting for entry in entries)),
        metrics=tuple(dict.fromkeys(entry.row.metric for entry in entries)),
        pairs=tuple(chosen),
        differences=tuple(_differences(entries, chosen, seed, notes)),
        notes=tuple(notes),
    )


def baseline_name(model: str) -> str | None:
    """The name that recipes give to a model's baseline, which lacks its regularizer."""
    prefix = next((prefix for prefix in _VARIANTS if model.startswith(prefix)), None)
    return None if prefix is None else model.removeprefix(prefix)


def _named(rows: Sequence[tuple[Path, Row]]) -> list[Entry]:
    """Entries with a name per model; of a repeated evaluation the newest."""
    hashes: dict[str, set[str]] = {}
    for _, row in rows:
        hashes.setdefault(row.model, set()).add(row.model_hash)
    newest: dict[tuple[object, ...], Entry] = {}
    for path, row in rows:
        alone = len(hashes[row.model]) == 1
        entry = Entry(path, row, row.model if alone else f"{row.model} #{row.model_hash[:8]}")
        key = (entry.model, entry.setting, row.metric)
        if key not in newest or newest[key].row.when <= row.when:
            newest[key] = entry
    return list(newest.values())


def _require(kind: str, names: Iterable[str], valid: Iterable[str]) -> None:
    choices = set(valid)
    for name in names:
        if name not in choices:
            raise unknown_name(kind, name, choices)


def _require_comparable(entries: Sequence[Entry]) -> None:
    models: dict[Setting, set[str]] = {}
    for entry in entries:
        models.setdefault(entry.setting, set()).add(entry.model)
    if max(map(len, models.values())) > 1:
        return
    differing = [
        f"{name} ({', '.join(sorted({str(value)[:12] for value in values}))})"
        for name, *values in zip(SETTING, *models, strict=True)
        if len(set(values)) > 1
    ]
    why = f"they differ in {'; '.join(differing)}" if differing else "there is one model only"
    raise UsageError(
        f"Nothing to compare: no two models were evaluated in the same way, {why}. Give files, or "
        "evaluate models, with equal task, data, protocol, split and size."
    )


def _pairs_by_name(
    entries: Sequence[Entry], floors: frozenset[str], notes: list[str]
) -> list[Pair]:
    """Each variant with its baseline, where there is exactly one."""
    core = {e.model: e.row.model.partition(" (")[0] for e in entries if e.model not in floors}
    found = []
    for model, name in core.items():
        baseline = baseline_name(name)
        if baseline is None:
            continue
        baselines = [m for m, other in core.items() if other == baseline]
        if len(baselines) == 1:
            found.append((model, baselines[0]))
        elif baselines:
            notes.append(
                f"{model} has several possible baselines ({', '.join(baselines)}): choose one "
                f"with --pair '{model}={baselines[0]}'."
            )
    return found


def _differences(
    entries: Sequence[Entry], pairs: Sequence[Pair], seed: int, notes: list[str]
) -> list[PairedResult]:
    by_cell = {(e.model, e.setting, e.row.metric): e for e in entries}
    found = []
    for first_name, second_name in pairs:
        own = [e for e in entries if e.model == first_name]
        with_twin = [
            (first, by_cell[second_name, first.setting, first.row.metric])
            for first in own
            if (second_name, first.setting, first.row.metric) in by_cell
        ]
        if not with_twin:
            notes.append(f"{first_name} and {second_name} have no setting in common.")
        for first, second in with_twin:
            paired = _paired(first, second, seed)
            value = paired.value if paired else first.row.value - second.row.value
            found.append(PairedResult(first, second, value, paired))
    if any(result.paired is None for result in found):
        notes.append(
            "Differences without an interval: the predictions of one of the models are not there, "
            "or not for the same samples. `georank eval --results` writes them beside the results."
        )
    return found


def _paired(first: Entry, second: Entry, seed: int) -> Difference | None:
    own = predictions.read(first.path, first.row)
    other = predictions.read(second.path, second.row)
    if own is None or other is None:
        return None
    for name in ("sample", "place", "target"):
        if not np.array_equal(getattr(own, name), getattr(other, name)):
            return None
    return paired_difference(
        first.row.metric,
        own.predicted,
        other.predicted,
        own.target,
        max(own.num_classes, other.num_classes),
        place=own.place,
        seed=seed,
    )
