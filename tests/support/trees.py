"""Miniature data sets in the exact published layouts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_bounds, from_origin

from georank_zoo.bands import BY_NAME, S2_13

UTM31 = "EPSG:32631"
# Systems that no transformation leads from to latitude and longitude on Earth.
ALIEN_CRS = (
    'LOCAL_CS["arbitrary",UNIT["meter",1]]',
    'GEOGCS["Moon 2000",DATUM["Moon_2000",SPHEROID["Moon_2000",1737400,0]],'
    'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]]',
)


def write_tif(
    path: Path,
    pixels: np.ndarray,
    *,
    crs: str | None = UTM31,
    bounds: tuple[float, float, float, float] | None = None,
    left: float = 500_000,
    top: float = 5_000_000,
    descriptions: Sequence[str] = (),
    nodata: float | None = None,
    tags: dict[str, str] | None = None,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = pixels.shape
    transform = (
        from_bounds(*bounds, width, height) if bounds else from_origin(left, top, 10.0, 10.0)
    )
    with rasterio.open(
        path, "w", driver="GTiff", dtype=pixels.dtype, count=count, height=height, width=width,
        crs=crs, transform=transform if crs else None, nodata=nodata,
    ) as dataset:  # fmt: skip
        dataset.write(pixels)
        if descriptions:
            dataset.descriptions = tuple(descriptions)
        dataset.update_tags(**(tags or {}))
    return path


def noise(shape: Sequence[int], seed: int | Sequence[int] = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(200, 4000, shape).astype(np.uint16)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def eurosat_tree(root: Path, per_class: int = 3) -> Path:
    """`<Class>/<Class>_<N>.tif`; band k of a file, counted from 0 in file order, holds 1000 + k."""
    for c, name in enumerate(("AnnualCrop", "Forest", "SeaLake")):
        for n in range(1, per_class + 1):
            pixels = (
                np.full((13, 64, 64), 1000, np.uint16)
                + np.arange(13, dtype=np.uint16)[:, None, None]
            )
            pixels[:, 0, 0] = 10 * c + n
            write_tif(root / name / f"{name}_{n}.tif", pixels, left=500_000 + 10_000 * c + 640 * n)
    return root


# Pixels of 10 m per pixel of the band.
OSCD_NATIVE = {
    "B01": 6, "B02": 1, "B03": 1, "B04": 1, "B05": 2, "B06": 2, "B07": 2, "B08": 1, "B8A": 2,
    "B09": 6, "B10": 6, "B11": 2, "B12": 2,
}  # fmt: skip


def oscd_tree(root: Path, cities: Sequence[str] = ("pisa", "rio")) -> Path:
    """`<city>/imgs_{1,2}/*_<band>.tif`: a ramp from west to east, the same in every band."""
    for c, city in enumerate(cities):
        bounds = (10.0 + c, 43.0, 10.012 + c, 43.009)  # 120 x 90 pixels of about 10 m
        # The second date is two pixels smaller over identical bounds, as Abu Dhabi's is.
        for date, (height, width) in (("imgs_1", (90, 120)), ("imgs_2", (88, 118))):
            for band, step in OSCD_NATIVE.items():
                shape = (-(-height // step), -(-width // step))
                ramp = 1000 + 1200 * (np.arange(shape[1]) + 0.5) / shape[1]
                pixels = np.broadcast_to(np.rint(ramp).astype(np.uint16), (1, *shape))
                write_tif(
                    root / city / date / f"S2A_20200101T000000_{band}.tif", pixels,
                    crs="EPSG:4326", bounds=bounds,
                )  # fmt: skip
        (root / city / "dates.txt").write_text("date_1: 20150711\ndate_2: 20171018\n")
    return root


FOLDER_BANDS = ("B02", "B03", "B04", "B08")


def folder_tree(root: Path, places: int = 6) -> Path:
    """`<class>/<place>_<date>.tif`: two dates a place, described bands."""
    for place in range(places):
        for k, date in enumerate(("20180115", "20180715")):
            write_tif(
                root / ("crop", "forest")[place % 2] / f"p{place}_{date}.tif",
                noise((4, 32, 32), 10 * place + k),
                left=500_000 + 1000 * place,
                descriptions=FOLDER_BANDS,
            )
    return root


SSL4EO_SEASONS = (
    "20200604T054639_20200604T054831_T43RCP",
    "20200813T054639_20200813T054952_T43RCP",
)


def ssl4eo_tree(root: Path, level: str = "s2a", places: int = 2) -> Path:
    """`<level>/<place>/<acquisition>/B1.tif ...` of 264, 132 and 44 px, as cut by Earth Engine.

    The 10 m bands hold noise, the others one value each: 1000 and the band's number in `S2_13`.
    """
    for place in range(places):
        for season, name in enumerate(SSL4EO_SEASONS):
            folder = root / level / f"{place:07}" / name
            for n, band in enumerate(S2_13):
                if band == "B10" and level == "s2a":
                    continue
                native = BY_NAME[band].native_m
                shape = (1, 2640 // native, 2640 // native)
                pixels = np.full(shape, 1000 + n, np.uint16)
                if native == 10:
                    pixels = noise(shape, 1000 * place + 100 * season + n)
                # Each band is cut to whole pixels of its own, so that they lie a little apart.
                west = 73.3 + 0.1 * place - 5e-6 * native
                write_tif(
                    folder / f"{band.replace('B0', 'B')}.tif", pixels, crs="EPSG:4326",
                    bounds=(west, 30.45, west + 0.0268, 30.4732),
                )  # fmt: skip
            facts = {"PROCESSING_BASELINE": "02.14", "system:id": f"COPERNICUS/S2_SR/{name}"}
            (folder / "metadata.json").write_text(json.dumps(facts))
    return root
