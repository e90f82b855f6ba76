"""Training curves: losses, probe scores and learning rate over the steps of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from georank_zoo.utils.errors import UsageError
from georank_zoo.utils.figures import BASELINE, FLOOR, GEORANK, NotebookFigure, style
from georank_zoo.utils.untrusted_text import figure_text

Rows = Sequence[Mapping[str, Any]]

_PROBE_LABELS = {
    "probe_accuracy_macro": "k-NN accuracy (macro)",
    "probe_ap_macro": "k-NN average precision (macro)",
    "probe_geo_spearman": "Spearman: similarity, nearness",
}


def draw_curves(rows: Rows, title: str) -> NotebookFigure:
    """The curves of a run, one panel for each loss term, the probe and the learning rate.

    Args:
        rows: Lines of the run's log.
        title: Heading.

    Raises:
        UsageError: If no step was logged yet.
    """
    logged = [row for row in rows if "loss" in row]
    if not logged:
        raise UsageError("Nothing is logged yet: the first steps are written after ten steps.")
    terms = [name for name in logged[0] if name.startswith("loss_") and name != "loss_ssl"]
    probes = [row for row in rows if any(name in row for name in _PROBE_LABELS)]
    with style():
        count = 2 + len(terms) + bool(probes)
        figure = NotebookFigure(figsize=(3.3 * count, 2.9), layout="constrained")
        axes = iter(figure.subplots(1, count, squeeze=False)[0])
        _draw_self_supervised(next(axes), logged, has_terms=bool(terms))
        for term in terms:
            name = term.removeprefix("loss_")
            axis = next(axes)
            _draw(axis, logged, term, color=GEORANK)
            axis.set_title(f"Regularizer: {figure_text(name)}", loc="left")
            axis.set(xlabel="step", ylabel="loss")
        if probes:
            _draw_probe(next(axes), probes)
        axis = next(axes)
        _draw(axis, logged, "lr", color="0.2")
        axis.set_title("Learning rate", loc="left")
        axis.set(xlabel="step", ylabel="learning rate")
        axis.set_ylim(bottom=0)
        for axis in figure.axes:
            axis.set_xlim(0, rows[-1]["step"])
        figure.suptitle(figure_text(title, 200), x=0.01, ha="left")
    return figure


def _draw(axis: Axes, rows: Rows, name: str, *, color: str, label: str | None = None) -> None:
    points = [(row["step"], row[name]) for row in rows if name in row]
    marker = "o" if len(points) <= 30 else None
    axis.plot(*zip(*points, strict=True), color=color, label=label, marker=marker, markersize=3)


def _draw_self_supervised(axis: Axes, rows: Rows, *, has_terms: bool) -> None:
    if has_terms:
        _draw(axis, rows, "loss", color=FLOOR, label="weighted sum")
    _draw(axis, rows, "loss_ssl", color=BASELINE, label="self-supervised")
    axis.set_title("Loss", loc="left")
    axis.set(xlabel="step", ylabel="loss")
    if has_terms:
        axis.legend(frameon=False)


def _draw_probe(axis: Axes, rows: Rows) -> None:
    names = [name for name in _PROBE_LABELS if any(name in row for row in rows)]
    for name in names:
        color = GEORANK if name == "probe_geo_spearman" else BASELINE
        _draw(axis, rows, name, color=color, label=_PROBE_LABELS[name])
    axis.set_title("Probe", loc="left")
    axis.set(xlabel="step", ylabel="score")
    axis.legend(frameon=False)
