"""Scores of an evaluation, as a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from georank_zoo.eval.results.predictions import (
    Predictions,
    delete_unnamed,
    predictions_folder,
    predictions_key,
    write_predictions,
)
from georank_zoo.eval.results.table import Row, append_rows, check_results_file
from georank_zoo.utils.locks import MOMENT, output_lock
from georank_zoo.utils.tables import Table, tables_as_text, tables_with_notes

if TYPE_CHECKING:
    import pandas as pd

_METRICS = 2  # a table: more do not fit a screen with the names


@dataclass(frozen=True, repr=False)
class Scores:
    """What `evaluate` returns: rows of results, with what one must know to read them.

    A notebook shows it as tables, `print` as text.

    Attributes:
        rows: One row per model (floors after the models), size, protocol, variant of the protocol
            (such as its k) and metric.
        predictions: Predictions of the test samples, each with a row that they belong to: one for
            all metrics of an evaluation.
        title: Title of the task.
        notes: Facts that one must know to read the scores.

    Example:
        >>> import georank_zoo as gz
        >>> scores = gz.evaluate("runs/moco-r18", "stores/eurosat", task="synthetic")
        >>> print(scores)
        Classes of a synthetic world, knn
        model             px   k  accuracy macro %  accuracy overall %
        moco-r18 ...
        >>> scores.rows[0].metric
        'accuracy_macro'
        >>> scores.save("out/results.csv").name
        'results.csv'
    """

    rows: tuple[Row, ...]
    predictions: tuple[tuple[Row, Predictions], ...]
    title: str
    notes: tuple[str, ...]

    def tables(self) -> list[Table]:
        """The scores in percent, one table per protocol and two metrics."""
        found = []
        for protocol in dict.fromkeys(row.protocol for row in self.rows):
            rows = [row for row in self.rows if row.protocol == protocol]
            metrics = list(dict.fromkeys(row.metric for row in rows))
            for start in range(0, len(metrics), _METRICS):
                part = metrics[start : start + _METRICS]
                found.append(_table(f"{self.title}, {protocol}", rows, part))
        return found

    def to_dataframe(self) -> pd.DataFrame:
        """The rows, a column per field of `Row`.

        Example:
            >>> import georank_zoo as gz
            >>> scores = gz.evaluate("runs/moco-r18", "stores/eurosat", task="synthetic")
            >>> scores.to_dataframe()[["model", "kind", "metric"]].head(2)
                  model   kind            metric
            0  moco-r18  model    accuracy_macro
            1  moco-r18  model  accuracy_overall
        """
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows])

    def predictions_of(self, row: Row) -> Predictions | None:
        """The predictions behind a row; None where there are none."""
        wanted = predictions_key(row)
        found = (kept for other, kept in self.predictions if predictions_key(other) == wanted)
        return next(found, None)

    def save(self, path: str | PathLike[str]) -> Path:
        """Appends the rows to a CSV file, and writes the predictions to a folder next to it.

        Args:
            path: Results file; `results.csv` has its predictions in `results_predictions/`.

        Returns:
            The file.

        Raises:
            GeorankError: If the file has other columns or ends within a line, or the disk is full.
            OSError: If it may not be written.
        """
        path = Path(path)
        folder = predictions_folder(path)
        with output_lock(path, folder, wait=MOMENT) as taken:
            check_results_file(path)
            if taken.killed_since is not None:
                changed = [f for f in folder.glob("*") if f.stat().st_mtime >= taken.killed_since]
                delete_unnamed(path, changed)
            if not taken.finished:
                self._add(path)
        return path

    def _add(self, path: Path) -> None:
        written = []
        try:
            for row, predicted in self.predictions:
                written.append(write_predictions(path, row, predicted))
            append_rows(path, self.rows)
        except BaseException:
            delete_unnamed(path, written)
            raise

    def __repr__(self) -> str:
        models = len({row.title for row in self.rows})
        return f"Scores({self.title!r}: {len(self.rows)} rows of {models} models and floors)"

    def __str__(self) -> str:
        return tables_as_text(self.tables(), self.notes)

    def _repr_html_(self) -> str:
        return tables_with_notes(self.tables(), self.notes)


def _table(title: str, rows: Sequence[Row], metrics: Sequence[str]) -> Table:
    """A line per model, size and variant; a model's name stands in its first line."""
    entries: dict[tuple[object, ...], dict[str, Row]] = {}
    for row in rows:
        entry = (row.title, row.identity, row.image_size, row.variant[1], row.setting)
        entries.setdefault(entry, {})[row.metric] = row
    lines = []
    previous: object = None
    for (name, identity, size, variant, _), scores in entries.items():
        shown = "" if (name, identity) == previous else str(name)
        lines.append((shown, str(size), str(variant), *(scores[m].percent for m in metrics)))
        previous = (name, identity)
    header = ("model", "px", rows[0].variant[0], *(f"{m.replace('_', ' ')} %" for m in metrics))
    return Table(title, header, tuple(lines))
