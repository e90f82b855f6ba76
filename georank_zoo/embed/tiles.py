"""Scenes, read window by window, and the grid of tiles that they are cut into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.transform import Affine
from rasterio.windows import Window

from georank_zoo import bands as s2
from georank_zoo.data.files import (
    band_names,
    convert,
    dates,
    georeference,
    validity,
    values,
)
from georank_zoo.data.files.radiometry import Given, Mode, Radiometry, find_radiometry, sources_of
from georank_zoo.data.files.remote import shown
from georank_zoo.embed.scene_files import as_usage_error, find_rasters, open_file, open_folder
from georank_zoo.utils.errors import BadItem, GeorankError, UsageError


@dataclass(frozen=True)
class TileGrid:
    """Grid of the tiles of a scene: tile (r, c) begins at pixel (r * stride, c * stride).

    A tile may hang over the lower or the right edge as far as no data is accepted in it.

    Attributes:
        shape: Height and width of the scene in pixels.
        tile: Side of a tile in pixels.
        stride: Pixels from a tile to the next.
        max_nodata: Largest share of a tile that may be without data.
    """

    shape: tuple[int, int]
    tile: int
    stride: int
    max_nodata: float

    @property
    def rows(self) -> int:
        """Number of tiles from top to bottom."""
        return self._count(self.shape[0])

    @property
    def cols(self) -> int:
        """Number of tiles from left to right."""
        return self._count(self.shape[1])

    def _count(self, side: int) -> int:
        room = side + int(self.max_nodata * self.tile) - self.tile
        return room // self.stride + 1 if room >= 0 else 0

    def transform(self, scene: Affine) -> Affine:
        """Geotransform of a raster of one pixel a tile, each centered on its tile.

        Args:
            scene: Geotransform of the scene.
        """
        margin = (self.tile - self.stride) / 2
        left = scene.c + (scene.a + scene.b) * margin
        top = scene.f + (scene.d + scene.e) * margin
        a, b, d, e = (step * self.stride for step in (scene.a, scene.b, scene.d, scene.e))
        return Affine(a, b, left, d, e, top)

    def window(self, row: int, col: int, count: int) -> Window:
        """The pixels of `count` tiles of a row, from tile (row, col) on."""
        width = (count - 1) * self.stride + self.tile
        return Window(col * self.stride, row * self.stride, width, self.tile)

    def cut(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Cuts pixels (..., tile, width) of a `window` into tiles (count, ..., tile, tile)."""
        size = (self.tile, self.tile)
        views = np.lib.stride_tricks.sliding_window_view(pixels, size, axis=(-2, -1))
        return np.moveaxis(views[..., 0, :: self.stride, :, :], -3, 0)


class Scene:
    """An open scene.

    Attributes:
        bands: Bands of the scene.
        shape: Height and width in pixels.
        crs: Coordinate reference system.
        transform: Geotransform.
        pixel_m: Side of a pixel on the ground in meters.
        radiometry: What the numbers mean, by band.
    """

    def __init__(self, grid: Any, sources: dict[str, tuple[Any, int]], meaning: Radiometry):
        """Args: the raster of the grid, each band's raster on it and channel, what they mean."""
        self.bands = tuple(sources)
        self.shape: tuple[int, int] = grid.shape
        placed = georeference.grid_of(grid)
        self.crs, self.transform = placed.crs, placed.transform
        self.pixel_m = georeference.pixel_size_m(grid)
        self.radiometry = meaning
        self._sources = sources
        self._judged: set[tuple[str, ...]] = set()

    def sample(self, bands: Sequence[str]) -> npt.NDArray[np.uint16]:
        """Valid digital numbers (len(bands), n) from all over the scene.

        Raises:
            BadItem: If the values contradict what they are said to mean, or the file is damaged.
        """
        channels = s2.indices(self.bands, bands)
        for channel, band in zip(channels, bands, strict=True):
            # Each by itself: put together, 8 bits take the type of wider bands.
            dataset, number = self._sources[band]
            convert.require_type(dataset.dtypes[number - 1], self.radiometry.of([channel]))
        meaning = self.radiometry.of(channels)
        valid = values.sample(lambda window: self._read_inside(window, bands), self.shape)
        values.judge(valid, meaning)
        self._judged.add(tuple(bands))
        whole = np.zeros((1, valid.shape[1]), bool)
        dn, missing = convert.harmonize(valid[:, None], whole, meaning)
        return dn[:, ~missing]

    def read(
        self, window: Window, bands: Sequence[str]
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]]:
        """Reads a window, which may hang over the lower and the right edge.

        Returns:
            Digital numbers (len(bands), h, w), zero where there is no data, and that mask (h, w).

        Raises:
            BadItem: See `sample`. `open_scene` turns what GDAL raises because a file is damaged
                into an error of ours.
        """
        if tuple(bands) not in self._judged:
            self.sample(bands)
        inside = window.intersection(Window(0, 0, self.shape[1], self.shape[0]))
        meaning = self.radiometry.of(s2.indices(self.bands, bands))
        dn, missing = convert.harmonize(*self._read_inside(inside, bands), meaning)
        over = ((0, window.height - inside.height), (0, window.width - inside.width))
        return np.pad(dn, ((0, 0), *over)), np.pad(missing, over, constant_values=True)

    def _read_inside(
        self, window: Window, bands: Sequence[str]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        meaning = self.radiometry.of(s2.indices(self.bands, bands))
        return validity.read([self._sources[band] for band in bands], window, meaning)


@contextmanager
def open_scene(
    path: str | Path,
    *,
    bands: str | Sequence[str] | None = None,
    ignore_descriptions: bool = False,
    unit: s2.Unit | None = None,
    offset: int | None = None,
    radiometry: Mode = "auto",
    remote: bool = False,
) -> Iterator[Scene]:
    """Opens a scene for reading.

    Args:
        path: A multi-band raster, or a folder with one raster a band (`*_B02.tif`, `B2.tif`,
            `*_B02_10m.jp2`, `nir08.tif`; a `.SAFE` folder is one). Coarser bands are resampled
            bilinearly to the grid of the finest.
        bands: Names of a raster's bands in file order, where its band descriptions name none of
            Sentinel-2's; otherwise the bands to take. All by default.
        ignore_descriptions: Take `bands` in file order whatever the raster calls them; of a
            folder, in the order of its files' names, B2 before B10.
        unit: Unit of the pixels; DN by default, unless the files say otherwise.
        offset: DN to subtract; by default what the files, the product's XML or names say.
        radiometry: `auto`, where all that says what the numbers mean must agree, or `options`,
            where `unit` and `offset` alone count.
        remote: Whether the scene may lie elsewhere: `path` is then an address (https, http, s3)
            of a raster or of a folder with one raster a band, or a text file (.txt) that lists
            the addresses of these.

    Raises:
        UsageError: If bands are not known, or the values contradict what they are said to mean.
        GeorankError: If a file is damaged or does not say where it lies.
    """
    options = Given(unit, offset, radiometry)
    source, files = find_rasters(path, remote=remote)
    where = shown(path)
    path = Path(where)
    given = None if bands is None else s2.resolve(bands)
    band_names.require_order(given, ignore_descriptions=ignore_descriptions)
    try:
        with ExitStack() as stack:
            order = given if ignore_descriptions else None
            if source is None:
                grid, sources = open_folder(path, files, order, stack)
            else:
                grid, sources = open_file(path, source, given, order, stack)
            if given is not None:
                with as_usage_error(path):
                    band_names.require_described(tuple(sources), given)
                sources = {name: sources[name] for name in given}
            yield Scene(grid, sources, _radiometry(path, grid, sources, options))
    except BadItem as error:
        kind = UsageError if isinstance(error.__cause__, UsageError) else GeorankError
        raise kind(f"{where}: {error}") from error


def _radiometry(
    path: Path, grid: Any, sources: dict[str, tuple[Any, int]], options: Given
) -> Radiometry:
    files = [(getattr(view, "src_dataset", view), channel) for view, channel in sources.values()]
    told = [source for dataset, channel in files for source in sources_of(dataset, [channel])]
    return find_radiometry(
        told, tuple(sources), root=path, given=options,
        time=dates.acquisition_time(Path(grid.name), grid.tags()),
    )  # fmt: skip
