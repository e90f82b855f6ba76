"""OSCD: 24 cities at two dates, 13 bands at native resolution, Level-1C.

Daudt, Le Saux, Boulch, Gousseau: "Urban Change Detection for Multispectral Earth Observation
Using Convolutional Neural Networks", IGARSS 2018. Layout: `<city>/imgs_{1,2}/*_B02.tif` and
`<city>/dates.txt`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georank_zoo import bands as s2
from georank_zoo.data.datasets.oscd import OSCD
from georank_zoo.data.files import convert, dates, georeference, radiometry, raster, validity
from georank_zoo.data.files.band_files import BandFile, on_grid
from georank_zoo.data.files.listing import BadEntry, has_suffix, list_level
from georank_zoo.data.files.radiometry import Radiometry
from georank_zoo.data.files.text import read_text
from georank_zoo.data.files.values import judge
from georank_zoo.data.readers.base import Item, Reading, fingerprint, with_bad
from georank_zoo.data.store.header import Skipped
from georank_zoo.data.store.patch import NO_TIME, Patch, Target
from georank_zoo.utils.errors import BadItem, UsageError

logger = logging.getLogger(__name__)

_DATES = ("imgs_1", "imgs_2")
_GRID_BAND = "B02"  # native 10 m; the grid of its first date is the grid of the city
_GRID_M = 10


class Oscd:
    """Reads OSCD; an item is a city, cut into windows; the two dates of a window are a place.

    Args:
        root: Folder that holds the cities' folders.
        bands: Bands wanted, in channel order.
        size: Patch side in pixels of 10 m.

    Raises:
        UsageError: If there is no city of the published layout, or a band is unknown.
    """

    name = OSCD.name
    class_names = OSCD.classes
    target: Target = OSCD.target
    splits: tuple[str, ...] = ()
    level = OSCD.level
    source = OSCD.source
    license = OSCD.license

    def __init__(
        self, root: str | Path, *, bands: str | Sequence[str] = "s2-12", size: int = 64
    ) -> None:
        self.root = Path(root)
        self.bands = s2.resolve(bands)
        self.size = size
        items, bad = _list(self.root)
        self._items = with_bad(items, bad)
        files = [file for item in items for file in item.files]
        cities = [self.root / item.name for item in items]
        files += [dates for city in cities if (dates := city / "dates.txt").is_file()]
        self.spec: dict[str, Any] = {
            "reader": self.name,
            "files": len(files),
            "listing": fingerprint(self.root, files, bad),
        }

    def items(self) -> Sequence[Item]:
        """One item a city, by name."""
        return self._items

    def read(self, item: Item) -> Reading:
        """Reads both dates of a city on the 10 m grid of the first and cuts them.

        Raises:
            BadItem: If a band is missing or damaged, or the files do not lie on each other.
        """
        city = self.root / item.name
        times = _acquisition_times(city / "dates.txt")
        with raster.opened(_band_file(item, "imgs_1", _GRID_BAND)) as grid:
            georeference.require_crs(grid)
            corners = raster.windows(grid.shape, self.size)
            if not corners:
                raise BadItem(f"smaller than a patch: {grid.height} x {grid.width} pixels")
            latlon = georeference.centers(grid, corners, (self.size, self.size))
            footprints = georeference.footprints(grid, corners, (self.size, self.size))
            raster.require_room(grid.shape, len(_DATES) * len(self.bands), item.files)
            scenes = [self._read_scene(item, date, grid) for date in _DATES]
        reading = Reading([])
        for date, time, (scene, missing, meaning) in zip(_DATES, times, scenes, strict=True):
            for (row, col), (lat, lon), footprint in zip(corners, latlon, footprints, strict=True):
                key = f"{item.name}/{date}@{row},{col}"
                window = (slice(row, row + self.size), slice(col, col + self.size))
                if reason := convert.no_data(missing[window]):
                    reading.left_out.append(Skipped(key, reason))
                    continue
                patch = Patch(
                    scene[:, *window].copy(), float(lat), float(lon), key=key,
                    place=f"{row},{col}", time=time, footprint=footprint, radiometry=meaning,
                )  # fmt: skip
                reading.patches.append(patch)
        return reading

    def _read_scene(
        self, item: Item, date: str, grid: Any
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_], Radiometry]:
        """Digital numbers (bands, H, W), where there are none (H, W), and what was applied."""
        read = [_read_band(_band_file(item, date, band), band, grid) for band in self.bands]
        scene = np.stack([band.values for band in read])
        convert.require_some_data(scene)
        meaning = radiometry.find_radiometry(
            [band.source for band in read], self.bands, root=self.root,
            default="OSCD, digital numbers of Level-1C",
        )  # fmt: skip
        missing = validity.fill(scene, meaning) | np.any([band.hidden for band in read], axis=0)
        missing |= validity.nothing(
            np.stack([band.zero for band in read]),
            [s2.BY_NAME[band].native_m > _GRID_M for band in self.bands],
        )
        judge(scene[:, ~missing], meaning)
        return *convert.harmonize(scene, missing, meaning), meaning


def _list(root: Path) -> tuple[list[Item], list[BadEntry]]:
    """The cities by name, and what cannot be read."""

    def is_raster(name: str) -> bool:
        return has_suffix(name, raster.TIFF_SUFFIXES)

    top = list_level(root, lambda _: False)
    items, bad = [], top.bad_in("")
    for city in top.folders:
        inside = list_level(root / city, lambda _: False, folder_wanted=_DATES.__contains__)
        bad += inside.bad_in(city)
        if _DATES[0] not in inside.folders:
            continue
        files: list[Path] = []
        for date in inside.folders:
            level = list_level(root / city / date, is_raster)
            files += [root / city / date / name for name in level.files]
            bad += level.bad_in(f"{city}/{date}")
        items.append(Item(city, tuple(files), (city,)))
    if not items:
        raise UsageError(
            f"{root} holds no OSCD city (<city>/imgs_1/*_B02.tif and <city>/imgs_2/*_B02.tif). "
            "Give the folder that holds the cities' folders."
        )
    return items, bad


def _band_file(item: Item, date: str, band: str) -> Path:
    found = [f for f in item.files if f.parent.name == date and f.stem.endswith(f"_{band}")]
    if len(found) != 1:
        kind = "missing band" if not found else "band given twice"
        raise BadItem(f"{kind}: {band} of {date}")
    return found[0]


def _read_band(file: Path, band: str, grid: Any) -> BandFile:
    """Reads one band on the grid; its own size may differ, its bounds may not."""
    with raster.opened(file) as dataset:
        raster.require_band_count(dataset, 1)
        raster.require_uint16(dataset)
        georeference.require_crs(dataset)
        pixel = abs(grid.transform.a)
        same = dataset.crs == grid.crs and np.allclose(
            dataset.bounds, grid.bounds, rtol=0, atol=pixel / 2
        )
        if not same:
            raise BadItem(f"mixed footprints: {band} of {file.parent.name}")
        # The two dates of a city differ by up to 1.3 %; a wrong native resolution by half.
        ratio = grid.width / dataset.width * _GRID_M / s2.BY_NAME[band].native_m
        if not 0.9 < ratio < 1.1:
            raise BadItem(f"mixed sizes: {band} of {file.parent.name} is {dataset.width} wide")
        return on_grid(dataset, grid.shape)


def _acquisition_times(file: Path) -> tuple[int, ...]:
    """The times of `date_1: 20150711` and `date_2: ...`; the names hold processing times."""
    try:
        lines = read_text(file).split("\n") if file.is_file() else []
    except UsageError as error:
        raise BadItem(f"damaged dates.txt: {error}") from error
    stated = dict(line.split(":", 1) for line in lines if ":" in line)
    times = tuple(dates.parse_time(stated.get(f"date_{n}", "")) for n in (1, 2))
    if NO_TIME in times:
        logger.warning("%s does not give both dates; the city's patches have no time.", file)
    return times
