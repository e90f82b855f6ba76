"""Figure of a comparison: scores with intervals, and differences of pairs."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from georank_zoo.eval.results.comparison_data import ComparisonData, Setting
from georank_zoo.utils.figures import BASELINE, FLOOR, GEORANK, NotebookFigure, style
from georank_zoo.utils.untrusted_text import figure_text

_COLUMNS = 4  # panels side by side
_TALLEST = 300.0  # inches; matplotlib draws no image of 65,536 pixels
_OTHER = "#333333"


def comparison_figure(comparison: ComparisonData) -> NotebookFigure:
    """A panel per setting and metric with the models' scores, and one with the differences."""
    panels = [
        (setting, metric)
        for metric in comparison.metrics
        for setting in comparison.settings
        if any(comparison.find(model, setting, metric) for model in comparison.models)
    ]
    columns = min(_COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    tall = 0.9 + 0.27 * len(comparison.models)
    low = 1.0 + 0.3 * len(comparison.differences) if comparison.differences else 0
    with style():
        size = (3 + 2.9 * columns, min(_TALLEST, 0.5 + lines * tall + low))
        figure = NotebookFigure(figsize=size, layout="constrained")
        above: FigureBase = figure
        if low:
            parts = figure.subfigures(2, 1, height_ratios=(lines * tall, low), squeeze=False)
            above, below = parts[:, 0]
            _draw_differences(below.subplots(), comparison)
        axes = above.subplots(lines, columns, sharey=True, squeeze=False).ravel()
        for axis, (setting, metric) in zip(axes, panels, strict=False):
            _draw_scores(axis, comparison, setting, metric)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        figure.suptitle(figure_text(comparison.title, 200))
    return figure


def _draw_scores(axis: Axes, comparison: ComparisonData, setting: Setting, metric: str) -> None:
    variants = {first for first, _ in comparison.pairs}
    baselines = {second for _, second in comparison.pairs}
    for position, model in enumerate(reversed(comparison.models)):
        entry = comparison.find(model, setting, metric)
        if entry is None:
            continue
        row = entry.row
        color = (
            FLOOR if model in comparison.floors
            else GEORANK if model in variants
            else BASELINE if model in baselines
            else _OTHER
        )  # fmt: skip
        _interval(axis, position, row.value, row.ci_low, row.ci_high, color)
    axis.set_yticks(
        range(len(comparison.models)), list(map(figure_text, reversed(comparison.models)))
    )
    axis.set_ylim(-0.6, len(comparison.models) - 0.4)
    task, _, rest = comparison.labels()[setting].partition(", ")
    axis.set_title(f"{figure_text(task)}\n{figure_text(rest)}", loc="left", fontsize=8)
    axis.set_xlabel(f"{figure_text(metric.replace('_', ' '))} (%)")
    axis.grid(axis="x", alpha=0.25)


def _draw_differences(axis: Axes, comparison: ComparisonData) -> None:
    labels = comparison.labels()
    several = len(comparison.metrics) > 1
    names = []
    for position, result in enumerate(reversed(comparison.differences)):
        paired = result.paired
        low, high = (paired.low, paired.high) if paired else (result.value, result.value)
        _interval(axis, position, result.value, low, high, GEORANK, filled=paired is not None)
        metric = f", {result.first.row.metric.replace('_', ' ')}" if several else ""
        pair = f"{result.first.model} - {result.second.model}"
        setting = f"{labels[result.first.setting]}{metric}"
        names.append(f"{figure_text(pair, 160)}\n{figure_text(setting, 160)}")
    axis.axvline(0, color="0.4", linewidth=1)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.set_ylim(-0.6, len(names) - 0.4)
    axis.set_xlabel("percentage points; right of 0: better than its baseline")
    axis.set_title(
        "Differences, 95 % intervals\n(paired bootstrap over places)"
        + (
            "\nopen: no predictions, no interval"
            if any(result.paired is None for result in comparison.differences)
            else ""
        ),
        loc="left", fontsize=9,
    )  # fmt: skip
    axis.grid(axis="x", alpha=0.25)


def _interval(
    axis: Axes, position: int, value: float, low: float, high: float, color: str,
    *, filled: bool = True,
) -> None:  # fmt: skip
    axis.plot([100 * low, 100 * high], [position] * 2, color=color, linewidth=1.6)
    face = color if filled else "white"
    axis.plot(100 * value, position, "o", color=color, markerfacecolor=face, markersize=5)
