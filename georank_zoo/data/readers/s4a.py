"""Sen4AgriNet: time series of patches of Catalonia and France with crops, 2019 and 2020.

Sykas et al.: "A Sentinel-2 multi-year, multi-country benchmark dataset for crop classification
and segmentation with deep learning", IEEE JSTARS 2022. Layout:
`<year>/<tile>/<year>_<tile>_patch_<x>_<y>.nc`, netCDF-4, which is HDF5. The files have a B10,
which only Level-1C has.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from rasterio.warp import transform as transform_points

from georank_zoo import bands as s2
from georank_zoo.data.datasets.s4a import (
    CODES_PER_GROUP,
    FILE_SIZE,
    MIN_PIXELS,
    S4A,
    TEST_TILES,
    TILES,
    TILES_SPLIT,
)
from georank_zoo.data.files import convert, dates, hdf5, raster
from georank_zoo.data.files.listing import list_files
from georank_zoo.data.files.radiometry import uniform
from georank_zoo.data.readers.base import Item, Reading, fingerprint, with_bad
from georank_zoo.data.store.header import Skipped
from georank_zoo.data.store.patch import NO_POSITION, NO_TIME, Patch, Role, Target
from georank_zoo.utils.errors import BadItem, UsageError

_NAME = re.compile(r"(20\d\d)_((\d\d)[A-Z]{3})_(patch_\d+_\d+)")
_SECONDS = {"days": 86_400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0}
_PIXEL_M = 10
_SIDE, _GROUPS = S4A.image_size, len(S4A.classes)


class Sen4AgriNet:
    """Reads Sen4AgriNet; an item is a patch of a tile in all years, cut into 3 x 3 places.

    All dates of a place are held at once: 70 dates take 190 MB.

    Args:
        root: A folder that the files lie in, at any depth.
        bands: Bands wanted, in channel order, of those of 10 and 20 m.
        dates: Most dates of a place and year, evenly spread; all by default.

    Raises:
        UsageError: If there is no file of the published name, or a band is unknown or missing.
    """

    name = S4A.name
    size = S4A.image_size
    class_names = S4A.classes
    target: Target = S4A.target
    splits = (TILES_SPLIT,)
    level = S4A.level
    source = S4A.source
    license = S4A.license

    def __init__(
        self,
        root: str | Path,
        *,
        bands: str | Sequence[str] = S4A.bands,
        dates: int | None = None,
    ) -> None:
        self.root = Path(root)
        self.bands = s2.resolve(bands)
        s2.indices(S4A.bands, self.bands)
        if dates is not None and dates < 1:
            raise UsageError("Dates must be 1 or more.")
        self.dates = dates
        listing = list_files(self.root, (".nc",))
        files = [path for path in listing.files if _NAME.fullmatch(path.stem)]
        if not files:
            raise UsageError(
                f"{self.root} holds no Sen4AgriNet file (<year>_<tile>_patch_<x>_<y>.nc, e.g. "
                "2020_31TCG_patch_14_14.nc). Give the folder that holds the years' folders."
            )
        places: dict[str, list[Path]] = {}
        for path in files:
            places.setdefault(path.stem.partition("_")[2], []).append(path)
        items = [
            Item(place, tuple(group), tuple(self._relative(path) for path in group))
            for place, group in sorted(places.items())
        ]
        self._items = with_bad(items, listing.bad)
        self.spec: dict[str, Any] = {
            "reader": self.name,
            "dates": dates,
            "files": len(files),
            "listing": fingerprint(self.root, files, listing.bad),
        }

    def items(self) -> Sequence[Item]:
        """Patches by tile and name, with the files of all years."""
        return self._items

    def read(self, item: Item) -> Reading:
        """Reads a patch in all years; each file can be bad by itself."""
        whole = Reading([])
        for path in item.files:
            try:
                reading = self._read_file(path)
            except BadItem as error:
                whole.left_out.append(Skipped(self._relative(path), str(error)))
            else:
                whole.patches.extend(reading.patches)
                whole.left_out.extend(reading.left_out)
        return whole

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _read_file(self, path: Path) -> Reading:
        with hdf5.open_hdf5(path) as file:
            named = hdf5.text_attribute(file, "patch_full_name")
            if named != path.stem:
                raise BadItem(f"name and content differ: the file says it is {named or 'nothing'}")
            codes = hdf5.read_array(file, "labels/labels", (FILE_SIZE, FILE_SIZE))
            times = _common_times(file, self.bands)
            if self.dates is not None and len(times) > self.dates:
                times = times[_spread(len(times), self.dates)]
            scenes = np.empty((len(times), len(self.bands), FILE_SIZE, FILE_SIZE), np.uint16)
            for channel, band in enumerate(self.bands):
                scenes[:, channel] = _band(file, band, times)
            latlon, footprints = _positions(file, path.stem)
        hdf5.require_unit(scenes, "dn")
        return self._cut(path, scenes, times, _crop_groups(codes), latlon, footprints)

    def _cut(
        self,
        path: Path,
        scenes: npt.NDArray[np.uint16],
        times: npt.NDArray[np.int64],
        groups: npt.NDArray[np.uint8],
        latlon: npt.NDArray[np.float64],
        footprints: npt.NDArray[np.float64],
    ) -> Reading:
        """Patches of scenes (T, bands, 366, 366), with groups (9, C) and positions (9, 2)."""
        reading, roles = Reading([]), _roles(path.stem)
        meaning = uniform(len(self.bands), source="Sen4AgriNet, digital numbers of Level-1C")
        corners = raster.windows((FILE_SIZE, FILE_SIZE), _SIDE)
        for (row, col), labels, (lat, lon), footprint in zip(
            corners, groups, latlon, footprints, strict=True
        ):
            window = f"{self._relative(path)}@{row},{col}"
            if not labels.any():
                reason = f"window without labels: no crop above {MIN_PIXELS} pixels"
                reading.left_out.append(Skipped(window, reason))
                continue
            for scene, time in zip(scenes, times, strict=True):
                key = f"{window}@{np.datetime64(int(time), 's').astype('datetime64[D]')}"
                pixels = scene[:, row : row + _SIDE, col : col + _SIDE]
                if missing := convert.no_data((pixels == 0).all(axis=0)):
                    reading.left_out.append(Skipped(key, missing))
                    continue
                # Without a copy: together the windows are the scene.
                patch = Patch(
                    pixels, float(lat), float(lon), key=key, place=f"{row},{col}",
                    time=int(time), labels=labels, roles=roles, footprint=footprint,
                    radiometry=meaning,
                )  # fmt: skip
                reading.patches.append(patch)
        return reading


def _roles(stem: str) -> dict[str, Role]:
    tile = _match(stem)[2]
    if tile in TEST_TILES:
        return {TILES_SPLIT: "test"}
    known = any(tile in tiles for tiles in TILES.values())
    return {TILES_SPLIT: "train"} if known else {}


def _match(stem: str) -> re.Match[str]:
    match = _NAME.fullmatch(stem)
    assert match is not None  # of the listing
    return match


def _times(file: h5py.File, band: str) -> npt.NDArray[np.int64]:
    """Acquisition times of a band as Unix seconds (T,), from the CF units of the coordinate."""
    name = f"{band}/time"
    numbers = hdf5.read_array(file, name, (None,))
    values = hdf5.array(file, name, (None,))
    unit, _, since = hdf5.text_attribute(values, "units").partition(" since ")
    epoch = dates.parse_time(since)
    if unit not in _SECONDS or epoch == NO_TIME:
        raise BadItem(f"no dates: the time of {band} is not in days or seconds since a date")
    seconds = np.rint(numbers.astype(np.float64) * _SECONDS[unit])
    return np.asarray(epoch + seconds, np.int64)


def _common_times(file: h5py.File, bands: Sequence[str]) -> npt.NDArray[np.int64]:
    """The times, in order, at which all bands were taken."""
    for band in bands:
        if not isinstance(hdf5.member(file, band), h5py.Group):
            raise BadItem(f"missing band: {band}")
    times = _times(file, bands[0])
    for band in bands[1:]:
        times = np.intersect1d(times, _times(file, band))
    if len(times) == 0:
        raise BadItem("no date that all bands have")
    return np.unique(times)


def _spread(count: int, wanted: int) -> npt.NDArray[np.int64]:
    """Positions of `wanted` of `count` dates: the middles of as many equal spans."""
    return np.floor((np.arange(wanted) + 0.5) * count / wanted).astype(np.int64)


def _band(file: h5py.File, band: str, times: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    """A band at some times on the 10 m grid (T, 366, 366)."""
    step = s2.BY_NAME[band].native_m // _PIXEL_M
    side = FILE_SIZE // step
    own = _times(file, band)
    values = hdf5.read_array(file, f"{band}/{band}", (len(own), side, side))
    if values.dtype != np.uint16:
        raise BadItem(f"wrong data type: {band} is {values.dtype} instead of uint16")
    # Read whole: the chunks of the files reach over many dates.
    _, first = np.unique(own, return_index=True)
    chosen = first[np.searchsorted(own[first], times)]
    native: npt.NDArray[np.uint16] = values[chosen]
    return native if step == 1 else _enlarged(native)


def _enlarged(native: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Images (T, h, w) on the 10 m grid of the same bounds, bilinearly, as in `raster`."""
    import torch  # late: processes that read other data sets need not load it

    images = torch.from_numpy(native.astype(np.float32))[:, None]
    larger = torch.nn.functional.interpolate(
        images, size=(FILE_SIZE, FILE_SIZE), mode="bilinear", align_corners=False
    )
    return np.asarray(np.rint(larger[:, 0].numpy()), np.uint16)


def _crop_groups(codes: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Which crop groups each of the 3 x 3 windows has (9, C), of crop codes (366, 366)."""
    groups = codes.astype(np.int64) // CODES_PER_GROUP
    # 0 is no crop; a code below 100 would be of no group.
    if not np.array_equal(groups == 0, codes == 0) or groups.max() > _GROUPS:
        raise BadItem(
            f"labels out of range: a crop code is none of {CODES_PER_GROUP} to "
            f"{CODES_PER_GROUP * (_GROUPS + 1) - 1}"
        )
    windows = [
        groups[row : row + _SIDE, col : col + _SIDE]
        for row, col in raster.windows((FILE_SIZE, FILE_SIZE), _SIDE)
    ]
    counts = np.stack([np.bincount(w.ravel(), minlength=_GROUPS + 1)[1:] for w in windows])
    return (counts > MIN_PIXELS).astype(np.uint8)


def _positions(
    file: h5py.File, stem: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Centers (9, 2) and corners (9, 4, 2) of the 3 x 3 windows, from the coordinates of B02.

    `NO_POSITION` where the file has no coordinates of 10 m steps.
    """
    corners = np.array(raster.windows((FILE_SIZE, FILE_SIZE), _SIDE))
    unknown = np.full((len(corners), 5, 2), NO_POSITION)
    starts = []
    for axis, step in (("y", -_PIXEL_M), ("x", _PIXEL_M)):
        coordinate = hdf5.member(file, f"B02/{axis}")
        if not isinstance(coordinate, h5py.Dataset) or coordinate.shape != (FILE_SIZE,):
            return unknown[:, 0], unknown[:, 1:]
        values = hdf5.read_array(file, f"B02/{axis}", (FILE_SIZE,)).astype(np.float64)
        if not np.allclose(np.diff(values), step, rtol=0, atol=0.01):
            return unknown[:, 0], unknown[:, 1:]
        starts.append(values[0] - step / 2)  # coordinates are those of the pixels' centers
    # The center and then the corners, in pixels.
    within = np.array([(0.5, 0.5), (0, 0), (0, 1), (1, 1), (1, 0)]) * _SIDE
    pixels = (corners[:, None] + within).reshape(-1, 2)
    y, x = starts[0] - pixels[:, 0] * _PIXEL_M, starts[1] + pixels[:, 1] * _PIXEL_M
    # The zone of a tile's name; all published tiles lie north of the equator.
    lon, lat = transform_points(f"EPSG:326{_match(stem)[3]}", "EPSG:4326", x.tolist(), y.tolist())
    latlon = np.stack((lat, lon), axis=1).reshape(-1, 5, 2)
    if not bool((np.abs(latlon) <= (90, 180)).all()):
        latlon = unknown
    return latlon[:, 0], latlon[:, 1:]
