"""Readers: one file a data set, and the registry of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georank_zoo.utils.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from georank_zoo.data.readers.base import Reader


@dataclass(frozen=True)
class ReaderEntry:
    """A registered reader.

    Attributes:
        factory: Where it is made, as `module:callable`; imported when it is used, because
            `georank --help` must not import rasterio.
        options: Keyword arguments that it takes.
        summary: One line for the help.
        slow: Whether opening it takes long enough to report progress.
    """

    factory: str
    options: tuple[str, ...]
    summary: str
    slow: bool = False


READERS: dict[str, ReaderEntry] = {
    "eurosat": ReaderEntry(
        "georank_zoo.data.readers.eurosat:EuroSat",
        ("bands", "splits"),
        "EuroSAT MS: <Class>/<Class>_<N>.tif, 13 bands, 10 classes",
    ),
    "oscd": ReaderEntry(
        "georank_zoo.data.readers.oscd:Oscd",
        ("bands", "size"),
        "OSCD: <city>/imgs_{1,2}/*_B02.tif, 24 cities at two dates",
    ),
    "so2sat": ReaderEntry(
        "georank_zoo.data.readers.so2sat:So2Sat",
        ("bands",),
        "So2Sat LCZ42: <split>/{training,testing}.h5, 10 bands, 17 classes",
    ),
    "s4a": ReaderEntry(
        "georank_zoo.data.readers.s4a:Sen4AgriNet",
        ("bands", "dates"),
        "Sen4AgriNet: <year>_<tile>_patch_<x>_<y>.nc, 9 crop groups",
    ),
    "cashew": ReaderEntry(
        "georank_zoo.data.readers.cashew:Cashew",
        ("bands",),
        "m-cashew-plant of GEO-Bench: <sample>.hdf5, a mask of 7 classes",
        slow=True,
    ),
    "bigearthnet": ReaderEntry(
        "georank_zoo.data.readers.bigearthnet:BigEarthNet",
        ("bands", "metadata"),
        "BigEarthNet: <tile>/<patch>/<patch>_B02.tif, 19 labels",
        slow=True,
    ),
    "ssl4eo": ReaderEntry(
        "georank_zoo.data.readers.ssl4eo:Ssl4Eo",
        ("bands", "size"),
        "SSL4EO-S12: s2a (or s2c)/<place>/<acquisition>/B1.tif, four seasons",
        slow=True,
    ),
    "ssl4eo-v1.1": ReaderEntry(
        "georank_zoo.data.readers.ssl4eo_zarr:Ssl4EoZarr",
        ("bands", "size"),
        "SSL4EO-S12 v1.1: S2L2A (or S2L1C)/*.zarr.zip, four seasons",
    ),
    "folder": ReaderEntry(
        "georank_zoo.data.readers.folder:Folder",
        ("bands", "size", "labels", "unit", "offset"),
        "Any tree of georeferenced multi-band GeoTIFFs",
        slow=True,
    ),
    "synthetic": ReaderEntry(
        "georank_zoo.data.readers.synthetic:open_world",
        ("bands", "size", "places", "seed"),
        "A synthetic world; generated if SOURCE is empty",
        slow=True,
    ),
}


def open_reader(
    name: str,
    source: str | Path,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Reader:
    """Opens a data set for reading.

    Args:
        name: Name in `READERS`.
        source: Folder of the data set.
        on_progress: Called with (done, in all) while the source is listed or generated.
        **options: The reader's options; those that are None are left at its defaults.

    Raises:
        UsageError: If there is no such reader or folder, or it does not take an option.
    """
    given = check_options(name, options)
    if name != "synthetic" and not Path(source).is_dir():
        raise UsageError(f"There is no folder {source}. Give the folder of the {name} data.")
    entry = READERS[name]
    if entry.slow:
        given["on_progress"] = on_progress
    module, _, function = entry.factory.partition(":")
    reader: Reader = getattr(importlib.import_module(module), function)(source, **given)
    return reader


def check_options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options that are not None, if the reader takes them all.

    Raises:
        UsageError: If there is no such reader, or it does not take an option.
    """
    if name not in READERS:
        raise unknown_name("reader", name, READERS)
    given = {key: value for key, value in options.items() if value is not None}
    foreign = sorted(set(given) - set(READERS[name].options))
    if foreign:
        takes = ", ".join(f"--{option}" for option in READERS[name].options)
        raise UsageError(
            f"Reader {name!r} does not take --{', --'.join(foreign)}. It takes: {takes}."
        )
    return given
