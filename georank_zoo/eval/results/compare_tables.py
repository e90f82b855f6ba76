"""A comparison as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from georank_zoo.eval.results.compare import SETTING, Comparison, PairedResult
from georank_zoo.eval.results.compare_figure import draw_comparison
from georank_zoo.utils.files import write_text

BOOTSTRAP_NOTE = (
    "95 % intervals in brackets (bootstrap over places; of differences the paired one: both "
    "models on the same places; above 0: share of its resamples). They speak of other "
    "test places, not of other training runs."
)


@dataclass(frozen=True)
class TextTable:
    """A table of text; the first column holds names."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_markdown(self) -> str:
        """As a Markdown table with its title."""
        lines = [self.header, ("---", *("---:" for _ in self.header[1:])), *self.rows]
        body = "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )
        return f"### {self.title}\n\n{body}\n"


def score_tables(comparison: Comparison) -> list[TextTable]:
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
                    scores = ((e.row.value, e.row.ci_low, e.row.ci_high) if e else None
                              for e in cells)  # fmt: skip
                    rows.append((model, *(_percent(score) for score in scores)))
            if rows:
                header = ("model", *(labels[s].partition(", ")[2] for s in settings))
                title = f"{task}: {metric.replace('_', ' ')} %"
                tables.append(TextTable(title, header, tuple(rows)))
    return tables


def difference_table(comparison: Comparison) -> TextTable | None:
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
    return TextTable(f"Differences{metric} in percentage points", header, rows)


def write_comparison(comparison: Comparison, folder: Path, *, title: str) -> list[Path]:
    """Writes `scores.csv`, `differences.csv`, `compare.md`, `compare.png` and `compare.svg`.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = score_tables(comparison)
    differences = difference_table(comparison)
    texts = [table.to_markdown() for table in [*tables, *([differences] if differences else [])]]
    notes = "\n".join(f"- {note}" for note in (BOOTSTRAP_NOTE, *comparison.notes))
    write_text(folder / "scores.csv", _scores_csv(comparison))
    write_text(folder / "differences.csv", _differences_csv(comparison))
    write_text(folder / "compare.md", f"# {title}\n\n" + "\n".join(texts) + f"\n{notes}\n")
    for suffix in ("png", "svg"):
        draw_comparison(folder / f"compare.{suffix}", comparison, title=title)
    names = ("scores.csv", "differences.csv", "compare.md", "compare.png", "compare.svg")
    return [folder / name for name in names]


def _percent(score: tuple[float, float, float] | None) -> str:
    if score is None:
        return ""
    value, low, high = (100 * number for number in score)
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _points(result: PairedResult) -> str:
    if result.paired is None:
        return f"{100 * result.value:+.1f}"
    low, high = 100 * result.paired.low, 100 * result.paired.high
    return f"{100 * result.value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _scores_csv(comparison: Comparison) -> str:
    columns = ("metric", *SETTING, "model", "model_hash", "value", "ci_low", "ci_high")
    rows = []
    for entry in comparison.entries:
        row, setting = entry.row, entry.setting
        values = (row.value, row.ci_low, row.ci_high)
        rows.append((row.metric, *setting, entry.model, row.model_hash, *values))
    return _csv(columns, rows)


def _differences_csv(comparison: Comparison) -> str:
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
        writer.writerow([round(cell, 6) if isinstance(cell, float) else cell for cell in row])
    return text.getvalue()
