"""Comparison of results: only what is comparable, and differences on the same samples."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from georank_zoo.eval.metrics.score import Difference, paired_difference
from georank_zoo.eval.results.compare_figure import comparison_figure
from georank_zoo.eval.results.compare_tables import (
    BOOTSTRAP_NOTE,
    comparison_tables,
    score_records,
    write_comparison,
)
from georank_zoo.eval.results.comparison_data import (
    ComparedRow,
    ComparisonData,
    Pair,
    PairedResult,
    Setting,
)
from georank_zoo.eval.results.predictions import Predictions, read_predictions
from georank_zoo.eval.results.scores import Scores
from georank_zoo.eval.results.table import SETTING, Row, read_rows
from georank_zoo.utils.errors import UsageError, unknown_name
from georank_zoo.utils.figures import NotebookFigure
from georank_zoo.utils.tables import Table, tables_as_text, tables_with_notes

if TYPE_CHECKING:
    import pandas as pd

_Source = Scores | Path


class Comparison(ComparisonData):
    """What `compare` returns: models side by side, and against their baselines.

    A notebook shows it as tables, `print` as text.

    Example:
        >>> import georank_zoo as gz
        >>> runs = ["runs/moco-r18", "runs/georank-moco-r18"]
        >>> comparison = gz.compare(gz.evaluate(runs, "stores/eurosat", task="synthetic"))
        >>> comparison.pairs
        (('georank-moco-r18', 'moco-r18'),)
        >>> figure = comparison.plot()
        >>> [path.name for path in comparison.save("out/comparison")]
        ['scores.csv', 'differences.csv', 'compare.md', 'compare.png', 'compare.svg']
    """

    def tables(self) -> list[Table]:
        """Scores in percent per metric and task, then the differences in percentage points."""
        return comparison_tables(self)

    def all_notes(self) -> tuple[str, ...]:
        """What one must know to read it, the bootstrap first."""
        return (BOOTSTRAP_NOTE, *self.notes)

    def to_dataframe(self) -> pd.DataFrame:
        """The scores, a row per model, setting and metric.

        Example:
            >>> import georank_zoo as gz
            >>> runs = ["runs/moco-r18", "runs/georank-moco-r18"]
            >>> comparison = gz.compare(gz.evaluate(runs, "stores/eurosat", task="synthetic"))
            >>> comparison.to_dataframe()[["model", "metric", "k"]].head(2)
                          model          metric   k
            0          moco-r18  accuracy_macro  10
            1  georank-moco-r18  accuracy_macro  10
        """
        import pandas as pd

        columns, records = score_records(self)
        return pd.DataFrame(records, columns=list(columns))

    def plot(self) -> NotebookFigure:
        """A panel per setting and metric with the models' scores, and one with the differences."""
        return comparison_figure(self)

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Writes `scores.csv`, `differences.csv`, `compare.md`, `compare.png` and `compare.svg`.

        Returns:
            The files.
        """
        return write_comparison(self, Path(folder))

    def __repr__(self) -> str:
        return (
            f"Comparison({len(self.models)} models and floors, {len(self.settings)} settings, "
            f"{len(self.differences)} differences)"
        )

    def __str__(self) -> str:
        return tables_as_text(self.tables(), self.all_notes())

    def _repr_html_(self) -> str:
        return tables_with_notes(self.tables(), self.all_notes())


def compare(
    *sources: Scores | str | os.PathLike[str],
    metrics: Sequence[str] = (),
    tasks: Sequence[str] = (),
    pairs: Sequence[Pair] = (),
    seed: int = 0,
) -> Comparison:
    """Puts results side by side, and models against their baselines.

    Only rows of equal task, data, protocol, split, image size and seed share a column.

    Args:
        *sources: Scores, and paths of results files.
        metrics: Metrics to show; by default the first of each task and store.
        tasks: Tasks to show; by default all.
        pairs: Models with their baselines, as names; by default as the models' recipes state
            them.
        seed: Seed of the bootstrap.

    Raises:
        UsageError: If a file is missing, a name is unknown, or no two models have a setting in
            common.
        GeorankError: If a file is damaged or is not a results file.

    Example:
        >>> import georank_zoo as gz
        >>> runs = ["runs/moco-r18", "runs/georank-moco-r18"]
        >>> scores = gz.evaluate(runs, "stores/eurosat", task="synthetic")
        >>> gz.compare(scores)
        Comparison(4 models and floors, 1 settings, 1 differences)
        >>> gz.compare(scores, pairs=[("moco-r18", "random resnet18")]).differences[0].second.model
        'random resnet18'
    """
    given = _unique(sources)
    for source in given:
        if isinstance(source, Path) and not source.is_file():
            raise UsageError(f"There is no results file {source}. `Scores.save` writes one.")
    title = f"Results: {', '.join(s.name if isinstance(s, Path) else s.title for s in given)}"
    rows = [
        (number, row)
        for number, source in enumerate(given)
        for row in (read_rows(source) if isinstance(source, Path) else source.rows)
    ]
    entries = _chosen(_named(rows), metrics, tasks, title)
    _require_comparable(entries)
    floors = frozenset(entry.model for entry in entries if entry.row.kind != "model")
    models = list(dict.fromkeys(entry.model for entry in entries))
    for name in (name for pair in pairs for name in pair):
        _require("model", [name], models)
    notes: list[str] = []
    chosen = list(pairs) or _stated_pairs(entries, floors, notes)
    return Comparison(
        title=title,
        entries=tuple(entries),
        models=tuple(sorted(models, key=lambda model: model in floors)),
        floors=floors,
        settings=tuple(dict.fromkeys(entry.setting for entry in entries)),
        metrics=tuple(dict.fromkeys(entry.row.metric for entry in entries)),
        pairs=tuple(chosen),
        differences=tuple(_differences(given, entries, chosen, seed, notes)),
        notes=tuple(notes),
    )


def _unique(sources: Iterable[Scores | str | os.PathLike[str]]) -> list[_Source]:
    """Scores and paths, each path once."""
    found: list[_Source] = []
    for source in sources:
        known = source if isinstance(source, Scores) else Path(source)
        if not any(known is other or (isinstance(known, Path) and known == other)
                   for other in found):  # fmt: skip
            found.append(known)
    if not found:
        raise UsageError("There is nothing to compare. Give scores or results files.")
    return found


def _chosen(
    entries: list[ComparedRow], metrics: Sequence[str], tasks: Sequence[str], title: str
) -> list[ComparedRow]:
    """Rows of the tasks and metrics to show."""
    if not entries:
        raise UsageError(f"{title}: there are no results in it. Run `georank eval`.")
    _require("task", tasks, (entry.row.task for entry in entries))
    entries = [entry for entry in entries if not tasks or entry.row.task in tasks]
    _require("metric", metrics, (entry.row.metric for entry in entries))
    # Of a task and store: stores of task `folder` may hold classes, labels or masks.
    first: dict[tuple[str, str], str] = {}
    for entry in entries:
        first.setdefault((entry.row.task, entry.row.store_hash), entry.row.metric)
    return [
        entry
        for entry in entries
        if entry.row.metric in (metrics or (first[entry.row.task, entry.row.store_hash],))
    ]


def _named(rows: Sequence[tuple[int, Row]]) -> list[ComparedRow]:
    """Rows with a name per model; of a repeated evaluation the newest."""
    titles: dict[tuple[str, ...], str] = {}
    for _, row in rows:
        titles.setdefault(row.identity, row.title)
    shared = list(titles.values())
    newest: dict[tuple[object, ...], ComparedRow] = {}
    for number, row in rows:
        name = titles[row.identity]
        if shared.count(name) > 1:
            digest = row.model_hash if row.kind == "model" else row.input_hash
            name = f"{name} #{digest[:8]}"
        entry = ComparedRow(row, number, name)
        key = (row.identity, row.setting, row.metric)
        if key not in newest or newest[key].row.when <= row.when:
            newest[key] = entry
    return list(newest.values())


def _require(kind: str, names: Iterable[str], valid: Iterable[str]) -> None:
    choices = set(valid)
    for name in names:
        if name not in choices:
            raise unknown_name(kind, name, choices)


def _require_comparable(entries: Sequence[ComparedRow]) -> None:
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


def _stated_pairs(
    entries: Sequence[ComparedRow], floors: frozenset[str], notes: list[str]
) -> list[Pair]:
    """Each variant with its baseline, where there is exactly one."""
    rows = {entry.model: entry.row for entry in entries if entry.model not in floors}
    found = []
    for model, row in rows.items():
        baselines = [m for m, other in rows.items() if row.baseline and other.model == row.baseline]
        if len(baselines) == 1:
            found.append((model, baselines[0]))
        elif baselines:
            notes.append(
                f"{model} has several possible baselines ({', '.join(baselines)}): choose one "
                f"with --pair '{model}={baselines[0]}'."
            )
    return found


def _differences(
    sources: Sequence[_Source],
    entries: Sequence[ComparedRow],
    pairs: Sequence[Pair],
    seed: int,
    notes: list[str],
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
            paired = _paired(sources, first, second, seed)
            value = paired.value if paired else first.row.value - second.row.value
            found.append(PairedResult(first, second, value, paired))
    if any(result.paired is None for result in found):
        notes.append(
            "Differences without an interval: the predictions of one of the models are missing, or "
            "are not of the same samples. `georank eval --results` writes them next to the results."
        )
    return found


def _paired(
    sources: Sequence[_Source], first: ComparedRow, second: ComparedRow, seed: int
) -> Difference | None:
    own, other = (_predictions(sources[entry.source], entry.row) for entry in (first, second))
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


def _predictions(source: _Source, row: Row) -> Predictions | None:
    return read_predictions(source, row) if isinstance(source, Path) else source.predictions_of(row)
