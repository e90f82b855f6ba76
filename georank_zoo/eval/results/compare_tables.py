"""Tables of a comparison: values, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from georank_zoo.eval.results.compare_figure import comparison_figure
from georank_zoo.eval.results.comparison_data import ComparisonData, PairedResult
from georank_zoo.eval.results.table import SETTING
from georank_zoo.utils.figures import figure_bytes
from georank_zoo.utils.files import new_file
from georank_zoo.utils.locks import MOMENT, output_lock
from georank_zoo.utils.tables import Table
from georank_zoo.utils.untrusted_text import csv_text, markdown_text

BOOTSTRAP_NOTE = (
    "95 % intervals in brackets (bootstrap over places; of differences the paired one: both "
    "models on the same places; above 0: share of its resamples). They speak of other "
    "test places, not of other training runs."
)


def comparison_tables(comparison: ComparisonData) -> list[Table]:
    """Scores in percent per metric and task, then the differences in percentage points."""
    differences = difference_table(comparison)
    return [*score_tables(comparison), *([differences] if differences else [])]


def score_tables(comparison: ComparisonData) -> list[Table]:
    """Models by settings, one table per metric and task, in percent."""
    labels = comparison.labels()
    tables = []
    for metric in comparison.metrics:
        for task in dict.fromkeys(str(setting[0]) for setting in comparison.settings):
            settings = [
                s
                for s in comparison.settings
                if s[0] == task and any(comparison.find(m, s, metric) for m in comparison.models)
            ]
            rows = []
            for model in comparison.models:
                cells = [comparison.find(model, setting, metric) for setting in settings]
                if any(cells):
                    rows.append((model, *(e.row.percent if e else "" for e in cells)))
            if rows:
                header = ("model", *(labels[s].partition(", ")[2] for s in settings))
                title = f"{task}: {metric.replace('_', ' ')} %"
                tables.append(Table(title, header, tuple(rows)))
    return tables


def difference_table(comparison: ComparisonData) -> Table | None:
    """Models against their baselines, in percentage points; None without a pair."""
    if not comparison.differences:
        return None
    labels = comparison.labels()
    several = len(comparison.metrics) > 1
    rows = tuple(
        (
            f"{result.first.model} - {result.second.model}",
            labels[result.first.setting],
            *((result.first.row.metric.replace("_", " "),) if several else ()),
            _points(result),
            f"{100 * result.paired.above:.0f} %" if result.paired else "",
        )
        for result in comparison.differences
    )
    metric = "" if several else f" of {comparison.metrics[0].replace('_', ' ')}"
    header = ("models", "setting", *(("metric",) if several else ()), "difference", "above 0")
    return Table(f"Differences{metric} in percentage points", header, rows)


def to_markdown(table: Table) -> str:
    """A table in Markdown, with its title as a heading."""
    header, *rows = [[markdown_text(cell) for cell in line] for line in (table.header, *table.rows)]
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"### {markdown_text(table.title)}\n\n{body}\n"


def write_comparison(comparison: ComparisonData, folder: Path) -> list[Path]:
    """Writes `scores.csv`, `differences.csv`, `compare.md`, `compare.png` and `compare.svg`.

    All of them or, where one cannot be made or written, none.

    Returns:
        The files.
    """
    texts = [to_markdown(table) for table in comparison_tables(comparison)]
    notes = "\n".join(
        f"- {markdown_text(note, 2000)}" for note in (BOOTSTRAP_NOTE, *comparison.notes)
    )
    markdown = f"# {markdown_text(comparison.title)}\n\n" + "\n".join(texts) + f"\n{notes}\n"
    contents = {
        "scores.csv": _csv(*score_records(comparison)).encode(),
        "differences.csv": _differences_csv(comparison).encode(),
        "compare.md": markdown.encode(),
        "compare.png": figure_bytes(comparison_figure(comparison), "png"),
        "compare.svg": figure_bytes(comparison_figure(comparison), "svg"),
    }
    with output_lock(folder, wait=MOMENT):
        folder.mkdir(exist_ok=True)
        with ExitStack() as files:
            for name, content in contents.items():
                files.enter_context(new_file(folder / name)).write_bytes(content)
    return [folder / name for name in contents]


def _points(result: PairedResult) -> str:
    if result.paired is None:
        return f"{100 * result.value:+.1f}"
    low, high = 100 * result.paired.low, 100 * result.paired.high
    return f"{100 * result.value:+.1f} [{low:+.1f}, {high:+.1f}]"


def score_records(
    comparison: ComparisonData,
) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and cells of the scores, a line per model, setting and metric."""
    columns = ("metric", *SETTING, "model", "model_hash", "value", "ci_low", "ci_high")
    records: list[tuple[object, ...]] = []
    for entry in comparison.entries:
        row = entry.row
        values = (row.value, row.ci_low, row.ci_high)
        records.append((row.metric, *row.setting, entry.model, row.model_hash, *values))
    return columns, records


def _differences_csv(comparison: ComparisonData) -> str:
    columns = ("metric", *SETTING, "model", "baseline", "difference", "ci_low", "ci_high", "above")
    rows = []
    for result in comparison.differences:
        paired, first = result.paired, result.first
        interval = (paired.low, paired.high, paired.above) if paired else ("", "", "")
        names = (first.model, result.second.model)
        rows.append((first.row.metric, *first.setting, *names, result.value, *interval))
    return _csv(columns, rows)


def _csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(map(_csv_cell, row))
    return text.getvalue()


def _csv_cell(value: object) -> object:
    if isinstance(value, str):
        return csv_text(value)
    return round(value, 6) if isinstance(value, float) else value
