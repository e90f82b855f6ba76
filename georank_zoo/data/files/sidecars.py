"""What GDAL opens unasked beside a raster: overviews, masks, metadata and positions."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

from georank_zoo.utils.errors import BadItem, plain

# GDAL looks for these beside each file, in any case, and opens them with any driver.
SIDECAR_RASTERS = (".msk", ".ovr")
_SIDECARS = (*SIDECAR_RASTERS, ".aux.xml", ".aux")
# What it looks for in the folder besides, to know a position or another satellite's metadata, and
# reads to its end. Parsed, a text takes 20 times its size.
_SIDE_TEXTS = re.compile(
    r"(?:\.aux\.xml|\.aux|\.imd|\.rpb|\.dim|\.tab|\.wld|\.tfw|\.tiff?w|\.j2w|\.jp2w|"
    r"summary\.txt|_(?:metadata|mtl|rpc)\.txt)$",
    re.I,
)
_MAX_TEXT_BYTES = 2**24
# An .aux file is one of ERDAS's format, which may say that its pixels lie in another.
_ELSEWHERE = re.compile(rb"DependentFile|ExternalRasterDMS|\.rrd|\.ige", re.I)


def sidecars_of(path: Path) -> list[Path]:
    """What lies beside a raster and is of it.

    Raises:
        BadItem: If GDAL would wait at an entry of the folder, or fill the memory with it.
    """
    folder = path.parent
    try:
        names, bad = _all_sidecars(str(folder), folder.stat().st_mtime_ns)
    except OSError as error:
        raise BadItem(f"unreadable or truncated: {error.strerror}") from error
    if bad:
        raise BadItem(f"bad sidecar: {bad}")
    return [folder / name for name in names.get(path.name.lower(), ())]


def require_contained(path: Path) -> None:
    """Refuses a sidecar that leads to further files; of those that are rasters, see `raster`."""
    if path.suffix.lower() == ".aux" and _ELSEWHERE.search(path.read_bytes()):
        raise BadItem("it leads to another file")


@lru_cache(maxsize=64)
def _all_sidecars(folder: str, _changed: int) -> tuple[dict[str, list[str]], str]:
    """Sidecars in a folder by the name of the file they are of, in lower case, and what is bad."""
    found: dict[str, list[str]] = {}
    bad = ""
    with os.scandir(folder) as entries:
        for entry in entries:
            lower = entry.name.lower()
            bad = bad or _why_not_read(entry)
            if lower.endswith(_SIDECARS):
                ending = next(ending for ending in _SIDECARS if lower.endswith(ending))
                found.setdefault(lower.removesuffix(ending), []).append(entry.name)
    return found, bad


def _why_not_read(entry: os.DirEntry[str]) -> str:
    """Why GDAL could not read an entry of a folder to its end, if it looked at it."""
    shown = plain(entry.name, 80)
    # It waits at a fifo of any of the many names that it tries.
    if not (entry.is_file() or entry.is_dir() or not Path(entry.path).exists()):
        return f"{shown} is not a regular file"
    if _SIDE_TEXTS.search(entry.name) and entry.is_file():
        size = entry.stat().st_size
        return f"{shown} has {size} bytes" if size > _MAX_TEXT_BYTES else ""
    return ""
