"""Features of a scene as a georeferenced raster, one pixel a tile."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import torch
from rasterio.errors import RasterioError
from rasterio.windows import Window

from georank_zoo import bands as s2
from georank_zoo.data.files.convert import MAX_NODATA
from georank_zoo.data.files.radiometry import Mode
from georank_zoo.data.files.remote import shown
from georank_zoo.data.store import look
from georank_zoo.embed.extract import warn_of_missing_bands
from georank_zoo.embed.table import model_facts, require_file_name, require_free_file
from georank_zoo.embed.tiles import Scene, TileGrid, open_scene
from georank_zoo.models.encoder import Encoder, as_encoder
from georank_zoo.models.find import ModelSource
from georank_zoo.models.inference import (
    InferenceSettings,
    evaluating,
    require_finite,
    resize,
)
from georank_zoo.utils.environment import versions
from georank_zoo.utils.errors import GeorankError, UsageError
from georank_zoo.utils.files import new_file
from georank_zoo.utils.locks import output_lock
from georank_zoo.utils.progress import OnProgress, progress_bar

logger = logging.getLogger(__name__)

SCENE_FORMAT = "georank-scene/1"
SCENE_SUFFIXES = (".tif", ".tiff")

# TIFF tiles are multiples of 16. Low ones keep the rows that wait for a whole tile few.
_BLOCK_ROWS, _BLOCK_COLS = 16, 256

# A row of blocks of a whole Sentinel-2 tile (12 bands, 1024 rows) fits in, so none is decoded
# twice; GDAL's own limit is a share of the machine's memory.
_CACHE_BYTES = 512 * 2**20
# A Sentinel-2 tile with a stride of 1 and 2048 features is 1.3 GiB.
_MAX_STRIP_BYTES = 2**32


@dataclass(frozen=True)
class EmbeddedScene:
    """A raster with the features of a scene.

    Attributes:
        path: The file.
        grid: Tiles of the scene.
        empty: Number of tiles without enough data, which are NaN.
        num_features: Number of bands, D.
    """

    path: Path
    grid: TileGrid
    empty: int
    num_features: int

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        grid = self.grid
        without = f", {self.empty} of them without data" if self.empty else ""
        return (
            f"{grid.rows} x {grid.cols} tiles of {grid.tile} px, {grid.stride} px apart{without}; "
            f"{self.num_features} bands: {self.path}"
        )


def embed_scene(
    model: Encoder | ModelSource,
    scene: str | Path,
    out: str | Path,
    *,
    bands: str | Sequence[str] | None = None,
    ignore_descriptions: bool = False,
    unit: s2.Unit | None = None,
    offset: int | None = None,
    radiometry: Mode = "auto",
    remote: bool = False,
    tile: int | None = None,
    stride: int | None = None,
    image_size: int | None = None,
    max_nodata: float = MAX_NODATA,
    batch_size: int = 256,
    device: str | torch.device = "auto",
    overwrite: bool = False,
    progress: bool = True,
    on_progress: OnProgress | None = None,
) -> EmbeddedScene:
    """Embeds the tiles of a scene into a GeoTIFF of D bands, float32.

    An output pixel is centered on its tile and as large as the stride, so the raster lies on the
    scene in its CRS. The memory that it takes is that of a batch of tiles, of 16 rows of the output
    and of GDAL's cache. The file is written under a temporary name, read back, and renamed.

    Args:
        model: An encoder, or what `create_model` takes. An encoder is afterwards in its own mode
            and on its own device, as before.
        scene: The scene, see `open_scene`; `bands`, `ignore_descriptions`, `unit`, `offset` and
            `radiometry` too.
        out: File to write, `.tif`.
        bands: Names of the file's bands in file order, where the file does not name them.
        ignore_descriptions: Take `bands` in file order whatever the file calls them.
        unit: Unit of the pixels; DN by default, unless the files say otherwise.
        offset: DN to subtract; by default what the files, the product's XML or names say.
        radiometry: `auto`, where all that says what the numbers mean must agree, or `options`,
            where `unit` and `offset` alone count.
        remote: Whether the scene may lie elsewhere, such as `https://host/scene.tif`. What is
            read of it goes through GDAL, by ranges; credentials are those of GDAL's and AWS's
            environment variables.
        tile: Side of a tile in pixels of the scene; `image_size` by default.
        stride: Pixels from a tile to the next; `tile` by default, so that they do not overlap.
        image_size: Side in pixels that tiles are resized to; the model's by default.
        max_nodata: A tile with a larger share of its pixels without data (masked, zero in all
            bands, or beyond the lower or right edge) is NaN. In others, such pixels are fed at
            the mean.
        batch_size: Tiles per batch.
        device: Device to run on; `auto` takes an accelerator if there is one.
        overwrite: Replace an existing file.
        progress: Show a bar if it takes more than a second.
        on_progress: Called with the number of tiles done and their total, in place of a bar.

    Raises:
        UsageError: If the file exists, an argument is invalid, or the values contradict the unit.
        ModelError: If there is no such model, or a feature is NaN or infinite.
        GeorankError: If the scene is damaged, does not say where it lies or has no tile with
            data, or the disk is full.

    Example:
        >>> import georank_zoo as gz
        >>> from pathlib import Path
        >>> scene = sorted(Path("my_geotiffs").rglob("*.tif"))[0]
        >>> done = gz.embed_scene("runs/moco-r18", scene, "out/embeddings.tif", tile=16)
        >>> done.grid.rows, done.grid.cols
        (2, 2)
        >>> print(done)
        2 x 2 tiles of 16 px, 16 px apart; 512 bands: out/embeddings.tif
    """
    path = Path(out)
    require_file_name(path, SCENE_SUFFIXES)
    encoder = as_encoder(model)
    settings = encoder.inference_settings(image_size, batch_size, device)
    tile = settings.image_size if tile is None else tile
    stride = tile if stride is None else stride
    if min(tile, stride) < 1 or not 0 <= max_nodata < 1:
        raise UsageError("tile and stride must be 1 or more, and max_nodata a share below 1.")
    with (
        output_lock(path) as taken,
        rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES),
        open_scene(
            scene, bands=bands, ignore_descriptions=ignore_descriptions, unit=unit,
            offset=offset, radiometry=radiometry, remote=remote,
        ) as opened,
    ):  # fmt: skip
        require_free_file(path, overwrite=overwrite or taken.finished)
        name = shown(scene)
        grid = _grid(opened, name, tile, stride, max_nodata, encoder.num_features)
        _look_at(opened, encoder.shared_bands(opened.bands), name)
        warn_of_missing_bands(encoder, opened.bands, name)
        facts = {
            "format": SCENE_FORMAT, **model_facts(encoder, opened.bands), "scene": Path(name).name,
            "pixel_m": round(opened.pixel_m, 2), "ignore_descriptions": ignore_descriptions,
            "radiometry": asdict(opened.radiometry), "tile": tile, "stride": stride,
            "image_size": settings.image_size, "max_nodata": max_nodata, "versions": versions(),
        }  # fmt: skip
        with (
            new_file(path) as temporary,
            progress_bar(f"Embedding {name}", on_progress, show=progress) as report,
            evaluating(encoder, settings.device),
        ):
            rows = _embed_rows(encoder, opened, grid, settings, report)
            empty = _write(temporary, encoder, opened, grid, facts, rows)
            if empty == grid.rows * grid.cols:
                raise GeorankError(
                    f"Every tile of {name} has more than {max_nodata:.0%} of its pixels without "
                    "data. Accept more with --max-nodata, or pass a smaller --tile."
                )
    return EmbeddedScene(path, grid, empty, encoder.num_features)


def _look_at(scene: Scene, bands: Sequence[str], source: str | Path) -> None:
    """Warns of values and of a meaning that are suspect."""
    sample = scene.sample(bands)
    for text in look.at_values(sample, bands):
        logger.warning("%s: %s", source, text)
    if scene.radiometry.doubt:
        logger.warning("%s", look.in_doubt(scene.radiometry, str(source), sample))


def _grid(
    scene: Scene, source: str | Path, tile: int, stride: int, max_nodata: float, features: int
) -> TileGrid:
    grid = TileGrid(scene.shape, tile, stride, max_nodata)
    if not grid.rows or not grid.cols:
        height, width = scene.shape
        raise UsageError(
            f"{source} has {height} x {width} pixels, less than a tile of {tile} x {tile}. "
            "Pass a smaller --tile."
        )
    strip = 4 * _BLOCK_ROWS * grid.cols * features
    if strip > _MAX_STRIP_BYTES:
        raise UsageError(
            f"{source} is {scene.shape[1]} pixels wide: {_BLOCK_ROWS} rows of {grid.cols} tiles "
            f"would be {strip / 2**30:.0f} GiB of features. Pass a larger --stride, or cut it."
        )
    return grid


def _embed_rows(
    encoder: Encoder,
    scene: Scene,
    grid: TileGrid,
    settings: InferenceSettings,
    report: OnProgress,
) -> Iterator[npt.NDArray[np.float32]]:
    """Rows of the output (D, cols), from top to bottom; NaN where there is no data."""
    for row in range(grid.rows):
        features = np.full((grid.cols, encoder.num_features), np.nan, np.float32)
        for col in range(0, grid.cols, settings.batch_size):
            count = min(settings.batch_size, grid.cols - col)
            kept, part = _embed_tiles(encoder, scene, grid, (row, col, count), settings)
            features[col : col + count][kept] = part
            report(row * grid.cols + col + count, grid.rows * grid.cols, "")
        yield features.T


def _embed_tiles(
    encoder: Encoder,
    scene: Scene,
    grid: TileGrid,
    place: tuple[int, int, int],
    settings: InferenceSettings,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Which of the tiles in a window have data (count,), and their features (kept, D)."""
    shared = encoder.shared_bands(scene.bands)
    dn, missing = scene.read(grid.window(*place), shared)
    holes = grid.cut(missing)
    kept = holes.mean(axis=(1, 2)) <= grid.max_nodata
    if not kept.any():
        return kept, np.empty((0, encoder.num_features), np.float32)
    tiles = torch.from_numpy(grid.cut(dn)[kept]).to(settings.device)
    z = encoder.standardize(tiles, shared, "dn")
    # Zero is the mean; a DN of zero would be a hard edge in the picture.
    z = z.masked_fill(torch.from_numpy(holes[kept]).to(settings.device)[:, None], 0)
    features = encoder.embed(resize(z, settings.image_size)).float().cpu().numpy()
    require_finite(features, encoder.name)
    return kept, features


def _write(
    path: Path,
    encoder: Encoder,
    scene: Scene,
    grid: TileGrid,
    facts: dict[str, Any],
    rows: Iterator[npt.NDArray[np.float32]],
) -> int:
    """Writes the rows and reads them back; returns the number of tiles that are NaN."""
    profile = {
        "driver": "GTiff", "dtype": "float32", "nodata": np.nan, "count": encoder.num_features,
        "height": grid.rows, "width": grid.cols,
        "crs": scene.crs, "transform": grid.transform(scene.transform),
        "tiled": True, "blockysize": _BLOCK_ROWS,
        "blockxsize": min(_BLOCK_COLS, -(-grid.cols // 16) * 16), "interleave": "band",
        "compress": "deflate", "predictor": 3, "bigtiff": "if_safer",
    }  # fmt: skip
    sums, empty = [], 0
    path = path.absolute()  # `http:out/x.tif` would be an address
    try:
        with rasterio.open(path, "w", **profile) as output:
            output.update_tags(GEORANK=json.dumps(facts))
            output.descriptions = [f"feature_{i}" for i in range(encoder.num_features)]
            for window in _strips(grid):
                # Whole blocks: a block that is written twice is compressed twice, and kept twice.
                strip = np.empty((encoder.num_features, window.height, grid.cols), np.float32)
                for i in range(window.height):
                    strip[:, i] = next(rows)
                output.write(strip, window=window)
                sums.append(zlib.crc32(strip.data))
                empty += int(np.isnan(strip[0]).sum())
        # GDAL writes late, and a full disk may show only in what it did not write.
        with rasterio.open(path, driver="GTiff") as written:
            for window, expected in zip(_strips(grid), sums, strict=True):
                if zlib.crc32(written.read(window=window).data) != expected:
                    raise RasterioError("it does not hold what was written to it")
    except RasterioError as error:
        cause = str(error.__cause__ or error).strip().rstrip(".")
        raise GeorankError(
            f"The raster cannot be written in {path.absolute().parent} ({cause}). If the disk is "
            "full, make room there and repeat the command."
        ) from error
    return empty


def _strips(grid: TileGrid) -> list[Window]:
    return [
        Window(0, row, grid.cols, min(_BLOCK_ROWS, grid.rows - row))
        for row in range(0, grid.rows, _BLOCK_ROWS)
    ]
