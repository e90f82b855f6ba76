"""Whether the values of a file are what they are said to be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

from georank_zoo import bands as s2
from georank_zoo.data.files.radiometry import Radiometry
from georank_zoo.utils.errors import BadItem, UsageError

# Values of a band that are looked at: quantiles of more say no more.
_SAMPLED = 1_000
# A large raster is judged by 4 x 4 windows of this side: a part of it may be odd.
_WINDOWS, _SIDE = 4, 64
# Where these windows hold fewer valid values than this, all of the raster is searched for more.
_FEW, _SEARCHED = 50, 512

# Half of a scene is brighter than snow: per cent, or digital numbers.
_MAX_MEDIAN = 2.0
# Water at night is brighter than this in its brightest band, and per cent are not.
_MIN_BRIGHT_DN = 30.0
# An offset that is in leaves few values below -0.03, even in shadow; one that is not leaves most.
_BELOW_DN, _MAX_BELOW = -300.0, 0.2

Read = Callable[[Window], tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]]


def judge(valid: npt.NDArray[Any], radiometry: Radiometry) -> None:
    """Refuses values that cannot be what they are said to be, by their quantiles.

    Args:
        valid: Values (bands, n) as the file holds them, where it holds data.
        radiometry: What the values are said to mean.

    Raises:
        BadItem: Says what they look like. Its cause is a `UsageError`: options may be wrong.
    """
    valid = valid[:, :: valid.shape[1] // _SAMPLED + 1].astype(np.float64)
    if valid.size == 0:
        return
    gain, shift = (np.array(pair)[:, None] for pair in (radiometry.gain, radiometry.shift))
    dn = valid * gain + shift
    unit: s2.Unit = "dn" if set(radiometry.gain) == {1.0} else "reflectance"
    # An offset that is not in would hide what the numbers are.
    plain = valid if unit == "dn" else dn
    low, high = np.quantile(plain, s2.UNIT_QUANTILES)
    per = 1.0 if unit == "dn" else s2.DN_PER_REFLECTANCE
    try:
        s2.check_unit(low / per, high / per, unit, where="the file")
        _require_plausible(dn, plain, unit, radiometry)
    except UsageError as error:
        raise BadItem(f"values contradict unit {unit!r}: {error}") from error


def _require_plausible(
    dn: npt.NDArray[np.float64],
    plain: npt.NDArray[np.float64],
    unit: s2.Unit,
    radiometry: Radiometry,
) -> None:
    median = float(np.median(dn)) / s2.DN_PER_REFLECTANCE
    if unit == "reflectance" and median > _MAX_MEDIAN:
        raise UsageError(
            f"half of the file is brighter than {median:.3g}, where 1 is white. It looks like "
            "reflectance in per cent or digital numbers."
        )
    bright = float(np.quantile(plain, 0.95, axis=1).max())
    if bright < _MIN_BRIGHT_DN:
        raise UsageError(
            f"no band is brighter than {bright:.3g} DN, a reflectance of "
            f"{bright / s2.DN_PER_REFLECTANCE:.2g}. It looks like reflectance in per cent, or in "
            "another scale."
        )
    below, offset = float((dn < _BELOW_DN).mean()), -min(radiometry.shift)
    if offset > 0 and below > _MAX_BELOW:
        raise UsageError(
            f"the offset of {offset:g}, by {radiometry.source}, is not in these values: without "
            f"it, {below:.0%} of them would be less than {_BELOW_DN:g} DN. Where that is wrong, "
            "--radiometry options counts --unit and --offset alone."
        )


def sample(read: Read, shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Valid values (bands, n) of windows from all over a large raster.

    Of a raster with little data, such as the tip of a swath, they are those found first: values
    that no one looked at would pass for anything.

    Args:
        read: Reads the values (bands, h, w) and the no-data mask (h, w) of a window.
        shape: Height and width of the raster.
    """
    parts = []
    for window in _spread(shape):
        pixels, missing = read(window)
        valid = pixels[:, ~missing]
        # A copy, so that the window itself is not kept.
        parts.append(valid[:, :: valid.shape[1] * _WINDOWS**2 // _SAMPLED + 1].copy())
    if sum(part.shape[1] for part in parts) < _FEW:
        parts += _search(read, shape)
    return np.concatenate(parts, axis=1)


def _search(read: Read, shape: tuple[int, int]) -> Iterator[npt.NDArray[Any]]:
    """Valid values (bands, n) of one window after the other, until they are enough."""
    found = 0
    for row in range(0, shape[0], _SEARCHED):
        for col in range(0, shape[1], _SEARCHED):
            height, width = min(_SEARCHED, shape[0] - row), min(_SEARCHED, shape[1] - col)
            pixels, missing = read(Window(col, row, width, height))
            valid = pixels[:, ~missing]
            yield valid[:, :: valid.shape[1] // _SAMPLED + 1].copy()
            found += valid.shape[1]
            if found >= _SAMPLED:
                return


def _spread(shape: tuple[int, int]) -> list[Window]:
    """Windows at even distances, from edge to edge; one where the raster is no larger."""
    spans = []
    for side in shape:
        length = min(side, _SIDE)
        count = min(_WINDOWS, -(-side // _SIDE))
        spans.append([(round(at), length) for at in np.linspace(0, side - length, count)])
    return [Window(col, row, width, height) for row, height in spans[0] for col, width in spans[1]]
