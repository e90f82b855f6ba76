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
from georank_zoo.data.files import convert, dates, georeference, raster
from georank_zoo.data.readers.base import Item, Reading, fingerprint
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
        cities = sorted(folder.parent for folder in self.root.glob("*/imgs_1") if folder.is_dir())
        if not cities:
            raise UsageError(
                f"{self.root} holds no OSCD city (<city>/imgs_1/*_B02.tif and "
                "<city>/imgs_2/*_B02.tif). Give the folder that holds the cities' folders."
            )
        self._items = [
            Item(
                city.name,
                tuple(f for date in _DATES for f in sorted(city.glob(f"{date}/*.tif"))),
                (city.name,),
            )
            for city in cities
        ]
        files = [file for item in self._items for file in item.files]
        files += [dates for city in cities if (dates := city / "dates.txt").is_file()]
        self.spec: dict[str, Any] = {
            "reader": self.name,
            "files": len(files),
            "listing": fingerprint(self.root, files),
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
            scenes = [self._read_scene(item, date, grid) for date in _DATES]
        reading = Reading([])
        for date, time, scene in zip(_DATES, times, scenes, strict=True):
            for (row, col), (lat, lon), footprint in zip(corners, latlon, footprints, strict=True):
                key = f"{item.name}/{date}@{row},{col}"
                pixels = scene[:, row : row + self.size, col : col + self.size]
                if reason := convert.no_data((pixels == 0).all(axis=0)):
                    reading.left_out.append(Skipped(key, reason))
                    continue
                patch = Patch(
                    pixels.copy(), float(lat), float(lon), key=key, place=f"{row},{col}",
                    time=time, footprint=footprint,
                )  # fmt: skip
                reading.patches.append(patch)
        return reading

    def _read_scene(self, item: Item, date: str, grid: Any) -> npt.NDArray[np.uint16]:
        scene = np.stack(
            [_read_band(_band_file(item, date, band), band, grid) for band in self.bands]
        )
        convert.require_some_data(scene)
        return scene


def _band_file(item: Item, date: str, band: str) -> Path:
    found = [f for f in item.files if f.parent.name == date and f.stem.endswith(f"_{band}")]
    if len(found) != 1:
        kind = "missing band" if not found else "band given twice"
        raise BadItem(f"{kind}: {band} of {date}")
    return found[0]


def _read_band(file: Path, band: str, grid: Any) -> npt.NDArray[np.uint16]:
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
        return raster.read_on_grid(dataset, grid.shape)


def _acquisition_times(file: Path) -> tuple[int, ...]:
    """The times of `date_1: 20150711` and `date_2: ...`; the names hold processing times."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    stated = dict(line.split(":", 1) for line in lines if ":" in line)
    times = tuple(dates.parse_time(stated.get(f"date_{n}", "")) for n in (1, 2))
    if NO_TIME in times:
        logger.warning("%s does not give both dates; the city's patches have no time.", file)
    return times
