"""The map of a footprint: the Earth, and the cells that a model was pretrained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from georank_zoo.models.footprint import CELL_DEGREES, Footprint
from georank_zoo.utils.figures import save_figure, style

# Words stand for the coastlines that no installed package has: where a reader looks for them.
_LANDMARKS = {
    "NORTH\nAMERICA": (45, -102), "SOUTH\nAMERICA": (-15, -58), "EUROPE": (51, 16),
    "AFRICA": (8, 20), "ASIA": (50, 90), "AUSTRALIA": (-25, 134), "ANTARCTICA": (-80, 0),
    "Pacific": (0, -140), "Atlantic": (28, -45), "Indian\nOcean": (-25, 78),
}  # fmt: skip
# Without its yellow, which hardly shows on white.
_COLORS = ListedColormap(colormaps["viridis_r"](np.linspace(0.15, 1, 256)))
_POINTS_PER_DEGREE = 1.3  # of this figure
_LEAST_POINTS = 3.0  # side of a marker that is still seen where there are few cells


def draw_footprint(path: Path, footprint: Footprint) -> None:
    """An equirectangular world map, small, of the places per cell of one degree.

    Args:
        path: PNG or SVG file.
        footprint: Footprint to draw.

    Raises:
        UsageError: If the suffix is another.
    """
    with style():
        figure = Figure(figsize=(7.2, 3.7), layout="constrained")
        axis = figure.subplots()
        _draw_frame(axis)
        lat, lon = footprint.centers.T
        most = int(footprint.places.max())
        # Few cells are drawn larger than they are; a world full of them as they are.
        side = max(CELL_DEGREES * _POINTS_PER_DEGREE, _LEAST_POINTS)
        side = side if len(lat) < 2000 else CELL_DEGREES * _POINTS_PER_DEGREE
        order = np.argsort(footprint.places)
        dots = axis.scatter(
            lon[order], lat[order], c=footprint.places[order], s=side**2, marker="s",
            cmap=_COLORS, norm=LogNorm(1, max(most, 2)), linewidths=0, zorder=3,
        )  # fmt: skip
        if most > 1:
            ticks = [10**exponent for exponent in range(len(str(most))) if 2 * 10**exponent <= most]
            bar = figure.colorbar(dots, ax=axis, shrink=0.7, pad=0.01, label="places per cell")
            bar.set_ticks([*ticks, most], labels=[f"{tick:,}" for tick in (*ticks, most)])
            bar.minorticks_off()
        axis.set_title(
            f"Pretraining data: {int(footprint.places.sum()):,} places in {len(lat):,} cells of "
            f"{CELL_DEGREES}°",
            loc="left", fontsize=9,
        )  # fmt: skip
        save_figure(figure, path)


def _draw_frame(axis: Axes) -> None:
    axis.set(xlim=(-180, 180), ylim=(-90, 90), aspect="equal")
    axis.xaxis.set_major_locator(MultipleLocator(60))
    axis.yaxis.set_major_locator(MultipleLocator(30))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _degrees(value, "EW")))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _degrees(value, "NS")))
    axis.tick_params(length=0, labelsize=7, labelcolor="0.4")
    axis.grid(color="0.92", linewidth=0.6)
    axis.axhline(0, color="0.8", linewidth=0.8)
    for name, (lat, lon) in _LANDMARKS.items():
        land = name.isupper()
        axis.text(
            lon, lat, name, ha="center", va="center", fontsize=8 if land else 7,
            color="0.72" if land else "0.8", style="normal" if land else "italic",
            linespacing=0.95, zorder=1,
        )  # fmt: skip


def _degrees(value: float, sides: str) -> str:
    side = "" if value == 0 or abs(value) == 180 else sides[int(value < 0)]
    return f"{abs(value):.0f}°{side}"
