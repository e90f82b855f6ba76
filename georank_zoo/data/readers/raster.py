"""Checked reading of rasters: positions, windows, and why a file is bad."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio._err import CPLE_BaseError  # refusals that rasterio passes on untranslated
from rasterio.enums import Resampling
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.warp import transform as transform_points

from georank_zoo import bands as s2
from georank_zoo.data.readers.base import BadItem
from georank_zoo.data.store.patch import NO_TIME
from georank_zoo.utils.errors import UsageError

# A window is left out when more than this share of its pixels is no-data: beyond, the border
# of the swath becomes the strongest edge of the picture.
MAX_NODATA = 0.05

# Atmospheric correction gives slightly negative reflectance over dark targets; less than this
# is not one (offset of baseline 04.00 is -1000 DN, so -1000 is the least that L2A can hold).
_MIN_DN = -1000.0
_MAX_DN = 65535.0

_WGS84 = "EPSG:4326"
_DATE = re.compile(r"(?<!\d)(20[1-9]\d)(\d\d)(\d\d)(?!\d)")
# Sentinel-2A was launched on this day (ESA).
_FIRST_TIME = int(datetime(2015, 6, 23, tzinfo=UTC).timestamp())


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Opens a raster for reading.

    Raises:
        BadItem: If it cannot be opened, or breaks while it is read.
    """
    try:
        with warnings.catch_warnings():
            # A missing CRS is reported as a reason, by those who need one.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as dataset:
                yield dataset
    except RasterioError as error:
        raise BadItem(f"unreadable or truncated: {_first_line(error)}") from error
    except CRSError as error:
        raise BadItem(f"no CRS: {_first_line(error)}") from error


@contextmanager
def placing(dataset: Any) -> Iterator[None]:
    """Positions are computed in here.

    Raises:
        BadItem: If nothing leads from the raster's CRS to latitude and longitude.
    """
    try:
        yield
    except (CRSError, CPLE_BaseError) as error:
        crs = shorten(str(dataset.crs), 60, placeholder="...")
        raise BadItem(f"no CRS: {crs} does not lead to latitude and longitude") from error


def _first_line(error: Exception) -> str:
    # "Read failed. See previous exception for details." has the true reason as its cause.
    text = str(error.__cause__ or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def require_crs(dataset: Any) -> None:
    """Refuses a raster without a coordinate reference system of the Earth or a geotransform."""
    if not is_georeferenced(dataset):
        raise BadItem("no CRS: the file does not say where it lies")


def is_georeferenced(dataset: Any) -> bool:
    """Whether a raster has a geographic or projected CRS, not a local one, and a geotransform."""
    crs = dataset.crs
    located = crs is not None and (crs.is_geographic or crs.is_projected)
    return located and not dataset.transform.is_identity


def require_band_count(dataset: Any, expected: int) -> None:
    """Refuses a raster of another number of bands."""
    if dataset.count != expected:
        raise BadItem(f"wrong band count: {dataset.count} instead of {expected}")


def require_uint16(dataset: Any) -> None:
    """Refuses a raster of another pixel type than the published one."""
    types = sorted(set(dataset.dtypes))
    if types != ["uint16"]:
        raise BadItem(f"wrong data type: {', '.join(types)} instead of uint16")


def band_names(descriptions: Sequence[str | None]) -> tuple[str, ...] | None:
    """The described bands, canonical where they are Sentinel-2's; None if none of them is."""
    if not all(descriptions):
        return None
    names = []
    for text in descriptions:
        try:
            names.append(s2.canonical(str(text)))
        except UsageError:
            names.append(str(text))
    # "Band 1" or "1" says no more than no description.
    return tuple(names) if set(names) & set(s2.BY_NAME) else None


def read_on_grid(dataset: Any, shape: tuple[int, int]) -> npt.NDArray[np.uint16]:
    """Reads a one-band raster on another grid of the same bounds, bilinearly: (H, W)."""
    grid: npt.NDArray[np.uint16] = dataset.read(1, out_shape=shape, resampling=Resampling.bilinear)
    return grid


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


def windows(shape: tuple[int, int], size: int) -> list[tuple[int, int]]:
    """Rows and columns of the corners of non-overlapping windows, row by row."""
    height, width = shape
    return [
        (row, col)
        for row in range(0, height - size + 1, size)
        for col in range(0, width - size + 1, size)
    ]


def centers(
    dataset: Any, corners: Sequence[tuple[int, int]], size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Positions of the windows' centers.

    Args:
        dataset: An open raster with a CRS.
        corners: Row and column of the windows' corners.
        size: Height and width of a window.

    Returns:
        Latitude and longitude (n, 2), WGS84 degrees.

    Raises:
        BadItem: If the CRS does not lead to a position on the globe.
    """
    rows, cols = np.array(corners, np.float64).reshape(-1, 2).T + np.array(size)[:, None] / 2
    to = dataset.transform
    x, y = to.a * cols + to.b * rows + to.c, to.d * cols + to.e * rows + to.f
    with placing(dataset):
        lon, lat = transform_points(dataset.crs, _WGS84, x.tolist(), y.tolist())
    latlon = np.stack((lat, lon), axis=1)
    # Written so that NaN and infinity are invalid too.
    if not bool((np.abs(latlon) <= (90, 180)).all()):
        raise BadItem(f"position off the globe: lat {lat[0]:g}, lon {lon[0]:g}")
    return latlon


def acquisition_time(path: Path, tags: dict[str, str]) -> int:
    """Acquisition time as Unix seconds, UTC; `NO_TIME` where none is known.

    A tag whose name begins with ACQUISITION counts first, then the first 8-digit date of the
    file's name, then TIFFTAG_DATETIME, which by the TIFF standard is the file's own age. Digits
    of a name are a date only between the launch of Sentinel-2A and tomorrow (clocks differ):
    others number things.
    """
    tagged = [value for name, value in tags.items() if name.upper().startswith("ACQUISITION")]
    tomorrow = int((datetime.now(UTC) + timedelta(days=1)).timestamp())
    times = [parse_time(text) for text in tagged]
    times += [time for time in _times(path.stem) if _FIRST_TIME <= time <= tomorrow]
    times.append(parse_time(tags.get("TIFFTAG_DATETIME", "")))
    return next((time for time in times if time != NO_TIME), NO_TIME)


def parse_time(text: str) -> int:
    """Unix seconds of the first date in a text (ISO, TIFF or 8 digits); `NO_TIME` if none."""
    return next(_times(text), NO_TIME)


def _times(text: str) -> Iterator[int]:
    for form in ("%Y:%m:%d %H:%M:%S", "%Y-%m-%d %H:%M:%S"):
        try:
            yield int(datetime.strptime(text.strip(), form).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    try:
        moment = datetime.fromisoformat(text.strip())
        yield int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except ValueError:
        pass
    # Sensing times in names read 20180615T102031; the day is what matters.
    for year, month, day in _DATE.findall(text):
        try:
            yield int(datetime(int(year), int(month), int(day), tzinfo=UTC).timestamp())
        except ValueError:
            continue
