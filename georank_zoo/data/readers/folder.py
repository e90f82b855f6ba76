"""Any tree of georeferenced multi-band GeoTIFFs, with or without labels."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

from georank_zoo import bands as s2
from georank_zoo.data.datasets.folder import FOLDER
from georank_zoo.data.files import band_names, convert, dates, georeference, raster
from georank_zoo.data.files.listing import list_files
from georank_zoo.data.readers.base import Item, Reading, fingerprint
from georank_zoo.data.readers.labels import Labels, read_labels
from georank_zoo.data.store.header import Skipped
from georank_zoo.data.store.patch import Patch, Target
from georank_zoo.utils.errors import BadItem, UsageError, unknown_name

logger = logging.getLogger(__name__)

# A raster larger than this is a scene, not a patch, and must be cut: no default guesses how.
_MAX_PATCH = 512
# Files whose headers tell what is usual; reading finds those that differ.
_SAMPLE = 1000


@dataclass(frozen=True)
class _Header:
    """What the listing keeps of a file; all None where it cannot be opened."""

    shape: tuple[int, int] | None = None
    descriptions: tuple[str | None, ...] | None = None
    latlon: tuple[float, float] | None = None


class Folder:
    """Reads a tree of .tif and .tiff files.

    Rasters larger than a patch are cut from the upper left corner, without overlap. Patches keep
    the order of the files' names; which of them show one place, the store finds out.

    Args:
        root: The source folder.
        bands: Names of the files' bands in file order, where the files' band descriptions
            name none of Sentinel-2's; otherwise the bands wanted. All by default.
        size: Patch side in pixels; the smaller side of the most frequent shape by default.
        labels: None, `parent`, a CSV or a GeoJSON file (see `labels.py`).
        unit: Unit of the pixels.
        offset: DN to subtract: 1000 for processing baseline >= 04.00.
        on_progress: Called with (files opened, files to open); up to 1,000 tell what is usual.

    Raises:
        UsageError: If there is no file, or the options contradict each other or the files.
    """

    name = FOLDER.name
    level = "unknown"
    source = FOLDER.source
    license = FOLDER.license

    def __init__(
        self,
        root: str | Path,
        *,
        bands: str | Sequence[str] | None = None,
        size: int | None = None,
        labels: str | None = None,
        unit: s2.Unit = "dn",
        offset: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.root = Path(root)
        self.unit, self.offset = unit, offset
        if unit not in s2.UNITS:
            raise unknown_name("unit", unit, s2.UNITS)
        if offset < 0 or (size is not None and size < 1):
            raise UsageError("Offset must be 0 or more, and size 1 or more.")
        files = _rasters(self.root)
        names = [file.relative_to(self.root).as_posix() for file in files]
        self._labels = read_labels(labels, self.root, names)
        placed = [number for number, name in enumerate(names) if name in self._labels.positions]
        sample = sorted({*_spread(range(len(files))), *_spread(placed)})
        headers = []
        for number in sample:
            headers.append(_header(files[number]))
            if on_progress is not None:
                on_progress(len(headers), len(sample))
        self._given = None if bands is None else s2.resolve(bands)
        descriptions = _usual_descriptions(headers)
        self.bands = _store_bands(descriptions, self._given)
        self._file_order = self._given if band_names.band_names(descriptions) is None else None
        self.size = size or _usual_size(headers)
        self.class_names = self._labels.class_names
        self.target: Target = "class"
        self.splits: tuple[str, ...] = ()
        _check_positions(headers, [names[number] for number in sample], self._labels)
        self._items = [
            Item(name, (file,), (name,)) for file, name in zip(files, names, strict=True)
        ]
        self.spec: dict[str, Any] = {
            "reader": self.name,
            "files": len(files),
            "listing": fingerprint(self.root, files),
            "file_bands": self._given,
            "labels": "parent" if labels == "parent" else self._labels.digest,
            "unit": unit,
            "offset": offset,
        }

    def items(self) -> Sequence[Item]:
        """One item a file, by name."""
        return self._items

    def read(self, item: Item) -> Reading:
        """Reads a file, and cuts it where it is larger than a patch."""
        (file,) = item.files
        try:
            with raster.opened(file) as dataset:
                return self._read_file(file, item.name, dataset)
        except BadItem as error:
            return Reading([], [Skipped(item.name, str(error))])

    def _read_file(self, file: Path, name: str, dataset: Any) -> Reading:
        channels = self._channels(dataset)
        height, width = dataset.shape
        corners = raster.windows(dataset.shape, self.size)
        if not corners:
            raise BadItem(f"mixed sizes: {height} x {width}, smaller than {self.size}")
        latlon, footprints = self._positions(name, dataset, corners)
        labels = self._labels.of_windows(name, dataset, corners, self.size)
        time = dates.acquisition_time(file, dataset.tags())
        reading, empty = Reading([]), True
        for (row, col), (lat, lon), label, footprint in zip(
            corners, latlon.tolist(), labels, footprints, strict=True
        ):
            if col == 0:
                # A row of windows at a time: a scene in float64 would need many gigabytes.
                strip, missing = self._read_strip(dataset, channels, row)
                empty &= bool(missing.all())
            span = slice(col, col + self.size)
            key = name if len(corners) == 1 else f"{name}@{row},{col}"
            if reason := convert.no_data(missing[:, span]):
                reading.left_out.append(Skipped(f"{name}@{row},{col}", reason))
                continue
            patch = Patch(
                strip[:, :, span].copy(), lat, lon, key=key, place=f"{row},{col}", time=time,
                label=label, footprint=footprint,
            )  # fmt: skip
            reading.patches.append(patch)
        if empty:
            raise BadItem("all zero")
        return reading

    def _read_strip(
        self, dataset: Any, channels: list[int], row: int
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]]:
        window = Window(0, row, dataset.width, self.size)
        pixels = dataset.read(channels, window=window)
        return convert.harmonize(pixels, self.unit, nodata=dataset.nodata, offset=self.offset)

    def _channels(self, dataset: Any) -> list[int]:
        """The file's channels, counted from 1, of the store's bands."""
        described = band_names.band_names(dataset.descriptions)
        if described is None:
            if self._file_order is None:
                raise BadItem("no band names: unlike most files, this one does not name its bands")
            raster.require_band_count(dataset, len(self._file_order))
            described = self._file_order
        missing = s2.missing(described, self.bands)
        if missing:
            raise BadItem(f"missing band: {', '.join(missing)}")
        return [described.index(name) + 1 for name in self.bands]

    def _positions(
        self, name: str, dataset: Any, corners: Sequence[tuple[int, int]]
    ) -> tuple[npt.NDArray[np.float64], Sequence[npt.NDArray[np.float64] | None]]:
        """Centers and footprints of the windows; a table gives no footprint."""
        given = self._labels.positions.get(name)
        if georeference.is_georeferenced(dataset) or given is None:
            georeference.require_crs(dataset)
            size = (self.size, self.size)
            return (
                georeference.centers(dataset, corners, size),
                list(georeference.footprints(dataset, corners, size)),
            )
        if len(corners) > 1:
            raise BadItem("no CRS: the table gives one position, but the file is cut in patches")
        return np.array([given]), [None]


def _rasters(root: Path) -> tuple[Path, ...]:
    files = list_files(root, (".tif", ".tiff")).files
    if not files:
        raise UsageError(f"{root} holds no .tif or .tiff file.")
    return files


def _spread(numbers: Sequence[int]) -> list[int]:
    """Some of the numbers, evenly spread: to open every file takes as long as half of the rest."""
    count = min(len(numbers), _SAMPLE)
    return [numbers[n * len(numbers) // count] for n in range(count)]


def _header(file: Path) -> _Header:
    try:
        with raster.opened(file) as dataset:
            described = (dataset.shape, dataset.descriptions)
            if not georeference.is_georeferenced(dataset):
                return _Header(*described)
            try:
                ((lat, lon),) = georeference.centers(dataset, [(0, 0)], dataset.shape)
            except BadItem:
                return _Header(*described)
            return _Header(*described, (lat, lon))
    except BadItem:
        return _Header()  # reading it will say why


def _usual_descriptions(headers: Sequence[_Header]) -> tuple[str | None, ...]:
    described = Counter(h.descriptions for h in headers if h.descriptions is not None)
    if not described:
        raise UsageError("No file of the folder can be opened as a raster.")
    return described.most_common(1)[0][0]


def _store_bands(
    descriptions: Sequence[str | None], given: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Bands of the store, in canonical order where the user did not choose them."""
    names = band_names.band_names(descriptions)
    if names is None:
        if given is None:
            what = (
                f"are described as {', '.join(map(repr, dict.fromkeys(descriptions)))}, not by "
                "Sentinel-2's names"
                if any(descriptions)
                else "have no descriptions"
            )
            raise UsageError(
                f"The files' {len(descriptions)} bands {what}. Name them in file "
                "order with --bands, e.g. --bands B02,B03,B04,B08."
            )
        return tuple(name for name in s2.S2_13 if name in given)
    if given is not None:
        s2.indices(names, given)
        return given
    unknown = [name for name in names if name not in s2.BY_NAME]
    if unknown:
        raise UsageError(
            f"The files hold band(s) {', '.join(unknown)}, which Sentinel-2 does not have. "
            "Choose those to take with --bands."
        )
    return tuple(name for name in s2.S2_13 if name in names)


def _usual_size(headers: Sequence[_Header]) -> int:
    shapes = Counter(h.shape for h in headers if h.shape is not None)
    size = min(shapes.most_common(1)[0][0])
    if size > _MAX_PATCH:
        raise UsageError(f"The rasters are {size} pixels wide. Pass --size to cut them.")
    return size


def _check_positions(headers: Sequence[_Header], names: Sequence[str], labels: Labels) -> None:
    """Refuses a table whose positions are the files' own with latitude and longitude swapped."""
    pairs = [
        (header.latlon, labels.positions[name])
        for header, name in zip(headers, names, strict=True)
        if header.latlon is not None and name in labels.positions
    ]
    own, table = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    if not pairs:
        return
    straight = np.abs(own - table).max(axis=1) < 1
    swapped = np.abs(own - table[:, ::-1]).max(axis=1) < 1
    if (swapped & ~straight).sum() > len(pairs) / 2:
        raise UsageError("The label table's latitude and longitude look swapped.")
    if not straight.all():
        logger.warning(
            "%d of %d positions of the label table lie over a degree from the file's own, which "
            "counts.", int((~straight).sum()), len(pairs),
        )  # fmt: skip
