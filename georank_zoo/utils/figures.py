"""Figures."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy.typing as npt
from matplotlib.figure import Figure

from georank_zoo.utils.errors import UsageError
from georank_zoo.utils.files import new_file

Array = npt.NDArray[Any]

# Distinguishable in the common forms of color blindness (Okabe & Ito 2008).
BASELINE, GEORANK, FLOOR = "#0072B2", "#D55E00", "#999999"
FORMATS = (".png", ".svg")
_SALT = "georank-zoo"


def style() -> AbstractContextManager[None]:
    """What all figures look like, and SVGs that are the same for the same numbers."""
    return mpl.rc_context(
        {
            "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
            "svg.hashsalt": _SALT, "svg.fonttype": "none",
        }
    )  # fmt: skip


class NotebookFigure(Figure):
    """A figure that a notebook shows, without pyplot and its global state."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, dpi=130, format="png")
        return content.getvalue()


def check_figure_path(path: Path) -> None:
    """Refuses a figure's path before anything is computed for it.

    Raises:
        UsageError: If its suffix is neither .png nor .svg.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: a figure is a {' or '.join(FORMATS)} file.")


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """The content of a `png` or `svg` file."""
    content = io.BytesIO()
    # Without the date, two figures of the same numbers are the same file.
    metadata = {"Date": None} if kind == "svg" else {}
    # And without a salt the names in it were drawn anew, whatever held when it was drawn.
    with mpl.rc_context({"svg.hashsalt": _SALT}):
        figure.savefig(content, dpi=130, format=kind, metadata=metadata)
    return content.getvalue()


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG or SVG, as the path's suffix says.

    Raises:
        UsageError: If its suffix is neither .png nor .svg.
    """
    check_figure_path(path)
    content = figure_bytes(figure, path.suffix.lower().removeprefix("."))
    with new_file(path) as temporary:
        temporary.write_bytes(content)
