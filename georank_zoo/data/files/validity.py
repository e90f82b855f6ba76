"""Which pixels of a file hold data: declared, masked, transparent, or plainly a fill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from scipy import ndimage

from georank_zoo.data.files.radiometry import Radiometry

Mask = npt.NDArray[np.bool_]

# Pixels of 10 m in one of 60 m, as far as resampling reaches.
_COARSEST = 6
# ESA's value of saturated pixels, and what most writers fill uint16 with.
_SATURATED = 65535
# The last numbers of common types, also of files stored wider, which in all bands are a fill.
_LAST = [np.iinfo(kind).max for kind in ("i2", "u2")]
# Fills of floating point lie far beyond any scale: 1e20, 9.97e36, 3.4e38.
_BEYOND = 1e19
# A constant in all bands of no more DN than this is no surface: 0, 1, or a fill that went through
# an offset and a scale (-1000, -0.1, -0.9999).
_DARK_DN = 1.0
# Zeros that border on values of up to this many DN are dark water, which was clipped at zero; at
# the edge of a swath the values are those of any surface.
_WATER_DN = 100.0


def read(
    sources: Sequence[tuple[Any, int]], window: Window, radiometry: Radiometry
) -> tuple[npt.NDArray[Any], Mask]:
    """Reads channels on one grid, and where one of them holds no data.

    Args:
        sources: The raster of each band and the channel in it, counted from 1. A `WarpedVRT` is
            asked for its values, and the raster behind it for what is valid.
        window: Rows and columns of the grid, within it.
        radiometry: Of the bands, in the same order.

    Returns:
        Values (bands, h, w) of the files' type, and that mask (h, w).
    """
    if len({id(dataset) for dataset, _ in sources}) == 1:
        pixels = sources[0][0].read([channel for _, channel in sources], window=window)
    else:
        pixels = np.stack([dataset.read(channel, window=window) for dataset, channel in sources])
    missing = fill(pixels, radiometry)
    zero = pixels == 0
    look_behind = bool(zero.any())
    coarse = [isinstance(dataset, WarpedVRT) for dataset, _ in sources]
    for dataset in {id(dataset): dataset for dataset, _ in sources}.values():
        own = [(i, c) for i, (other, c) in enumerate(sources) if other is dataset]
        gains = [radiometry.gain[i] for i, _ in own]
        channels = [c for _, c in own]
        if not isinstance(dataset, WarpedVRT):
            missing |= declared(dataset, channels, window, pixels[[i for i, _ in own]], gains)
        elif look_behind or _can_hide(dataset.src_dataset, channels):
            part, touch = _behind(dataset, window)
            values = dataset.src_dataset.read(channels, window=part)
            missing |= touch(declared(dataset.src_dataset, channels, part, values, gains))
            for (i, _), band in zip(own, values, strict=True):
                zero[i] = touch(band == 0)
    return pixels, missing | nothing(zero, coarse)


def declared(
    dataset: Any,
    channels: Sequence[int],
    window: Window | None,
    values: npt.NDArray[Any],
    gains: Sequence[float],
) -> Mask:
    """Where the no-data value of a channel, a mask or an alpha band says that there is no data.

    Args:
        dataset: An open raster.
        channels: Channels of it, counted from 1.
        window: The part that was read; all of it by default.
        values: What was read (channels, h, w).
        gains: DN per number, by channel.
    """
    missing: Mask = np.zeros(values.shape[1:], bool)
    numbers = dataset.nodatavals
    for channel, band, gain in zip(channels, values, gains, strict=True):
        missing |= _no_data_value(numbers[channel - 1], band, gain)
    for channel in _mask_channels(dataset, channels):
        missing |= dataset.read_masks(channel, window=window) == 0
    for alpha in _alphas(dataset):
        missing |= dataset.read(alpha, window=window) == 0
    return missing


def nothing(zero: Mask, coarse: Sequence[bool]) -> Mask:
    """Where all bands are zero, and where a coarser band is mixed with such zeros (h, w).

    Args:
        zero: Where each band is zero (bands, h, w); of a coarser one, where a pixel that it is
            resampled from is, see `onto`.
        coarse: Which bands are resampled from coarser pixels.
    """
    none: Mask = np.asarray(zero.all(axis=0))
    if none.any() and any(coarse):
        near = ndimage.binary_dilation(none, iterations=_COARSEST)
        none = np.asarray(none | (near & zero[np.array(coarse)].any(axis=0)))
    return none


def fill(pixels: npt.NDArray[Any], radiometry: Radiometry) -> Mask:
    """Where values (bands, H, W) of one image can be seen to be none (H, W).

    Zero in all bands, NaN, infinity, saturation, fills of the type's last number, and the same dark
    number in all bands.
    """
    missing: Mask = (pixels == 0).all(axis=0)
    if pixels.dtype.kind == "f":
        missing |= ~(np.abs(pixels) < _BEYOND).all(axis=0)
    for band, gain in zip(pixels, radiometry.gain, strict=True):
        if gain == 1:
            missing |= band == _SATURATED
    same = (pixels == pixels[0]).all(axis=0) & ~missing
    if len(pixels) < 2 or not same.any():
        return missing
    numbers = pixels[0][same].astype(np.float64)
    pairs = zip(radiometry.gain, radiometry.shift, strict=True)
    none = np.all([numbers * gain + shift <= _DARK_DN for gain, shift in pairs], axis=0)
    last = _LAST if pixels.dtype.kind == "f" else [*_LAST, np.iinfo(pixels.dtype).max]
    missing[same] |= none | np.isin(numbers, last)
    return missing


def onto(mask: Mask, shape: tuple[int, int]) -> Mask:
    """A mask on another grid of the same bounds, True where one of the pixels is that are mixed.

    Args:
        mask: Mask of a raster (h, w).
        shape: Height and width of the other grid, on which the raster is resampled bilinearly.
    """
    for axis, side in enumerate(shape):
        low, high = _neighbors(0, side, side, mask.shape[axis])
        mask = mask.take(low, axis) | mask.take(high, axis)
    return mask


def _neighbors(
    start: int, stop: int, side: int, native: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The native pixels on both sides of the centers of pixels `start` to `stop` of a grid."""
    center = (np.arange(start, stop) + 0.5) * native / side - 0.5
    low = np.floor(center + 1e-9).astype(np.int64)
    high = np.ceil(center - 1e-9).astype(np.int64)
    return low.clip(0, native - 1), high.clip(0, native - 1)


def _behind(view: WarpedVRT, window: Window) -> tuple[Window, Callable[[Mask], Mask]]:
    """The window behind that of a view, and what takes a mask of it onto the view's window."""
    native = view.src_dataset
    (row, height), rows = _span(window.row_off, window.height, view.height, native.height)
    (col, width), cols = _span(window.col_off, window.width, view.width, native.width)

    def touch(mask: Mask) -> Mask:
        tall = mask[rows[0]] | mask[rows[1]]
        wide: Mask = tall[:, cols[0]] | tall[:, cols[1]]
        return wide

    return Window(col, row, width, height), touch


def _span(
    start: float, length: float, side: int, native: int
) -> tuple[tuple[int, int], tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    low, high = _neighbors(int(start), int(start + length), side, native)
    return (int(low[0]), int(high[-1] - low[0]) + 1), (low - low[0], high - low[0])


def _no_data_value(nodata: float | None, values: npt.NDArray[Any], gain: float) -> Mask:
    """Where a channel has its own no-data value (h, w)."""
    if nodata is None or np.isnan(nodata):  # NaN is no data anyhow
        return np.zeros(values.shape, bool)
    if values.dtype.kind == "f":
        nodata = float(values.dtype.type(nodata))
    none: Mask = values == nodata
    return none if nodata or not none.any() else _solid(values, none, gain)


def _solid(values: npt.NDArray[Any], zero: Mask, gain: float) -> Mask:
    """Areas of zeros that are no data, not dark water: isolated ones, or beside dark values."""
    square = np.ones((3, 3), bool)
    kept = ndimage.binary_erosion(zero, square, border_value=1)
    areas: Mask = ndimage.binary_propagation(kept, mask=zero)
    beside = ndimage.binary_dilation(areas, square) & ~zero
    if beside.any() and float(np.median(values[beside])) * gain <= _WATER_DN:
        return np.zeros(zero.shape, bool)
    return areas


def _can_hide(dataset: Any, channels: Sequence[int]) -> bool:
    """Whether a raster declares something that hides pixels of these channels."""
    values = any(dataset.nodatavals[channel - 1] is not None for channel in channels)
    return values or bool(_mask_channels(dataset, channels) or _alphas(dataset))


def _mask_channels(dataset: Any, channels: Sequence[int]) -> list[int]:
    """Channels whose masks, in the file or beside it, are to be read; of a common one, one.

    Other flags tell of masks that GDAL derives from what is looked at here band by band.
    """
    enums = dataset.mask_flag_enums
    flags = [set(enums[channel - 1]) - {MaskFlags.alpha} for channel in channels]
    own = [c for c, found in zip(channels, flags, strict=True) if not found]
    common = [c for c, found in zip(channels, flags, strict=True) if MaskFlags.per_dataset in found]
    return own + common[:1]


def _alphas(dataset: Any) -> list[int]:
    """Channels of opacity; GDAL itself counts them in files of two or four bands only."""
    try:
        texts = dataset.descriptions
    except UnicodeDecodeError:  # rasterio gives all of them or none
        texts = (None,) * dataset.count
    kinds = zip(dataset.colorinterp, texts, strict=True)
    return [
        channel
        for channel, (kind, text) in enumerate(kinds, 1)
        if kind == ColorInterp.alpha or (text or "").strip().lower() == "alpha"
    ]
