"""Checked reading of arrays from HDF5, and from netCDF-4, which is HDF5.

Only numbers are read. Attributes that hold Python pickles (GEO-Bench writes some) are never
touched, and data that lie outside the file are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from georank_zoo import bands as s2
from georank_zoo.utils.errors import BadItem, UsageError
from georank_zoo.utils.regular_files import require_regular

_MAX_DN = 65535
_SAMPLED = 100_000  # values whose quantiles tell the unit
# Sizes of a header take no space in the file, and memory when it is read. The largest of real
# files: a band of Sen4AgriNet at 100 dates is 27 MB, the labels of So2Sat are 48 MB.
_MAX_CHUNK_BYTES = 2**28
_MAX_WHOLE_BYTES = 2**29


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Opens a file for reading.

    Raises:
        BadItem: If it cannot be opened, or breaks while it is read.
    """
    try:
        require_regular(path)
        # Nobody writes to a published file, and network file systems often refuse locks.
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, RuntimeError) as error:  # h5py's words for what libhdf5 reports
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise BadItem(f"unreadable or truncated: {reason[0]}") from error


def member(file: h5py.Group, name: str) -> Any:
    """What a path in a file names; None if there is nothing.

    Raises:
        BadItem: If it is a link, which may lead to any file: to open that would already be wrong.
    """
    found: Any = file
    for part in name.split("/"):
        link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise BadItem(f"dataset outside the file: {name}")
        found = found[part]
    return found


def array(file: h5py.Group, name: str, shape: Sequence[int | None]) -> Any:
    """A dataset of numbers, not yet read.

    Args:
        file: The file, or a group of it.
        name: Path of the dataset.
        shape: Its shape, None where any length will do.

    Raises:
        BadItem: If it is missing, elsewhere, or of another form.
    """
    found = member(file, name)
    if not isinstance(found, h5py.Dataset):
        raise BadItem(f"missing dataset: {name}")
    if found.external or found.is_virtual:
        raise BadItem(f"dataset outside the file: {name}")
    if found.dtype.kind not in "uif":
        raise BadItem(f"wrong data type: {name} is {found.dtype}, not numbers")
    fits = len(found.shape) == len(shape) and all(
        wanted in (None, length) for wanted, length in zip(shape, found.shape, strict=True)
    )
    if not fits:
        expected = " x ".join("n" if length is None else str(length) for length in shape)
        actual = " x ".join(map(str, found.shape))
        raise BadItem(f"mixed sizes: {name} is {actual}, not {expected}")
    chunk = prod(found.chunks or ()) * found.dtype.itemsize
    if chunk > _MAX_CHUNK_BYTES:
        raise BadItem(f"too large: {name} has chunks of {chunk / 2**30:.1f} GiB, read whole")
    return found


def read_array(file: h5py.Group, name: str, shape: Sequence[int | None]) -> npt.NDArray[Any]:
    """A dataset of numbers, read whole.

    Args:
        file: The file, or a group of it.
        name: Path of the dataset.
        shape: Its shape, None where any length will do.

    Raises:
        BadItem: If it is missing, elsewhere, of another form, or would fill the memory.
    """
    found = array(file, name, shape)
    if found.nbytes > _MAX_WHOLE_BYTES:
        raise BadItem(f"too large: {name} is {found.nbytes / 2**30:.1f} GiB")
    values: npt.NDArray[Any] = found[()]
    return values


def text_attribute(found: h5py.Dataset | h5py.Group, name: str) -> str:
    """A text attribute; empty where there is none."""
    value = found.attrs.get(name, "")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def require_unit(values: npt.NDArray[Any], unit: s2.Unit) -> None:
    """Refuses values of any shape that are not all finite, all zero, or not of the unit.

    Odd values do not tell the unit (`bands.UNIT_QUANTILES`), but one that cannot be is refused.
    """
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise BadItem("NaN or infinite pixels")
    if low == high == 0:
        raise BadItem("all zero")
    scale, flat = s2.DN_PER_REFLECTANCE if unit == "dn" else 1.0, values.reshape(-1)
    try:
        usual = np.quantile(flat[:: flat.size // _SAMPLED // 2 * 2 + 1], s2.UNIT_QUANTILES)
        s2.check_unit(float(usual[0]), float(usual[1]), unit, where="the sample")
        if low < s2.NO_VALUE_BELOW * scale or high / scale > s2.MAX_REFLECTANCE:
            raise UsageError("a value cannot be")
    except UsageError as error:
        what = "reflectance" if unit == "reflectance" else "a digital number"
        raise BadItem(f"values contradict the unit: {low:g} to {high:g} is not {what}") from error


def digital_numbers(values: npt.NDArray[Any], unit: s2.Unit) -> npt.NDArray[np.uint16]:
    """DN as a store holds them, from values of any shape: the nearest whole number, 0 or more.

    Raises:
        BadItem: If a value is not finite, all are zero, or they contradict the unit.
    """
    require_unit(values, unit)
    scale = s2.DN_PER_REFLECTANCE if unit == "reflectance" else 1.0
    return np.clip(np.rint(values * scale), 0, _MAX_DN).astype(np.uint16)
