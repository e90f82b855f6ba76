"""Latitude and longitude in degrees, without torch: readers' processes start faster so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from georank_zoo.utils.errors import UsageError


def check_degrees(
    latlon: npt.NDArray[np.floating[Any]], *, where: str, rows: Sequence[str] | None = None
) -> None:
    """Refuses positions that are not WGS84 latitude and longitude in degrees.

    Args:
        latlon: Positions (N, 2): latitude in [-90, 90], longitude in [-180, 180].
        where: Name of what holds them, for the message.
        rows: Names of the positions, for the message; `row 0`, `row 1`, ... by default.

    Raises:
        UsageError: On NaN or a value out of range; says when latitude and longitude look swapped.
    """
    lat, lon = np.abs(latlon).T
    # Written so that NaN is invalid too.
    invalid = ~((lat <= 90) & (lon <= 180))
    if not invalid.any():
        return
    row = int(invalid.argmax())
    swapped = bool(((lon <= 90) & (lat <= 180)).all())
    hint = " Latitude and longitude look swapped." if swapped else ""
    raise UsageError(
        f"{where}: {int(invalid.sum())} of {len(latlon)} positions are invalid; the first is "
        f"{rows[row] if rows else f'row {row}'}: lat {latlon[row, 0]:g}, lon {latlon[row, 1]:g}. "
        f"Latitude must lie in [-90, 90] and longitude in [-180, 180] degrees.{hint}"
    )
