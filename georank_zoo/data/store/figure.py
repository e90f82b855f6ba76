"""Figures of a store: a patch in true color, and a map of the places."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch as Swatch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from georank_zoo import bands as s2
from georank_zoo.data.store.mapped_store import MappedStore
from georank_zoo.data.store.patch import NO_LABEL, NO_TIME, UNKNOWN
from georank_zoo.utils.errors import StoreError
from georank_zoo.utils.figures import NotebookFigure, style
from georank_zoo.utils.untrusted_text import figure_text

_RGB = s2.resolve("rgb")
_STRETCH = (2, 98)  # percentiles, nearly black and white
_HAZE = 0.85  # share of the lower one
_LEAST_RANGE = 0.04  # reflectance; a calm lake stays dark and does not become noise

# Okabe & Ito 2008, distinguishable in the common forms of color blindness.
_COLORS = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000",
)  # fmt: skip
_OTHER, _UNLABELED, _UNKNOWN = "#999999", "#D0D0D0", "#E6E6E6"
_MARGIN_DEGREES = 0.01
_LONGEST_NAME = 28  # characters of a class in a title or a legend


def draw_patch(store: MappedStore, index: int) -> NotebookFigure:
    """Draws a patch in true color or, without those bands, its first band in gray.

    Args:
        store: Store of the patch.
        index: Position of the patch, 0 or more.
    """
    masked = store.target == "mask"
    with style():
        figure = NotebookFigure(figsize=(8.4, 3.7) if masked else (3.6, 3.9), layout="constrained")
        axes = figure.subplots(1, 2 if masked else 1, squeeze=False)[0]
        in_color = not s2.missing(store.bands, _RGB)
        bands = _RGB if in_color else store.bands[:1]
        pixels = store.read(np.array([index]), bands)[0] / s2.DN_PER_REFLECTANCE
        image = stretch(pixels).transpose(1, 2, 0)
        axes[0].imshow(image if in_color else image[..., 0], cmap="gray", vmin=0, vmax=1)
        axes[0].set_title("true color" if in_color else bands[0], fontsize=8, color="0.4")
        if masked:
            _draw_mask(axes[1], store, index)
        for axis in axes:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        figure.suptitle(_title(store, index), fontsize=9)
    return figure


def stretch(reflectance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Brightness 0 to 1 of reflectance (C, H, W).

    Most of each band's own 2nd percentile is taken off, for it is largely haze, which would lay
    a blue veil over Level-1C; the range up to the 98th percentile is one for all bands, which
    keeps the hues.
    """
    low, high = np.percentile(reflectance, _STRETCH, axis=(1, 2), keepdims=True)
    low = _HAZE * low
    bright = (reflectance - low) / max(float((high - low).max()), _LEAST_RANGE)
    return np.asarray(bright.clip(0, 1))


def _title(store: MappedStore, index: int) -> str:
    facts = [f"place {store.place[index]}"]
    if store.time[index] != NO_TIME:
        facts.append(datetime.fromtimestamp(int(store.time[index]), UTC).date().isoformat())
    if store.located[index]:
        lat, lon = store.latlon[index]
        facts.append(f"{_degrees(lat, 'NS', 3)} {_degrees(lon, 'EW', 3)}")
    lines = [f"Patch {index}", " · ".join(facts)]
    if store.target != "mask" and store.class_names:
        lines[0] += f": {_annotation(store, index)}"
    return "\n".join(lines)


def _annotation(store: MappedStore, index: int) -> str:
    if not store.labeled[index]:
        return "unlabeled"
    if store.labels is None:
        return _short(store.class_names[store.label[index]])
    present = [_short(store.class_names[c]) for c in np.flatnonzero(store.labels[index])]
    shown = ", ".join(present[:2]) or "none of the classes"
    return shown + (f" and {len(present) - 2} more" if len(present) > 2 else "")


def _draw_mask(axis: Axes, store: MappedStore, index: int) -> None:
    mask = store.masks(np.array([index]))[0]
    classes, counts = np.unique(mask[mask != UNKNOWN], return_counts=True)
    colors = _colors_of(store, dict(zip(classes.tolist(), counts.tolist(), strict=True)))
    image = np.full((*mask.shape, 3), to_rgb(_UNKNOWN))
    for label in classes:
        image[mask == label] = to_rgb(colors.get(int(label), _OTHER))
    axis.imshow(image, interpolation="nearest")
    axis.set_title("mask", fontsize=8, color="0.4")
    swatches = [
        Swatch(facecolor=color, label=_short(store.class_names[label]))
        for label, color in colors.items()
    ]
    if len(classes) > len(colors):
        swatches.append(Swatch(facecolor=_OTHER, label=f"{len(classes) - len(colors)} more"))
    if (mask == UNKNOWN).any():
        swatches.append(Swatch(facecolor=_UNKNOWN, label="unknown"))
    axis.legend(handles=swatches, loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)


def draw_map(store: MappedStore) -> NotebookFigure:
    """Draws where the places lie, a dot a footprint, colored by class.

    Of more classes than colors the rarer ones share a gray, and so do unlabeled places.

    Raises:
        StoreError: If no patch has a position.
    """
    first = np.unique(store.footprint, return_index=True)[1]
    first = first[store.located[first]]
    if not len(first):
        raise StoreError(
            f"Store {store.path} has no positions to map (the {store.header.reader} files hold "
            "none). Choose a store with positions; plot(i) draws its patches."
        )
    lat, lon = store.latlon[first].T
    stretched = 1 / max(np.cos(np.deg2rad((lat.min() + lat.max()) / 2)), 0.2)
    (west, east), (south, north) = _span(lon, 180), _span(lat, 90)
    shape = (north - south) * stretched / (east - west)
    colors, handles = _colored(store, first)
    # Patches of a class follow each other, and the last must not hide the first.
    order = np.random.default_rng(0).permutation(len(first))
    with style():
        size = (7.2, float(np.clip(5.2 * shape, 2.0, 4.6)) + 0.6)
        figure = NotebookFigure(figsize=size, layout="constrained")
        axis = figure.subplots()
        side = float(np.clip(60 / len(first) ** 0.35, 2, 5))
        axis.scatter(lon[order], lat[order], s=side**2, c=colors[order], linewidths=0, alpha=0.9)
        axis.set(xlim=(west, east), ylim=(south, north), aspect=stretched)
        _label_degrees(axis)
        if handles:
            figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=8)
        places = len(np.unique(store.place[first]))
        name = figure_text(store.path.name)
        axis.set_title(f"{places:,} places of {name}", loc="left", fontsize=9)
    return figure


def _colors_of(store: MappedStore, counts: dict[int, int]) -> dict[int, str]:
    """Colors of the classes that are there: a class's own, or by frequency if there are many."""
    if len(store.class_names) <= len(_COLORS):
        return {label: _COLORS[label] for label in sorted(counts)}
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    return dict(zip(ranked, _COLORS, strict=False))


def _colored(
    store: MappedStore, rows: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.str_], list[Line2D]]:
    """The color of each of the patches (n,), and the legend; none if there is one color."""
    colors = np.full(len(rows), _COLORS[0])
    labels = store.label[rows]
    if (labels == NO_LABEL).all():
        return colors, []
    known, counts = np.unique(labels[labels != NO_LABEL], return_counts=True)
    named = _colors_of(store, dict(zip(known.tolist(), counts.tolist(), strict=True)))
    groups = [(store.class_names[k], color, labels == k) for k, color in named.items()]
    rare = [label for label in known.tolist() if label not in named]
    if rare:
        groups.append(
            (
                f"{len(rare)} more class{'es' if len(rare) > 1 else ''}",
                _OTHER,
                np.isin(labels, rare),
            )
        )
    if (labels == NO_LABEL).any():
        groups.append(("unlabeled", _UNLABELED, labels == NO_LABEL))
    for _, color, chosen in groups:
        colors[chosen] = color
    return colors, [
        _dot(f"{_short(name)} ({int(chosen.sum()):,})", color) for name, color, chosen in groups
    ]


def _span(degrees: npt.NDArray[np.float64], limit: float) -> tuple[float, float]:
    """The range of an axis: that of the places and a little more, within the globe."""
    low, high = float(degrees.min()), float(degrees.max())
    margin = 0.05 * (high - low) + _MARGIN_DEGREES
    return max(low - margin, -limit), min(high + margin, limit)


def _label_degrees(axis: Axes) -> None:
    for side, letters in ((axis.xaxis, "EW"), (axis.yaxis, "NS")):
        side.set_major_locator(MaxNLocator(6, steps=[1, 1.5, 2, 3, 5, 10]))
        side.set_major_formatter(_formatter(letters))
    axis.tick_params(length=0, labelsize=7, labelcolor="0.4")
    axis.grid(color="0.92", linewidth=0.6)
    axis.set_axisbelow(True)


def _formatter(letters: str) -> FuncFormatter:
    return FuncFormatter(lambda value, _: _degrees(value, letters))


def _degrees(value: float, letters: str, digits: int = 4) -> str:
    """Degrees with the letter of their side, without needless zeros."""
    shown = f"{abs(value):.{digits}f}".rstrip("0").rstrip(".")
    return f"{shown}°{'' if float(shown) == 0 else letters[int(value < 0)]}"


def _dot(label: str, color: str) -> Line2D:
    return Line2D([], [], color=color, marker="o", linestyle="", markersize=5, label=label)


def _short(name: str) -> str:
    return figure_text(name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…")
