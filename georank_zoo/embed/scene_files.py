"""The rasters of a scene: one of many bands, or one a band, here or elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from georank_zoo import bands as s2
from georank_zoo.data.files import (
    band_names,
    georeference,
    products,
    raster,
)
from georank_zoo.data.files.listing import has_suffix, list_files
from georank_zoo.data.files.remote import (
    LIST_SUFFIXES,
    RemoteRaster,
    is_remote,
    list_rasters,
    parse,
    require_allowed,
    shown,
)
from georank_zoo.utils.errors import BadItem, GeorankError, UsageError


def find_rasters(
    path: str | Path, *, remote: bool
) -> tuple[Path | RemoteRaster | None, list[tuple[Path, Path | RemoteRaster]]]:
    """The scene if it is one raster; else None, and the rasters of its folder with their names."""
    require_allowed(path, remote=remote)
    if is_remote(path) and has_suffix(shown(path), raster.RASTER_SUFFIXES):
        return parse(path), []
    if is_remote(path) or (remote and has_suffix(str(path), LIST_SUFFIXES)):
        found = list_rasters(path, raster.RASTER_SUFFIXES)
        return None, [(Path(name), elsewhere) for name, elsewhere in found.items()]
    path = Path(path)
    if not path.exists():
        raise UsageError(f"There is no {path}.")
    if not path.is_dir():
        return path, []
    listing = list_files(path, raster.RASTER_SUFFIXES)
    for name, reason in listing.bad:
        # A folder or a band that cannot be read may change what the scene is.
        is_band = band_names.band_of_file(Path(name).stem) is not None
        if is_band or not has_suffix(name, raster.RASTER_SUFFIXES):
            raise GeorankError(f"{path}: {reason} ({name}).")
    return None, [(file, file) for file in listing.files]


@contextmanager
def as_usage_error(path: Path) -> Iterator[None]:
    """What cannot be told of a scene's bands is for its user to say."""
    try:
        yield
    except BadItem as error:
        raise UsageError(f"{path}: {error}.") from error


def open_file(
    path: Path,
    source: Path | RemoteRaster,
    given: tuple[str, ...] | None,
    order: tuple[str, ...] | None,
    stack: ExitStack,
) -> tuple[Any, dict[str, tuple[Any, int]]]:
    """Opens a scene of one raster.

    Args:
        path: The scene, for messages.
        source: The raster.
        given: Bands that the user named; file order where the raster names none.
        order: Bands in the order of the channels, whatever they are called; None to ask them.
        stack: Keeps what is opened.

    Returns:
        The raster that gives the grid, and by band its raster on that grid and channel.

    Raises:
        UsageError: If it cannot be told which bands they are.
        BadItem: If a raster is damaged or does not say where it lies.
    """
    dataset = stack.enter_context(raster.opened(source))
    georeference.require_crs(dataset)
    described = None
    if order is None:
        with as_usage_error(path):
            described = band_names.described(band_names.descriptions(dataset))
            if described is not None and described.numbered:
                place = path.resolve()
                products.require_sentinel2(
                    f"{place.parent.name}/{place.name}", dataset, described.names
                )
    if described is not None:
        names = described.names
    else:
        if given is None or len(given) != dataset.count:
            said = f"--bands names {len(given)}" if given else "--bands must name them"
            raise UsageError(
                f"{path} has {dataset.count} bands without Sentinel-2's names, and {said}. Name "
                "all of them in file order, e.g. --bands B02,B03,B04,B08."
            )
        names = given
    channels = {name: (dataset, i) for i, name in enumerate(names, 1) if name in s2.BY_NAME}
    return dataset, channels


def open_folder(
    path: Path,
    files: Sequence[tuple[Path, Path | RemoteRaster]],
    order: tuple[str, ...] | None,
    stack: ExitStack,
) -> tuple[Any, dict[str, tuple[Any, int]]]:
    """Opens a scene of one raster a band, on the grid of the finest.

    Args:
        path: The scene, for messages.
        files: Names and rasters, of which those named as bands count.
        order: Bands in the order of the files, whatever they are called; None to ask them.
        stack: Keeps what is opened.

    Returns:
        The raster that gives the grid, and by band its raster on that grid and channel.

    Raises:
        UsageError: If it cannot be told which bands they are.
        BadItem: If a raster is damaged or does not say where it lies.
    """
    opened: dict[str, _BandRaster] = {}
    for file, source in files:
        band = band_names.band_of_file(file.stem)
        if band is None:
            continue
        dataset = stack.enter_context(raster.opened(source))
        raster.require_band_count(dataset, 1)
        georeference.require_crs(dataset)
        name = file.relative_to(path) if file.is_relative_to(path) else file
        other = opened.get(band)
        if other is not None and other.dataset.shape == dataset.shape:
            raise UsageError(
                f"{path} has {band} twice: {other.name} and {name.as_posix()}. Give the folder of "
                "one acquisition."
            )
        # Level-2A comes in several resolutions.
        if other is None or dataset.width > other.dataset.width:
            opened[band] = _BandRaster(name.as_posix(), dataset)
    if not opened:
        raise UsageError(
            f"{path} is not a store, and holds no rasters of single bands (such as *_B02.tif)."
        )
    products.require_one_acquisition([one.name for one in opened.values()], path)
    if order:
        opened = _in_order(path, opened, order)
    else:
        _require_sentinel2(path, opened)
    grid = max((one.dataset for one in opened.values()), key=lambda dataset: dataset.width)
    return grid, {
        band: (_on_grid(opened[band].dataset, grid, stack), 1)
        for band in s2.BY_NAME
        if band in opened
    }


@dataclass(frozen=True)
class _BandRaster:
    """A file of one band: its name in the scene's folder, and its open raster."""

    name: str
    dataset: Any


def _require_sentinel2(path: Path, opened: dict[str, _BandRaster]) -> None:
    """Refuses files numbered as another satellite's, or counted through."""
    numbers, known = [], False
    for one in opened.values():
        if number := band_names.number_of_file(Path(one.name).stem):
            name = f"{path.resolve().name}/{one.name}"
            with as_usage_error(path):
                products.require_sentinel2(name, one.dataset, tuple(opened))
            numbers.append(number)
            known |= products.names_sentinel2(name)
    numbers.sort(key=band_names.natural_order)
    if numbers and not known and band_names.are_positions(numbers):
        raise UsageError(
            f"{path} numbers its files {', '.join(numbers)}, which may be no more than their "
            "order. Name their bands with --bands and pass --ignore-descriptions."
        )


def _in_order(
    path: Path, opened: dict[str, _BandRaster], order: tuple[str, ...]
) -> dict[str, _BandRaster]:
    found = sorted(opened.values(), key=lambda one: band_names.natural_order(one.name))
    if len(found) != len(order):
        raise UsageError(
            f"{path} holds {len(found)} rasters of single bands, and --bands names {len(order)}. "
            f"In order they are {', '.join(Path(one.name).name for one in found)}."
        )
    return dict(zip(order, found, strict=True))


def _on_grid(dataset: Any, grid: Any, stack: ExitStack) -> Any:
    source, target = georeference.grid_of(dataset), georeference.grid_of(grid)
    if source.crs != target.crs or not np.allclose(
        source.bounds, target.bounds, rtol=0, atol=abs(source.transform.a)
    ):
        names = (Path(shown(raster.name)).name for raster in (dataset, grid))
        raise BadItem(f"mixed footprints: {' and '.join(names)}")
    if source == target:
        return dataset
    height, width = target.shape
    return stack.enter_context(
        WarpedVRT(
            dataset, src_crs=source.crs, src_transform=source.transform, crs=target.crs,
            transform=target.transform, height=height, width=width, resampling=Resampling.bilinear,
        )
    )  # fmt: skip
