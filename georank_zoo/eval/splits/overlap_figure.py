"""Figure of an overlap: where evaluation patches lie, and how far from pretraining."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from georank_zoo.eval.splits.overlap import RADII_KM, Overlap
from georank_zoo.utils.figures import save_figure, style
from georank_zoo.utils.untrusted_text import figure_text

_Array = npt.NDArray[Any]

_COLORS = colormaps["viridis"]
_NEAREST_KM = 0.1  # nearer ones stand at the left end: patch centers tell no more
_MANY = 5000  # points that make a vector figure slow; drawn as pixels then


def draw_overlap(
    path: Path, found: Overlap, *, title: str, radii: Sequence[float] = RADII_KM
) -> None:
    """A map of the evaluation patches by distance, and the distances' histogram.

    The map is equirectangular around the evaluation patches, without coastlines.

    Args:
        path: PNG or SVG file.
        found: Overlap to draw.
        title: Heading.
        radii: Marked in the histogram, km.

    Raises:
        UsageError: If the suffix is another.
    """
    km = np.maximum(found.km, _NEAREST_KM)
    high = max(float(km.max()), 10 * _NEAREST_KM)
    norm = LogNorm(max(_NEAREST_KM, float(km.min()) / 1.05), high * 1.05)
    with style():
        figure = Figure(figsize=(10.5, 4.6), layout="constrained")
        map_axis, histogram = figure.subplots(1, 2, width_ratios=(1, 1.1))
        _draw_map(map_axis, found, _COLORS(norm(km)))
        _draw_histogram(histogram, found, km, norm, radii)
        figure.suptitle(figure_text(title, 200))
        save_figure(figure, path)


def _draw_map(axis: Axes, found: Overlap, colors: _Array) -> None:
    (south, west), (north, east) = found.latlon.min(axis=0), found.latlon.max(axis=0)
    middle = np.deg2rad(np.clip((south + north) / 2, -60, 60))
    # At least 2 degrees, and a margin in which near pretraining places show.
    side = max(0.15 * max(north - south, (east - west) * np.cos(middle)), 2.0)
    axis.set(
        xlim=(max(west - side / np.cos(middle), -180), min(east + side / np.cos(middle), 180)),
        ylim=(max(south - side, -90), min(north + side, 90)),
        xlabel="longitude", ylabel="latitude",
    )  # fmt: skip
    axis.set_aspect(1 / np.cos(middle), adjustable="box")
    (low_x, high_x), (low_y, high_y) = axis.get_xlim(), axis.get_ylim()
    lat, lon = found.pretrain_latlon.T
    shown = (lon >= low_x) & (lon <= high_x) & (lat >= low_y) & (lat <= high_y)
    # Far ones first: what lies near pretraining must not be covered.
    order = np.argsort(-found.km)
    axis.scatter(
        found.latlon[order, 1], found.latlon[order, 0], c=colors[order], s=_marker(len(order)),
        linewidths=0, rasterized=len(order) > _MANY, zorder=3,
    )  # fmt: skip
    axis.scatter(
        lon[shown], lat[shown], marker="x", color="#D55E00", s=16,
        linewidths=1, rasterized=int(shown.sum()) > _MANY, zorder=2, label="pretraining",
    )  # fmt: skip
    axis.grid(alpha=0.2)
    axis.set_title(
        f"{len(found.km):,} evaluation patches (dots), {int(shown.sum()):,} of {len(lon):,}\n"
        "pretraining positions are in this window (crosses)",
        loc="left", fontsize=9,
    )  # fmt: skip


def _marker(count: int) -> float:
    """Area of a marker in points squared, the smaller the more there are."""
    return float(np.clip(4000 / max(count, 1), 6, 20))


def _draw_histogram(
    axis: Axes, found: Overlap, km: _Array, norm: LogNorm, radii: Sequence[float]
) -> None:
    assert norm.vmin is not None and norm.vmax is not None
    edges = np.geomspace(norm.vmin, norm.vmax, 25)
    counts, _ = np.histogram(km, edges)
    middle = np.sqrt(edges[1:] * edges[:-1])
    axis.bar(
        edges[:-1], counts, np.diff(edges), align="edge", color=_COLORS(norm(middle)),
        edgecolor="white", linewidth=0.4,
    )  # fmt: skip
    axis.set(xscale="log", xlabel="km to the nearest pretraining place", ylabel="patches")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    share = axis.twinx()
    share.spines["right"].set_visible(True)
    share.ecdf(km, color="0.15", linewidth=1.4, label="to pretraining")
    if found.train_km is not None:
        train = np.maximum(found.train_km, _NEAREST_KM)
        share.ecdf(train, color="0.15", linewidth=1.4, linestyle=":", label="to training patches")
        share.legend(frameon=False, loc="upper left")
        axis.set_xlabel("km to the nearest pretraining place (dotted: training patch)")
    share.set(ylim=(0, 1.02), ylabel="share of patches within this distance")
    share.yaxis.set_major_formatter(PercentFormatter(1))
    low, high = axis.get_xlim()
    for radius in radii:
        if low < radius < high:
            axis.axvline(radius, color="0.75", linewidth=0.8, linestyle="--", zorder=0)
    axis.set_title(
        "Bars: patches, in the colors of the map\nLines: share of patches within a distance",
        loc="left",
        fontsize=9,
    )
