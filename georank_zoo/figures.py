"""Figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from georank_zoo.errors import UsageError
from georank_zoo.eval.results import Row
from georank_zoo.files import new_file
from georank_zoo.geo import great_circle_km

Array = npt.NDArray[Any]

# Distinguishable in the common forms of colour blindness (Okabe & Ito 2008).
BASELINE, GEORANK, FLOOR = "#0072B2", "#D55E00", "#999999"
FORMATS = (".png", ".svg")
_KM_EDGES = np.geomspace(50, 20_000, 16)


def style() -> AbstractContextManager[None]:
    """What all figures look like, and SVGs that are the same for the same numbers."""
    return mpl.rc_context(
        {
            "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
            "svg.hashsalt": "georank-zoo", "svg.fonttype": "none",
        }
    )  # fmt: skip


def check_figure_path(path: Path) -> None:
    """Refuses a figure's path before anything is computed for it.

    Raises:
        UsageError: If its suffix is neither .png nor .svg.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: a figure is a {' or '.join(FORMATS)} file.")


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG or SVG, as the path's suffix says, beside and then renamed.

    Raises:
        UsageError: If its suffix is neither .png nor .svg.
    """
    check_figure_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.lower().removeprefix(".")
    # Without the date, two figures of the same numbers are the same file.
    metadata = {"Date": None} if kind == "svg" else {}
    with new_file(path) as beside:
        figure.savefig(beside, dpi=130, format=kind, metadata=metadata)


def draw_comparison(
    path: Path,
    *,
    latlon: npt.NDArray[np.float64],
    features: Mapping[str, Array],
    rows: Sequence[Row],
    title: str,
) -> None:
    """Two models side by side on held-out places: maps, similarity over distance, accuracy.

    Args:
        path: PNG file.
        latlon: Positions (N, 2) of the held-out patches.
        features: Their features (N, D) by model, the baseline first.
        rows: Evaluation results of the models and their floors.
        title: Of the figure.
    """
    with style():
        figure = Figure(figsize=(11, 6.4), layout="constrained")
        axes = figure.subplots(2, 2, width_ratios=(1.6, 1))
        for axis, (name, values) in zip(axes[:, 0], features.items(), strict=True):
            _draw_map(axis, latlon, values, name)
        _draw_similarity(axes[0, 1], latlon, features)
        _draw_scores(axes[1, 1], rows, list(features))
        figure.suptitle(title)
        save_figure(figure, path)


def _draw_map(axis: Axes, latlon: Array, features: Array, name: str) -> None:
    colours = _principal_colours(features)
    axis.scatter(latlon[:, 1], latlon[:, 0], c=colours, s=14, linewidths=0)
    axis.set(xlim=(-180, 180), ylim=(-60, 75), xlabel="longitude", ylabel="latitude")
    axis.set_title(f"{name}: first three principal components of its features", loc="left")
    axis.grid(alpha=0.2)


def _principal_colours(features: Array) -> Array:
    """The first three principal components (N, 3) as colours, each over its 2-98 % range."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    scores = centred @ directions[:3].T
    low, high = np.percentile(scores, (2, 98), axis=0)
    colours: Array = np.clip((scores - low) / (high - low), 0, 1)
    return colours


def _draw_similarity(axis: Axes, latlon: Array, features: Mapping[str, Array]) -> None:
    pairs = np.triu_indices(len(latlon), 1)
    positions = torch.from_numpy(latlon)
    km = great_circle_km(positions, positions).numpy()[pairs]
    middle = np.sqrt(_KM_EDGES[1:] * _KM_EDGES[:-1])
    bins = np.digitize(km, _KM_EDGES) - 1
    for (name, values), colour in zip(features.items(), (BASELINE, GEORANK), strict=True):
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        similarity = (unit @ unit.T)[pairs]
        # In standard deviations of the model's own similarities: models differ in their spread.
        z = (similarity - similarity.mean()) / similarity.std()
        means = [z[bins == b].mean() if (bins == b).any() else np.nan for b in range(len(middle))]
        axis.plot(middle, means, "o-", color=colour, markersize=3.5, label=name)
    axis.set(xscale="log", xlabel="distance (km)", ylabel="cosine similarity (z-score)")
    axis.set_title("Similarity of held-out places over distance", loc="left")
    axis.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    axis.legend(frameon=False)


def _draw_scores(axis: Axes, rows: Sequence[Row], models: Sequence[str]) -> None:
    shown = [row for row in rows if row.metric == "accuracy_macro"]
    for position, row in enumerate(reversed(shown)):
        colour = dict(zip(models, (BASELINE, GEORANK), strict=True)).get(row.model, FLOOR)
        error = [[100 * (row.value - row.ci_low)], [100 * (row.ci_high - row.value)]]
        axis.barh(position, 100 * row.value, color=colour, height=0.65)
        axis.errorbar(100 * row.value, position, xerr=error, color="0.2", capsize=3, linewidth=1)
        axis.text(1, position, f"{100 * row.value:.1f}", color="white", va="center", weight="bold")
    axis.set_yticks(range(len(shown)), [row.model for row in reversed(shown)])
    axis.set(xlim=(0, 100), xlabel="accuracy macro (%)")
    axis.set_title("k-NN on held-out places, 95 % intervals", loc="left")
