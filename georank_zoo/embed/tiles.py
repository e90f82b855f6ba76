"""Scenes, read window by window, and the grid of tiles that they are cut into."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from georank_zoo import bands as s2
from georank_zoo.data.files import band_names, convert, georeference, raster
from georank_zoo.utils.errors import BadItem, GeorankError, UsageError, unknown_name

_SUFFIXES = (".tif", ".tiff", ".jp2")
# T31TCJ_20200101T105441_B02_10m.jp2, S2A_..._B8A.tif, B2.tif
_BAND_OF_FILE = re.compile(r"(?:^|_)(B\d{1,2}|B8A)(?:_\d+m)?$", re.I)
# Masks of the footprint in a .SAFE folder, named by band too.
_MASK = "MSK_"


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
    """

    def __init__(self, grid: Any, sources: dict[str, tuple[Any, int]], unit: s2.Unit, offset: int):
        """Args: the raster that gives the grid, and each band's raster on it and channel."""
        self.bands = tuple(sources)
        self.shape: tuple[int, int] = grid.shape
        placed = georeference.grid_of(grid)
        self.crs, self.transform = placed.crs, placed.transform
        self._grid, self._sources = grid, sources
        self._unit, self._offset = unit, offset
        flags = grid.mask_flag_enums[0]
        self._masked = MaskFlags.per_dataset in flags

    def read(
        self, window: Window, bands: Sequence[str]
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]]:
        """Reads a window, which may hang over the lower and the right edge.

        Returns:
            Digital numbers (len(bands), h, w), zero where there is no data, and that mask (h, w).

        Raises:
            BadItem: If the values contradict the unit, or the file is damaged.
        """
        inside = window.intersection(Window(0, 0, self.shape[1], self.shape[0]))
        try:
            pixels = self._read_inside(inside, bands)
            masked = self._grid.dataset_mask(window=inside) == 0 if self._masked else None
        except RasterioError as error:
            raise BadItem(f"unreadable or truncated: {error.__cause__ or error}") from error
        dn, missing = convert.harmonize(
            pixels, self._unit, nodata=self._grid.nodata, offset=self._offset
        )
        if masked is not None:
            missing |= masked
        over = ((0, window.height - inside.height), (0, window.width - inside.width))
        return np.pad(dn, ((0, 0), *over)), np.pad(missing, over, constant_values=True)

    def _read_inside(self, window: Window, bands: Sequence[str]) -> npt.NDArray[Any]:
        rasters = {id(self._sources[band][0]) for band in bands}
        if len(rasters) == 1:
            pixels: npt.NDArray[Any] = self._sources[bands[0]][0].read(
                [self._sources[band][1] for band in bands], window=window
            )
            return pixels
        parts = [self._sources[band] for band in bands]
        return np.stack([source.read(channel, window=window) for source, channel in parts])


@contextmanager
def open_scene(
    path: str | Path,
    *,
    bands: str | Sequence[str] | None = None,
    unit: s2.Unit = "dn",
    offset: int = 0,
) -> Iterator[Scene]:
    """Opens a scene for reading.

    Args:
        path: A multi-band raster, or a folder with one raster a band (`*_B02.tif`, `B2.tif`,
            `*_B02_10m.jp2`; a `.SAFE` folder is one). Coarser bands are resampled bilinearly to
            the grid of the finest.
        bands: Names of a raster's bands in file order, where its band descriptions name none of
            Sentinel-2's; otherwise the bands to take. All by default.
        unit: Unit of the pixels.
        offset: DN to subtract: 1000 for processing baseline >= 04.00.

    Raises:
        UsageError: If bands are not known, or the values contradict the unit.
        GeorankError: If a file is damaged or does not say where it lies.
    """
    path = Path(path)
    if unit not in s2.UNITS:
        raise unknown_name("unit", unit, s2.UNITS)
    if not path.exists():
        raise UsageError(f"There is no {path}.")
    given = None if bands is None else s2.resolve(bands)
    try:
        with ExitStack() as stack:
            if path.is_dir():
                grid, sources = _open_folder(path, stack)
            else:
                grid, sources = _open_file(path, given, stack)
            if given is not None:
                s2.indices(tuple(sources), given)
                sources = {name: sources[name] for name in given}
            yield Scene(grid, sources, unit, offset)
    except BadItem as error:
        kind = UsageError if isinstance(error.__cause__, UsageError) else GeorankError
        raise kind(f"{path}: {error}") from error


def _open_file(
    path: Path, given: tuple[str, ...] | None, stack: ExitStack
) -> tuple[Any, dict[str, tuple[Any, int]]]:
    dataset = stack.enter_context(raster.opened(path))
    georeference.require_crs(dataset)
    names = band_names.band_names(dataset.descriptions)
    if names is None:
        if given is None or len(given) != dataset.count:
            said = f"--bands names {len(given)}" if given else "--bands must name them"
            raise UsageError(
                f"{path} has {dataset.count} bands without Sentinel-2's names, and {said}. Name "
                "all of them in file order, e.g. --bands B02,B03,B04,B08."
            )
        names = given
    channels = {name: (dataset, i) for i, name in enumerate(names, 1) if name in s2.BY_NAME}
    return dataset, channels


def _open_folder(path: Path, stack: ExitStack) -> tuple[Any, dict[str, tuple[Any, int]]]:
    opened: dict[str, Any] = {}
    for file in sorted(path.rglob("*")):
        match = _BAND_OF_FILE.search(file.stem)
        if not match or file.suffix.lower() not in _SUFFIXES or file.name.startswith(_MASK):
            continue
        band = s2.canonical(match[1])
        dataset = stack.enter_context(raster.opened(file))
        raster.require_band_count(dataset, 1)
        georeference.require_crs(dataset)
        other = opened.get(band)
        if other is not None and other.shape == dataset.shape:
            raise UsageError(
                f"{path} has {band} twice: {other.name} and {dataset.name}. Give the folder of "
                "one acquisition."
            )
        # Level-2A comes in several resolutions.
        if other is None or dataset.width > other.width:
            opened[band] = dataset
    if not opened:
        raise UsageError(
            f"{path} is not a store, and holds no rasters of single bands (such as *_B02.tif)."
        )
    grid = max(opened.values(), key=lambda dataset: dataset.width)
    return grid, {
        name: (_on_grid(opened[name], grid, stack), 1) for name in s2.BY_NAME if name in opened
    }


def _on_grid(dataset: Any, grid: Any, stack: ExitStack) -> Any:
    source, target = georeference.grid_of(dataset), georeference.grid_of(grid)
    if source.crs != target.crs or not np.allclose(
        source.bounds, target.bounds, rtol=0, atol=abs(source.transform.a)
    ):
        raise BadItem(f"mixed footprints: {Path(dataset.name).name} and {Path(grid.name).name}")
    if source == target:
        return dataset
    height, width = target.shape
    return stack.enter_context(
        WarpedVRT(
            dataset, src_crs=source.crs, src_transform=source.transform, crs=target.crs,
            transform=target.transform, height=height, width=width, resampling=Resampling.bilinear,
        )
    )  # fmt: skip
