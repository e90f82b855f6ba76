"""Rows side by side: what the tables and the figure of a comparison show."""

from __future__ import annotations

from dataclasses import dataclass

from georank_zoo.eval.metrics.score import Difference
from georank_zoo.eval.results.table import SETTING, Row

Setting = tuple[object, ...]
Pair = tuple[str, str]


@dataclass(frozen=True)
class ComparedRow:
    """A row of a comparison.

    Attributes:
        row: The row.
        source: Position of the scores or the file that it stands in.
        model: Name that no other model of the comparison has.
    """

    row: Row
    source: int
    model: str

    @property
    def setting(self) -> Setting:
        """What must be equal in comparable rows."""
        return self.row.setting


@dataclass(frozen=True)
class PairedResult:
    """Two models under one setting.

    Attributes:
        first: Row of the model.
        second: Row of its baseline.
        value: Difference of the scores, first minus second, as a fraction.
        paired: Paired difference; None where predictions of one of the models are missing.
    """

    first: ComparedRow
    second: ComparedRow
    value: float
    paired: Difference | None


@dataclass(frozen=True, repr=False)
class ComparisonData:
    """Models side by side.

    Attributes:
        title: Title.
        entries: Newest row of each model, setting and metric.
        models: Names of the models in the order of the files, floors last.
        floors: Names of the floors among them, which nobody trained.
        settings: Settings in the order of the files.
        metrics: Metrics in the order of the files.
        pairs: Models with their baselines.
        differences: Differences per pair, metric and setting.
        notes: Facts that one must know to read it.
    """

    title: str
    entries: tuple[ComparedRow, ...]
    models: tuple[str, ...]
    floors: frozenset[str]
    settings: tuple[Setting, ...]
    metrics: tuple[str, ...]
    pairs: tuple[Pair, ...]
    differences: tuple[PairedResult, ...]
    notes: tuple[str, ...]

    def find(self, model: str, setting: Setting, metric: str) -> ComparedRow | None:
        """The row of a cell of the table."""
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
        labels: dict[Setting, str] = {}
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
