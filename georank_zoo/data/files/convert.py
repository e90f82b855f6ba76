"""Numbers of a file to digital numbers of a store, and where there is no data."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from georank_zoo import bands as s2
from georank_zoo.utils.errors import BadItem, UsageError

# A window is left out when more than this share of its pixels is no-data: beyond, the border
# of the swath becomes the strongest edge of the picture.
MAX_NODATA = 0.05

# Atmospheric correction gives slightly negative reflectance over dark targets; less than this
# is not one (offset of baseline 04.00 is -1000 DN, so -1000 is the least that L2A can hold).
_MIN_DN = -1000.0
_MAX_DN = 65535.0


def harmonize(
    pixels: npt.NDArray[Any], unit: s2.Unit, *, nodata: float | None = None, offset: int = 0
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]]:
    """Digital numbers as a store holds them.

    Args:
        pixels: Values (bands, H, W), any real type.
        unit: Unit of the values.
        nodata: The value that means no data. Zero in all bands and NaN always do.
        offset: DN to subtract: 1000 for processing baseline >= 04.00.

    Returns:
        DN (bands, H, W), clipped at 0 and zero where there is no data, and that mask (H, W).

    Raises:
        BadItem: If the values contradict the unit.
    """
    if pixels.dtype.kind not in "uif" or pixels.dtype.itemsize < 2:
        raise BadItem(f"wrong data type: {pixels.dtype} holds neither DN nor reflectance")
    missing = (pixels == 0).all(axis=0) | ~np.isfinite(pixels).all(axis=0)
    if nodata:
        missing |= (pixels == nodata).any(axis=0)
    values = np.where(missing, 0, pixels)
    low, high = float(values.min()), float(values.max())
    dn = values.astype(np.float64) * (s2.DN_PER_REFLECTANCE if unit == "reflectance" else 1.0)
    try:
        s2.check_unit(low, high, unit, where="the file")
    except UsageError as error:
        raise BadItem(f"values contradict unit {unit!r}: {error}") from error
    if dn.min() < _MIN_DN or dn.max() > _MAX_DN:
        raise BadItem(f"values contradict unit {unit!r}: range {low:g} to {high:g}")
    dn = np.where(missing, 0, np.rint(dn) - offset)
    return np.clip(dn, 0, _MAX_DN).astype(np.uint16), missing


def require_some_data(pixels: npt.NDArray[np.uint16]) -> None:
    """Refuses an image that is zero throughout."""
    if not pixels.any():
        raise BadItem("all zero")


def no_data(missing: npt.NDArray[np.bool_]) -> str | None:
    """Why a window with this no-data mask (H, W) is left out; None to keep it."""
    share = float(missing.mean())
    return f"window without data: {share:.0%} of its pixels" if share > MAX_NODATA else None
