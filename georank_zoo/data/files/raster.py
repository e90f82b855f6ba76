"""Checked reading of rasters: positions, windows, and why a file is bad."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

from georank_zoo.utils.errors import BadItem

TIFF_SUFFIXES = (".tif", ".tiff")
RASTER_SUFFIXES = (*TIFF_SUFFIXES, ".jp2")


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


def _first_line(error: Exception) -> str:
    # "Read failed. See previous exception for details." has the true reason as its cause.
    text = str(error.__cause__ or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def require_band_count(dataset: Any, expected: int) -> None:
    """Refuses a raster of another number of bands."""
    if dataset.count != expected:
        raise BadItem(f"wrong band count: {dataset.count} instead of {expected}")


def require_uint16(dataset: Any) -> None:
    """Refuses a raster of another pixel type than the published one."""
    types = sorted(set(dataset.dtypes))
    if types != ["uint16"]:
        raise BadItem(f"wrong data type: {', '.join(types)} instead of uint16")


def read_on_grid(dataset: Any, shape: tuple[int, int]) -> npt.NDArray[np.uint16]:
    """Reads a one-band raster on another grid of the same bounds, bilinearly: (H, W)."""
    grid: npt.NDArray[np.uint16] = dataset.read(1, out_shape=shape, resampling=Resampling.bilinear)
    return grid


def windows(shape: tuple[int, int], size: int) -> list[tuple[int, int]]:
    """Rows and columns of the corners of non-overlapping windows, row by row."""
    height, width = shape
    return [
        (row, col)
        for row in range(0, height - size + 1, size)
        for col in range(0, width - size + 1, size)
    ]
