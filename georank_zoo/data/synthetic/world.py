"""A small synthetic world of geotagged, labeled Sentinel-2 patches.

It lets every command run without a download. Neighboring places resemble each other, because
climate, soil, tint and the frequency of the classes vary smoothly over the globe; dates of a
place differ by season, light and haze. Numbers made with it say nothing about the real Earth.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from rasterio.transform import from_origin
from rasterio.warp import transform as transform_points

from georank_zoo import bands as s2
from georank_zoo.data.synthetic.landscape import GROUND_CLASSES, Climate, draw_ground, render
from georank_zoo.utils.errors import UsageError
from georank_zoo.utils.files import new_folder, write_text
from georank_zoo.utils.locks import output_lock
from georank_zoo.utils.write_errors import explain_write_errors

WORLD = "world.json"
_VERSION = 1  # counts up when the same parameters give another world
_PIXEL_M = 10.0
_FIRST_YEAR = 2019

# South, north, west, east in degrees, and share of the places.
_REGIONS: tuple[tuple[float, float, float, float, float], ...] = (
    (30, 52, -122, -75, 0.16),  # North America
    (52, 66, -125, -95, 0.04),  # Canada
    (-35, 5, -72, -42, 0.13),  # South America
    (38, 58, -5, 30, 0.17),  # Europe
    (58, 68, 12, 60, 0.05),  # the North
    (5, 33, -8, 32, 0.10),  # North Africa and the Sahel
    (-32, 4, 14, 38, 0.10),  # southern Africa
    (38, 58, 45, 100, 0.08),  # Central Asia
    (10, 30, 73, 88, 0.07),  # India
    (22, 45, 102, 120, 0.06),  # China
    (-34, -18, 118, 150, 0.04),  # Australia
)
_PLACES_PER_CLUSTER = 6
_CLUSTER_DEGREES = 0.7


@dataclass(frozen=True)
class World:
    """Parameters of a world.

    Attributes:
        places: Number of places.
        seasons: Dates per place, spread over the year.
        size: Patch side in pixels of 10 m.
        seed: Seed of where the places lie and what covers them; climate and soil are the same
            for all seeds.
        version: Version of the generator.
    """

    places: int = 1000
    seasons: int = 2
    size: int = 32
    seed: int = 0
    version: int = _VERSION


def generate_world(
    folder: str | Path,
    *,
    places: int = 1000,
    seasons: int = 2,
    size: int = 32,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes a world as GeoTIFFs `<Class>/<place>_<YYYYMMDD>.tif` in their UTM zones.

    Args:
        folder: Folder to write; `<folder>.partial` until it is complete. It may exist if empty.
        places: Number of places.
        seasons: Dates per place.
        size: Patch side in pixels of 10 m, 16 or more.
        seed: Source of randomness; the same seed gives the same files.
        on_progress: Called with (places done, places in all).

    Raises:
        UsageError: If a number is out of range or the folder holds something.
    """
    if places < 1 or not 1 <= seasons <= 12 or size < 16 or seed < 0:
        raise UsageError("A world needs 1 place, 1 to 12 seasons, 16 pixels and a seed >= 0.")
    folder = Path(folder)
    partial = folder.with_name(folder.name + ".partial")
    world = World(places, seasons, size, seed)
    with output_lock(folder, partial) as taken:
        if not taken.finished:
            _generate(folder, partial, world, on_progress)


def _generate(
    folder: Path, partial: Path, world: World, on_progress: Callable[[int, int], None] | None
) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty. Choose another folder for the synthetic world.")
    if partial.exists() and not (partial / WORLD).is_file():
        raise UsageError(f"{partial} is in the way. Remove it or choose another folder.")
    with explain_write_errors(folder):
        with new_folder(partial) as temporary:
            write_text(temporary / WORLD, json.dumps(asdict(world), indent=2) + "\n")
            for name in GROUND_CLASSES:
                (temporary / name).mkdir()
        positions = _positions(world)
        fields = _Fields()
        for index, (lat, lon) in enumerate(positions):
            _write_place(partial, world, fields, index, float(lat), float(lon))
            if on_progress is not None:
                on_progress(index + 1, world.places)
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)


def read_world(folder: str | Path) -> World | None:
    """Parameters of the world in a folder; None if it holds none."""
    path = Path(folder) / WORLD
    try:
        return World(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _positions(world: World) -> npt.NDArray[np.float64]:
    """Latitude and longitude (places, 2), in clusters within the regions."""
    rng = np.random.default_rng([world.seed, 1])
    regions = np.array(_REGIONS)
    count = -(-world.places // _PLACES_PER_CLUSTER)
    chosen = regions[rng.choice(len(regions), count, p=regions[:, 4] / regions[:, 4].sum())]
    # Uniform in the sine of the latitude is uniform on the sphere.
    low, high = np.sin(np.deg2rad(chosen[:, 0])), np.sin(np.deg2rad(chosen[:, 1]))
    lat = np.rad2deg(np.arcsin(rng.uniform(low, high)))
    lon = rng.uniform(chosen[:, 2], chosen[:, 3])
    cluster = np.arange(world.places) % count
    offset = rng.normal(0, _CLUSTER_DEGREES, (world.places, 2))
    offset[:, 1] /= np.cos(np.deg2rad(lat[cluster]))
    return np.stack((lat, lon), axis=1)[cluster] + offset


class _Fields:
    """Smooth random fields over the globe, from plane waves in space cut by the sphere."""

    _BANDS = len(s2.S2_12)

    def __init__(self) -> None:
        # The planet is one and the same for all seeds, so that worlds of two seeds are places
        # of one Earth: one to learn from, one to be tested on.
        rng = np.random.default_rng([0, 2])
        count = 3 + self._BANDS
        # A wave vector of length 4 has a wavelength of a quarter of the Earth's circumference.
        self._waves = rng.normal(0, 2.5, (count, 4, 3))
        self._phases = rng.uniform(0, 2 * np.pi, (count, 4))

    def climate(self, lat: float, lon: float) -> Climate:
        """Climate of a position in degrees."""
        phi, lam = np.deg2rad(lat), np.deg2rad(lon)
        point = np.array([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
        value = np.sin(self._waves @ point + self._phases).mean(axis=1) * np.sqrt(2)
        # Wet at the equator, dry under the subtropical highs near 25 degrees, wet again beyond.
        zonal = 0.5 + 0.3 * np.cos(np.deg2rad(lat * 180 / 27))
        return Climate(
            warmth=float(np.clip(np.cos(phi) ** 1.5 + 0.12 * value[0], 0, 1)),
            humidity=float(np.clip(zonal + 0.25 * value[1], 0.05, 0.95)),
            iron=float(np.clip(0.4 * np.cos(phi) + 0.4 * value[2], 0, 0.9)),
            tint=1 + 0.1 * value[3:],
        )


def _class_of(climate: Climate, rng: np.random.Generator) -> str:
    """Draws a class: half evenly, half by climate."""
    warm, wet = climate.warmth, climate.humidity
    affinity = {
        "AnnualCrop": 1.5 - 4 * abs(wet - 0.55),
        "BareLand": 2.0 - 5 * wet,
        "BuiltUp": 0.0,
        "Forest": 4 * wet - 2.0,
        "Grassland": 2.0 - 3 * warm,
        "Orchard": 4 * warm - 3.0,
        "Shrubland": 2 * warm - 3 * wet + 0.5,
        "Water": 0.0,
    }
    weight = np.exp(np.array([affinity[name] for name in GROUND_CLASSES]))
    chance = 0.5 / len(GROUND_CLASSES) + 0.5 * weight / weight.sum()
    return str(rng.choice(list(GROUND_CLASSES), p=chance / chance.sum()))


def _greenness(lat: float, climate: Climate, day: int) -> float:
    """Phenology, 0 to 1: summer-green far from the equator, rain-green and weaker near it."""
    peak = 200 if lat > 0 else 17
    phase = 0.5 + 0.5 * np.cos(2 * np.pi * (day - peak) / 365.25)
    amplitude = np.clip(abs(lat) / 50, 0.25, 0.95)
    return float(np.clip((0.35 + 0.65 * climate.humidity) * (1 - amplitude * (1 - phase)), 0, 1))


def _write_place(
    folder: Path, world: World, fields: _Fields, index: int, lat: float, lon: float
) -> None:
    # Each place and date has its own stream, so that neither depends on how many there are.
    rng = np.random.default_rng([world.seed, 3, index])
    climate = fields.climate(lat, lon)
    label = _class_of(climate, rng)
    ground = draw_ground(label, climate, world.size, rng)
    profile = _profile(lat, lon, world.size)
    first = int(rng.integers(0, 365 // world.seasons))
    for season in range(world.seasons):
        day = first + season * 365 // world.seasons
        moment = date(_FIRST_YEAR, 1, 1) + timedelta(days=day)
        rng = np.random.default_rng([world.seed, 4, index, season])
        pixels = render(ground, climate, _greenness(lat, climate, day), rng)
        path = folder / label / f"p{index:06d}_{moment:%Y%m%d}.tif"
        # In memory first: of a full disk, GDAL says nothing when it closes a file.
        with MemoryFile() as memory:
            with memory.open(**profile) as dataset:
                dataset.write(pixels)
                dataset.descriptions = s2.S2_12
                dataset.update_tags(ACQUISITION_DATE=moment.isoformat())
            path.write_bytes(memory.read())


def _profile(lat: float, lon: float, size: int) -> dict[str, Any]:
    zone = int((lon + 180) // 6) % 60 + 1
    crs = _crs((32600 if lat >= 0 else 32700) + zone)
    (x,), (y,) = transform_points("EPSG:4326", crs, [lon], [lat])
    # Sentinel-2 tiles lie on a grid of whole 10 m.
    left = round(x / _PIXEL_M - size / 2) * _PIXEL_M
    top = round(y / _PIXEL_M + size / 2) * _PIXEL_M
    return {
        "driver": "GTiff", "dtype": "uint16", "count": len(s2.S2_12), "width": size,
        "height": size, "crs": crs, "transform": from_origin(left, top, _PIXEL_M, _PIXEL_M),
        "compress": "deflate", "zlevel": 1,
    }  # fmt: skip


@cache
def _crs(epsg: int) -> CRS:
    return CRS.from_epsg(epsg)
