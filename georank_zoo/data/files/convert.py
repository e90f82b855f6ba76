"""Numbers of a file to digital numbers of a store."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from georank_zoo.data.files.radiometry import Radiometry
from georank_zoo.utils.errors import BadItem

# A window is left out when more than this share of its pixels is no-data: beyond, the border
# of the swath becomes the strongest edge of the picture.
MAX_NODATA = 0.05

_MAX_DN = 65535
# Atmospheric correction gives slightly negative reflectance over dark targets, which is stored as
# zero. This much is an undeclared fill, such as -9999, and no data.
_FILL_DN = -5000


def harmonize(
    pixels: npt.NDArray[Any], missing: npt.NDArray[np.bool_], radiometry: Radiometry
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]]:
    """Digital numbers as a store holds them.

    Args:
        pixels: Values (bands, H, W), any real type.
        missing: Where there is no data (H, W).
        radiometry: What the values mean, by band.

    Returns:
        DN (bands, H, W), clipped at 0 and zero where there is no data, and that mask (H, W), which
        then holds the pixels too whose value cannot be.
    """
    missing = missing.copy()
    dn = np.empty(pixels.shape, np.uint16)
    for band, (gain, shift) in enumerate(zip(radiometry.gain, radiometry.shift, strict=True)):
        values = np.where(missing, 0, _numbers(pixels[band], missing, gain, shift))
        missing |= (values < _FILL_DN) | (values > _MAX_DN)
        dn[band] = np.clip(values, 0, _MAX_DN)
    dn[:, missing] = 0
    return dn, missing


def _numbers(
    values: npt.NDArray[Any], missing: npt.NDArray[np.bool_], gain: float, shift: float
) -> npt.NDArray[Any]:
    """Whole numbers of one band, before they are clipped (H, W)."""
    whole = shift.is_integer()
    if values.dtype.kind in "iu" and gain == 1 and whole:
        # A strip of a scene is large, and integers need no rounding.
        wide = np.dtype(np.int32 if values.dtype.itemsize <= 2 else np.int64)
        return np.asarray(np.add(values, int(shift), dtype=wide, casting="unsafe"))
    scaled = np.where(missing, 0, values).astype(np.float64) * gain
    return np.rint(scaled) + shift if whole else np.rint(scaled + shift)


def require_type(dtype: Any, radiometry: Radiometry) -> None:
    """Refuses a pixel type that holds neither digital numbers nor reflectance.

    Raises:
        BadItem: If it is no real number, or of 8 bits without a scale that says what they mean.
    """
    dtype = np.dtype(dtype)
    narrow = dtype.itemsize < 2 and 1 in radiometry.gain
    if dtype.kind not in "uif" or narrow:
        raise BadItem(f"wrong data type: {dtype} holds neither DN nor reflectance")


def require_some_data(pixels: npt.NDArray[np.uint16]) -> None:
    """Refuses an image that is zero throughout."""
    if not pixels.any():
        raise BadItem("all zero")


def no_data(missing: npt.NDArray[np.bool_]) -> str | None:
    """Why a window with this no-data mask (H, W) is left out; None to keep it."""
    share = float(missing.mean())
    return f"window without data: {share:.0%} of its pixels" if share > MAX_NODATA else None
