"""Any tree of georeferenced multi-band GeoTIFFs, with or without labels."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

from georank_zoo import bands as s2
from georank_zoo.data.datasets.folder import FOLDER
from georank_zoo.data.files import (
    band_names,
    convert,
    dates,
    georeference,
    products,
    radiometry,
    raster,
    validity,
    values,
)
from georank_zoo.data.files.listing import Listing, has_suffix, list_files
from georank_zoo.data.files.radiometry import Given, Mode, Radiometry
from georank_zoo.data.files.remote import (
    RemoteRaster,
    is_remote,
    list_rasters,
    require_allowed,
    shown,
)
from georank_zoo.data.readers.base import (
    Item,
    Reading,
    fingerprint,
    fingerprint_of_names,
    with_bad,
)
from georank_zoo.data.readers.labels import Labels, read_labels
from georank_zoo.data.store.header import Skipped
from georank_zoo.data.store.patch import Patch, Target
from georank_zoo.utils.errors import BadItem, GeorankError, UsageError

logger = logging.getLogger(__name__)

# Files beside rasters that change what is read of them: a resumed preparation needs the same.
_TELLING = (".xml", ".msk")

# A raster larger than this is a scene, not a patch, and must be cut: no default guesses how.
_MAX_PATCH = 512
# Files whose headers tell what is usual; reading finds those that differ.
_SAMPLE = 1000


@dataclass(frozen=True)
class _Header:
    """What the listing keeps of a file; all None and the reason where it cannot be opened."""

    shape: tuple[int, int] | None = None
    descriptions: tuple[str | None, ...] | None = None
    latlon: tuple[float, float] | None = None
    error: str = ""


class Folder:
    """Reads a tree of .tif and .tiff files.

    Rasters larger than a patch are cut from the upper left corner, without overlap. Patches keep
    the order of the files' names; which of them show one place, the store finds out.

    Args:
        root: The source folder.
        bands: Names of the files' bands in file order, where the files' band descriptions
            name none of Sentinel-2's; otherwise the bands wanted. All by default.
        ignore_descriptions: Take `bands` in file order whatever the files call them.
        size: Patch side in pixels; the smaller side of the most frequent shape by default.
        labels: None, `parent`, a CSV or a GeoJSON file (see `labels.py`).
        unit: Unit of the pixels; DN by default, unless the files say otherwise.
        offset: DN to subtract; by default what the files, their products or names say.
        radiometry: `auto`, where all that says what the numbers mean must agree, or `options`,
            where `unit` and `offset` alone count.
        remote: Whether `root` may be a remote folder (https, http, s3) or a text file that lists
            addresses of rasters, one a line.
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
        ignore_descriptions: bool = False,
        size: int | None = None,
        labels: str | None = None,
        unit: s2.Unit | None = None,
        offset: int | None = None,
        radiometry: Mode = "auto",
        remote: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.root = Path(shown(root))
        self._given = Given(unit, offset, radiometry)
        if size is not None and size < 1:
            raise UsageError("Size must be 1 or more.")
        given = None if bands is None else s2.resolve(bands)
        band_names.require_order(given, ignore_descriptions=ignore_descriptions)
        require_allowed(root, remote=remote)
        self._remote = list_rasters(root, raster.RASTER_SUFFIXES) if _is_elsewhere(root) else {}
        listing, told = _rasters(self.root, tuple(self._remote))
        files, names = listing.files, listing.names
        self._labels = read_labels(labels, self.root, names)
        placed = [number for number, name in enumerate(names) if name in self._labels.positions]
        sample = sorted({*_spread(range(len(files))), *_spread(placed)})
        headers = []
        for number in sample:
            headers.append(_header(self._remote.get(names[number], files[number])))
            if on_progress is not None:
                on_progress(len(headers), len(sample))
        sampled = [names[number] for number in sample]
        self._ignore = ignore_descriptions
        _require_one_opened(sampled, headers, remote=bool(self._remote))
        self.bands, in_file_order = band_names.of_files(
            _usual_descriptions(headers), given, ignore_descriptions=ignore_descriptions
        )
        self._file_order = given if in_file_order else None
        self.size = size or _usual_size(headers)
        self.class_names = self._labels.class_names
        self.target: Target = "class"
        self.splits: tuple[str, ...] = ()
        _check_positions(headers, sampled, self._labels)
        items = [Item(name, (file,), (name,)) for file, name in zip(files, names, strict=True)]
        self._items = with_bad(items, listing.bad)
        self.spec: dict[str, Any] = {
            "reader": self.name,
            "files": len(files),
            "listing": fingerprint_of_names(names)
            if self._remote
            else fingerprint(self.root, (*files, *told), listing.bad),
            "file_bands": given,
            "ignore_descriptions": ignore_descriptions,
            "labels": "parent" if labels == "parent" else self._labels.digest,
            **self._given.spec,
        }

    def items(self) -> Sequence[Item]:
        """One item a file, by name."""
        return self._items

    def read(self, item: Item) -> Reading:
        """Reads a file, and cuts it where it is larger than a patch."""
        (file,) = item.files
        try:
            with raster.opened(self._remote.get(item.name, file)) as dataset:
                return self._read_file(file, item.name, dataset)
        except BadItem as error:
            return Reading([], [Skipped(item.name, str(error))])

    def _read_file(self, file: Path, name: str, dataset: Any) -> Reading:
        channels = self._channels(name, dataset)
        height, width = dataset.shape
        corners = raster.windows(dataset.shape, self.size)
        if not corners:
            raise BadItem(f"mixed sizes: {height} x {width}, smaller than {self.size}")
        source = self._remote.get(name, file)
        raster.require_room((len(corners) * self.size, self.size), len(channels), [source])
        width_at_once = raster.columns_at_once(len(channels), self.size)
        latlon, footprints = self._positions(name, dataset, corners)
        labels = self._labels.of_windows(name, dataset, corners, self.size)
        time = dates.acquisition_time(file, dataset.tags())
        meaning = self._radiometry(dataset, channels, time)
        reading, empty = Reading([]), True
        for (row, col), (lat, lon), label, footprint in zip(
            corners, latlon.tolist(), labels, footprints, strict=True
        ):
            if col % width_at_once == 0:
                # Some windows of a row at a time: a scene in float64 would need many gigabytes.
                window = Window(col, row, min(width_at_once, width - col), self.size)
                pixels, missing = self._read_window(dataset, channels, window, meaning)
                if max(height, width) < 2 * self.size:  # else all of the file was judged
                    values.judge(pixels[:, ~missing], meaning)
                strip, missing = convert.harmonize(pixels, missing, meaning)
                empty &= bool(missing.all())
            left = col % width_at_once
            span = slice(left, left + self.size)
            key = name if len(corners) == 1 else f"{name}@{row},{col}"
            if reason := convert.no_data(missing[:, span]):
                reading.left_out.append(Skipped(f"{name}@{row},{col}", reason))
                continue
            patch = Patch(
                strip[:, :, span].copy(), lat, lon, key=key, place=f"{row},{col}", time=time,
                label=label, footprint=footprint, radiometry=meaning,
            )  # fmt: skip
            reading.patches.append(patch)
        if empty:
            raise BadItem("no data: all pixels are zero, a fill or masked")
        return reading

    def _radiometry(self, dataset: Any, channels: list[int], time: int) -> Radiometry:
        """What the file's numbers mean; a large file is judged by it.

        Raises:
            BadItem: If what says it contradicts itself or the values.
        """
        sources = radiometry.sources_of(dataset, channels)
        meaning = radiometry.find_radiometry(
            sources, self.bands, root=self.root, given=self._given, time=time
        )
        convert.require_type(dataset.dtypes[channels[0] - 1], meaning)
        if max(dataset.shape) >= 2 * self.size:
            sample = values.sample(
                lambda window: self._read_window(dataset, channels, window, meaning), dataset.shape
            )
            values.judge(sample, meaning)
        return meaning

    def _read_window(
        self, dataset: Any, channels: list[int], window: Window, meaning: Radiometry
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        return validity.read([(dataset, channel) for channel in channels], window, meaning)

    def _channels(self, name: str, dataset: Any) -> list[int]:
        """The file's channels, counted from 1, of the store's bands."""
        texts = None if self._ignore else band_names.descriptions(dataset)
        described = texts and band_names.described(texts)
        if described:
            if described.numbered:
                products.require_sentinel2(
                    f"{self.root.resolve().name}/{name}", dataset, described.names
                )
            names = described.names
        else:
            if self._file_order is None:
                raise BadItem("no band names: unlike most files, this one does not name its bands")
            raster.require_band_count(dataset, len(self._file_order))
            names = self._file_order
        band_names.require_described(names, self.bands)
        return [names.index(band) + 1 for band in self.bands]

    def _positions(
        self, name: str, dataset: Any, corners: Sequence[tuple[int, int]]
    ) -> tuple[npt.NDArray[np.float64], Sequence[npt.NDArray[np.float64] | None]]:
        """Centers and footprints of the windows; a table gives no footprint."""
        given = self._labels.positions.get(name)
        if georeference.is_georeferenced(dataset) or given is None:
            if self._labels.no_position and not georeference.is_georeferenced(dataset):
                raise BadItem(f"no CRS: nor a position, {self._labels.no_position}")
            georeference.require_crs(dataset)
            size = (self.size, self.size)
            return (
                georeference.centers(dataset, corners, size),
                list(georeference.footprints(dataset, corners, size)),
            )
        if len(corners) > 1:
            raise BadItem("no CRS: the table gives one position, but the file is cut in patches")
        return np.array([given]), [None]


def _is_elsewhere(root: str | Path) -> bool:
    return is_remote(root) or not Path(root).is_dir()


def _rasters(root: Path, remote: tuple[str, ...] = ()) -> tuple[Listing, tuple[Path, ...]]:
    """The rasters, and the files beside them that say what is in them."""
    if remote:
        return Listing(root, remote), ()
    whole = list_files(root, (*raster.TIFF_SUFFIXES, *_TELLING))
    is_raster = [has_suffix(name, raster.TIFF_SUFFIXES) for name in whole.names]
    names = tuple(compress(whole.names, is_raster))
    bad = tuple(entry for entry in whole.bad if not has_suffix(entry.name, _TELLING))
    listing = Listing(root, names, bad, whole.hidden)
    if not names:
        raise UsageError(f"{root} holds no .tif or .tiff file{listing.hint}.")
    return listing, tuple(compress(whole.files, (not one for one in is_raster)))


def _spread(numbers: Sequence[int]) -> list[int]:
    """Some of the numbers, evenly spread: to open every file takes as long as half of the rest."""
    count = min(len(numbers), _SAMPLE)
    return [numbers[n * len(numbers) // count] for n in range(count)]


def _header(file: Path | RemoteRaster) -> _Header:
    try:
        with raster.opened(file) as dataset:
            described = (dataset.shape, band_names.descriptions(dataset))
            if not georeference.is_georeferenced(dataset):
                return _Header(*described)
            try:
                ((lat, lon),) = georeference.centers(dataset, [(0, 0)], dataset.shape)
            except BadItem:
                return _Header(*described)
            return _Header(*described, (lat, lon))
    except BadItem as error:
        return _Header(error=str(error))


def _require_one_opened(names: Sequence[str], headers: Sequence[_Header], *, remote: bool) -> None:
    if not all(header.error for header in headers):
        return
    what = f"No file of the folder can be opened as a raster. The first is {names[0]}"
    # A server that refuses is no wrong word on the command line.
    raise (GeorankError if remote else UsageError)(f"{what}: {headers[0].error}.")


def _usual_descriptions(headers: Sequence[_Header]) -> tuple[str | None, ...]:
    described = Counter(h.descriptions for h in headers if h.descriptions is not None)
    return described.most_common(1)[0][0]


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
