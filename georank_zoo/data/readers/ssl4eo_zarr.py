"""SSL4EO-S12 v1.1 as Zarr files: 246,144 places at four seasons, all bands on the 10 m grid.

Blumenstiel, Braham, Albrecht, Maurogiovanni, Fraccaro: "SSL4EOS12 v1.1", arXiv 2503.00168. Layout
(https://github.com/DLR-MF-DAS/SSL4EO-S12-v1.1): `S2L2A/ssl4eos12_train_seasonal_data_000001
.zarr.zip` and so on, and `S2L1C/...`; each is a zipped Zarr group (format 2) of 64 places with
`bands` (sample, time, band, y, x) int16, `band`, `sample`, `center_lat`, `center_lon` and
`file_id` (sample, time).
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georank_zoo import bands as s2
from georank_zoo.data.datasets.ssl4eo_zarr import SSL4EO_ZARR
from georank_zoo.data.files import convert, dates, radiometry, validity
from georank_zoo.data.files.listing import has_suffix, list_level
from georank_zoo.data.files.radiometry import OFFSET_DN
from georank_zoo.data.files.values import judge
from georank_zoo.data.readers.base import Item, Reading, fingerprint, with_bad
from georank_zoo.data.readers.ssl4eo import SIDE
from georank_zoo.data.store.header import Skipped
from georank_zoo.data.store.patch import Patch, Target
from georank_zoo.utils.errors import BadItem, UsageError

# The folders of the modalities, the product levels and their bands.
_LEVELS = {"S2L2A": ("L2A", s2.S2_12), "S2L1C": ("L1C", s2.S2_13)}
# These files, unlike the tar shards of the same version, hold all numbers as baseline 04.00 would
# (zarr_dataset.py in the authors' repository).
_OFFSET = -OFFSET_DN / s2.DN_PER_REFLECTANCE
_SOURCE = "SSL4EO-S12 v1.1, whose Zarr files hold all numbers as baseline 04.00 would"
# A date of the 64 places of a file, 13 bands, is 116 MB, and one chunk.
_MAX_CHUNK_BYTES = 2**28
_MAX_SMALL_BYTES = 2**24
_SMALL = ("band", "sample", "center_lat", "center_lon", "file_id")


@dataclass(frozen=True)
class _Facts:
    """Names of the bands and places, positions (places,), acquisitions (places, seasons)."""

    band: npt.NDArray[Any]
    sample: npt.NDArray[Any]
    lat: npt.NDArray[np.float64]
    lon: npt.NDArray[np.float64]
    file_id: npt.NDArray[Any]


class Ssl4EoZarr:
    """Reads one level; an item is a file of 64 places with their seasons. It has no labels.

    Args:
        root: Folder `S2L2A` or `S2L1C`, or the one (`train`, `val`) that holds one of them.
        bands: Bands wanted, in channel order.
        size: Side of the center of each patch to take, in pixels; 264 takes all of it.

    Raises:
        UsageError: If zarr is not installed, there is no file of the published layout, both
            levels lie in the folder, a band is unknown or missing, or the size is odd or larger
            than the patches.
    """

    name = SSL4EO_ZARR.name
    class_names = SSL4EO_ZARR.classes
    target: Target = SSL4EO_ZARR.target
    splits: tuple[str, ...] = ()
    source = SSL4EO_ZARR.source
    license = SSL4EO_ZARR.license

    def __init__(
        self, root: str | Path, *, bands: str | Sequence[str] = "s2-12", size: int = 120
    ) -> None:
        if importlib.util.find_spec("zarr") is None:
            raise UsageError("SSL4EO-S12 v1.1 is read with zarr: pip install 'georank-zoo[zarr]'.")
        self.root, level = _find(Path(root))
        self.level, available = _LEVELS[level]
        self.bands = s2.resolve(bands)
        s2.indices(available, self.bands)
        if size > SIDE or size % 2:
            raise UsageError(
                f"Size {size} cannot be cut from the center of {SIDE} px: pass an even number up "
                f"to {SIDE}."
            )
        self.size = size
        listed = list_level(self.root, lambda name: has_suffix(name, (".zarr.zip",)))
        files, bad = [self.root / name for name in listed.files], listed.bad_in("")
        if not files:
            raise UsageError(
                f"{self.root} holds no ssl4eos12_train_seasonal_data_000001.zarr.zip or the like. "
                "The tar shards of SSL4EO-S12 v1.1 are not read; its Zarr files are."
            )
        self._items = with_bad([Item(file.name, (file,), (file.name,)) for file in files], bad)
        self.spec: dict[str, Any] = {
            "reader": self.name,
            "level": self.level,
            "files": len(files),
            "listing": fingerprint(self.root, files, bad),
        }

    def items(self) -> Sequence[Item]:
        """One item a file, by name."""
        return self._items

    def read(self, item: Item) -> Reading:
        """Reads all seasons of the file's places.

        Raises:
            BadItem: If the file is damaged or not of the published form.
        """
        (file,) = item.files
        reading = Reading([])
        with _opened(file) as (bands, facts):
            channels = self._channels(bands, facts)
            for time in range(facts.file_id.shape[1]):
                # As the files are chunked: all places of one date.
                for number, whole in enumerate(np.asarray(bands[:, time])):
                    self._add(reading, item, facts, (number, time), whole[channels])
        reading.patches.sort(key=lambda patch: patch.key)
        return reading

    def _add(
        self,
        reading: Reading,
        item: Item,
        facts: _Facts,
        index: tuple[int, int],
        whole: npt.NDArray[np.int16],
    ) -> None:
        """Adds a patch to what was read, or why it is left out."""
        number, _ = index
        place, acquisition = str(facts.sample[number]), str(facts.file_id[index])
        key = f"{place}/{acquisition}"
        margin = (SIDE - self.size) // 2
        center = slice(margin, margin + self.size)
        values = whole[:, center, center]
        meaning = radiometry.uniform(len(values), offset=_OFFSET, source=_SOURCE)
        missing = validity.fill(values, meaning)
        judge(values[:, ~missing], meaning)
        pixels, missing = convert.harmonize(values, missing, meaning)
        if reason := convert.no_data(missing):
            reading.left_out.append(Skipped(f"{item.name}@{key}", reason))
            return
        patch = Patch(
            pixels, float(facts.lat[number]), float(facts.lon[number]), key=key, place=place,
            time=dates.parse_time(acquisition), radiometry=meaning,
        )  # fmt: skip
        reading.patches.append(patch)

    def _channels(self, bands: Any, facts: _Facts) -> list[int]:
        """The channels of the wanted bands in a file of the published form."""
        names = tuple(map(str, facts.band))
        expected = (*facts.file_id.shape, len(names), SIDE, SIDE)
        if bands.shape != expected:
            raise BadItem(f"mixed sizes: {bands.shape}, not {expected}")
        if bands.dtype != np.int16:
            raise BadItem(f"wrong data type: {bands.dtype} instead of int16")
        if not bool(((np.abs(facts.lat) <= 90) & (np.abs(facts.lon) <= 180)).all()):
            raise BadItem("position off the globe")
        if missing := s2.missing(names, self.bands):
            raise BadItem(f"missing band: {', '.join(missing)}")
        return s2.indices(names, self.bands)


def _find(root: Path) -> tuple[Path, str]:
    """The folder of the files, and its published name."""
    name = root.absolute().name
    if name in _LEVELS:
        return root, name
    found = [name for name in _LEVELS if (root / name).is_dir()]
    if len(found) != 1:
        what = "both levels" if found else "no SSL4EO-S12 v1.1 (S2L2A/*.zarr.zip, or S2L1C)"
        raise UsageError(f"{root} holds {what}. Give its folder S2L2A or S2L1C.")
    return root / found[0], found[0]


def _require_sane_members(file: Path) -> None:
    """Refuses a zip whose entries would fill the memory when they are unpacked."""
    with zipfile.ZipFile(file) as archive:
        largest = max((entry.file_size for entry in archive.infolist()), default=0)
    if largest > _MAX_CHUNK_BYTES:
        raise BadItem(f"too large: an entry of {largest / 2**30:.1f} GiB")


def _require_sane_sizes(bands: Any, small: Sequence[Any]) -> None:
    """Refuses arrays that would fill the memory: their sizes are a few bytes of the file."""
    for array in (bands, *small):
        # Text of any length counts as what it is at least.
        chunk = prod(array.chunks) * max(1, np.dtype(array.dtype).itemsize)
        if chunk > _MAX_CHUNK_BYTES:
            raise BadItem(f"too large: {array.basename} has chunks of {chunk / 2**30:.1f} GiB")
    for array in small:
        if array.nbytes > _MAX_SMALL_BYTES:
            raise BadItem(f"too large: {array.basename} is {array.nbytes / 2**30:.1f} GiB")
    date = bands.nbytes / max(1, bands.shape[1] if bands.ndim > 1 else 1)
    if date > _MAX_CHUNK_BYTES:
        raise BadItem(f"too large: a date of the bands is {date / 2**30:.1f} GiB")


@contextmanager
def _opened(file: Path) -> Iterator[tuple[Any, _Facts]]:
    """The pixels, to be read piece by piece, and the small arrays.

    Raises:
        BadItem: If the file cannot be opened, or breaks while it is read.
    """
    import zarr

    if not zipfile.is_zipfile(file):
        raise BadItem("unreadable or truncated: no whole zip file")
    try:
        with zarr.storage.ZipStore(file, mode="r") as store:
            _require_sane_members(file)
            group: Any = zarr.open_group(store, mode="r", zarr_format=2)
            bands, *small = (group[name] for name in ("bands", *_SMALL))
            _require_sane_sizes(bands, small)
            yield bands, _Facts(*(np.asarray(array[:]) for array in small))
    except KeyError as error:
        raise BadItem(f"missing array: {error.args[0]}") from error
    except (ValueError, RuntimeError, OSError, zipfile.BadZipFile) as error:
        raise BadItem(f"unreadable or truncated: {error}") from error
