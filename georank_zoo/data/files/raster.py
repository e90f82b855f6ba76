"""Checked reading of rasters: positions, windows, and why a file is bad.

A file is read as what its first bytes say: GeoTIFF (and COG, which is one) or JPEG 2000, whatever
its name. GDAL has drivers whose files are texts that name other files and addresses (VRT, WMS):
with them, opening a file of a stranger would read and fetch what the stranger likes.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

from georank_zoo.data.files import jpeg2000
from georank_zoo.data.files.remote import RemoteRaster
from georank_zoo.data.files.sidecars import SIDECAR_RASTERS, require_contained, sidecars_of
from georank_zoo.utils.errors import BadItem

TIFF_SUFFIXES = (".tif", ".tiff")
RASTER_SUFFIXES = (*TIFF_SUFFIXES, ".jp2")

_MAGIC = {
    "GTiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "JP2OpenJPEG": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
}
# Metadata that names further rasters, in the file or its .aux.xml: GDAL opens them when it looks
# for overviews, or for positions.
_LEADING_OUT = {"OVERVIEWS": "OVERVIEW_FILE", "GEOLOCATION": "X_DATASET"}

# Sizes of a header are a few bytes, and memory is taken by them. GDAL decodes whole blocks: a band
# of a Sentinel-2 tile in one strip are 241 MB.
_MAX_BLOCK_BYTES = 2**28
_MAX_BANDS = 4096
_MAX_WINDOWS = 2**21  # a Sentinel-2 tile in windows of 8 px
# Deflate shrinks to a thousandth at most. A file beyond this is empty, or lies.
_MAX_RATIO = 20_000
_MAX_HELD_RATIO = 1_000  # of what is held at once
_SMALL_BYTES = 2**26
_MAX_READ_BYTES = 2**33  # of patches held at once: a Sentinel-2 tile are 3 GB


@contextmanager
def opened(source: Path | RemoteRaster) -> Iterator[Any]:
    """Opens a raster for reading.

    Args:
        source: A file of this machine, or one of elsewhere where the user asked for it.

    Raises:
        BadItem: If it cannot be opened, leads to other files, is too large to be true, or breaks
            while it is read.
    """
    try:
        with warnings.catch_warnings():
            # A missing CRS is reported as a reason, by those who need one.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with _open(source) as dataset:
                yield dataset
    except RasterioError as error:
        raise BadItem(f"unreadable or truncated: {_words(error, source)}") from _cause(
            error, source
        )
    except CRSError as error:
        raise BadItem(f"no CRS: {_words(error, source)}") from _cause(error, source)
    except UnicodeDecodeError as error:
        raise BadItem("text of the file is not UTF-8") from error


@contextmanager
def _open(source: Path | RemoteRaster) -> Iterator[Any]:
    if isinstance(source, RemoteRaster):
        size = size_of(source)
        driver = "JP2OpenJPEG" if source.suffix == ".jp2" else "GTiff"
        with (
            rasterio.Env(**source.settings()),
            rasterio.open(source.address, driver=driver) as dataset,
        ):
            _require_contained(dataset)
            _require_sane_sizes(dataset, size)
            yield dataset
        return
    driver = _driver(source)
    for sidecar in sidecars_of(source):
        _require_sound_sidecar(sidecar)
    if driver == "JP2OpenJPEG":
        jpeg2000.require_sane_header(source)
    # A name with a colon could be one of GDAL's or rasterio's own forms of address.
    name = Path(os.path.abspath(source)) if ":" in str(source) else source  # noqa: PTH100
    with rasterio.open(name, driver=driver) as dataset:
        _require_contained(dataset)
        _require_sane_sizes(dataset, source.stat().st_size)
        yield dataset


def size_of(source: Path | RemoteRaster) -> int | None:
    """Bytes of a raster's file; None of one of elsewhere whose server does not tell.

    Raises:
        BadItem: If https would lead to http.
    """
    return source.ask() if isinstance(source, RemoteRaster) else source.stat().st_size


def _driver(path: Path) -> str:
    """The driver of a file by its first bytes."""
    if os.path.abspath(path).startswith("/vsi"):  # noqa: PTH100
        raise BadItem("unreadable or truncated: GDAL's virtual files are none of this machine")
    try:
        _require_regular(path)
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise BadItem(f"unreadable or truncated: {error.strerror}") from error
    for driver, signatures in _MAGIC.items():
        if head.startswith(signatures):
            return driver
    what = "it is empty" if not head else "neither a GeoTIFF nor a JPEG 2000 file"
    raise BadItem(f"unreadable or truncated: {what}")


def _require_regular(path: Path) -> None:
    # A fifo would wait for somebody to write to it.
    if not stat.S_ISREG(path.stat().st_mode):
        raise BadItem("not a regular file")


def _require_sound_sidecar(path: Path) -> None:
    """Applies to a file that GDAL opens unasked what applies to the others."""
    try:
        if path.name.lower().endswith(SIDECAR_RASTERS):
            with opened(path):
                return
        require_contained(path)
    except (OSError, BadItem) as error:
        raise BadItem(f"bad sidecar: {path.suffix} file: {error}") from error


def _require_contained(dataset: Any) -> None:
    """Refuses a raster whose metadata names others."""
    for domain, item in _LEADING_OUT.items():
        if item in dataset.tags(ns=domain):
            raise BadItem(f"leads to another file: {item} of its metadata")


def _require_sane_sizes(dataset: Any, file_bytes: int | None) -> None:
    if dataset.count > _MAX_BANDS:
        raise BadItem(f"too large: {dataset.count} bands")
    sizes = [_ITEM_BYTES.get(name) or np.dtype(name).itemsize for name in dataset.dtypes]
    together = dataset.count if str(dataset.interleaving or "").lower().endswith("pixel") else 1
    blocks = zip(dataset.block_shapes, sizes, strict=True)
    block = max((prod(shape) * size * together for shape, size in blocks), default=0)
    if block > _MAX_BLOCK_BYTES:
        raise BadItem(f"too large: blocks of {block / 2**30:.1f} GiB, which are decoded whole")
    whole = dataset.height * dataset.width * sum(sizes)
    if file_bytes is not None and whole > max(_SMALL_BYTES, _MAX_RATIO * file_bytes):
        raise BadItem(
            f"too large: {whole / 2**30:.1f} GiB by its header, {file_bytes / 2**10:.0f} KiB on "
            "the disk"
        )


_ITEM_BYTES = {"complex_int16": 4}  # GDAL's own type


def _cause(error: Exception, source: Path | RemoteRaster) -> Exception | None:
    # GDAL's words hold the address, with whatever password is in it.
    return None if isinstance(source, RemoteRaster) else error


def _words(error: Exception, source: Path | RemoteRaster) -> str:
    # "Read failed. See previous exception for details." has the true reason as its cause.
    text = str(error.__cause__ or error).strip()
    line = text.splitlines()[0] if text else type(error).__name__
    return source.without_secrets(line) if isinstance(source, RemoteRaster) else line


def require_band_count(dataset: Any, expected: int) -> None:
    """Refuses a raster of another number of bands."""
    if dataset.count != expected:
        raise BadItem(f"wrong band count: {dataset.count} instead of {expected}")


def require_uint16(dataset: Any) -> None:
    """Refuses a raster of another pixel type than the published one."""
    types = sorted(set(dataset.dtypes))
    if types != ["uint16"]:
        raise BadItem(f"wrong data type: {', '.join(types)} instead of uint16")


def require_room(
    shape: tuple[int, int], bands: int, sources: Collection[Path | RemoteRaster]
) -> None:
    """Refuses what is held at once as uint16 (bands, H, W) and would fill the memory.

    Args:
        shape: Height and width in pixels.
        bands: Number of bands, of all dates.
        sources: The rasters that they come from, whose size says whether there can be so much.
    """
    size = 2 * bands * prod(shape)
    if size > _MAX_READ_BYTES:
        raise BadItem(
            f"too large: {size / 2**30:.0f} GiB of pixels at once; cut it into files of "
            f"{_MAX_READ_BYTES >> 30} GiB or less"
        )
    stored = [size_of(source) for source in sources]
    known = sum(one for one in stored if one is not None)
    if None not in stored and size > max(_SMALL_BYTES, _MAX_HELD_RATIO * known):
        raise BadItem(
            f"too large: {size / 2**30:.1f} GiB of pixels at once, {known / 2**10:.0f} KiB on the "
            "disk"
        )


def columns_at_once(bands: int, size: int) -> int:
    """Columns of a row of windows to read in one go, whole windows of 2^24 values if they can."""
    return size * max(1, 2**24 // (bands * size * size))


def read_on_grid(dataset: Any, shape: tuple[int, int]) -> npt.NDArray[np.uint16]:
    """Reads a one-band raster on another grid of the same bounds, bilinearly: (H, W)."""
    grid: npt.NDArray[np.uint16] = dataset.read(1, out_shape=shape, resampling=Resampling.bilinear)
    return grid


def windows(shape: tuple[int, int], size: int) -> list[tuple[int, int]]:
    """Rows and columns of the corners of non-overlapping windows, row by row.

    Raises:
        BadItem: If there are so many that no raster of patches can be meant.
    """
    height, width = shape
    if (height // size) * (width // size) > _MAX_WINDOWS:
        raise BadItem(f"too large: {height} x {width} pixels in windows of {size}")
    return [
        (row, col)
        for row in range(0, height - size + 1, size)
        for col in range(0, width - size + 1, size)
    ]
