"""Synthetic Sentinel-2 patches: what covers the ground, and how it looks on a date.

A patch is a linear mixture: maps of what covers the ground, drawn once per place, times the
spectra of the covers, which follow climate and season. The spectra are rounded typical surface
reflectances in the manner of the USGS and ASTER libraries; nothing here is a measurement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from georank_zoo import bands as s2

_Array = npt.NDArray[np.floating[Any]]
_Map = _Array  # (H, W)

# Reflectance in the bands of s2.S2_12, in percent.
_SPECTRA: dict[str, tuple[float, ...]] = {
    "broadleaf": (2.5, 3, 6, 3.5, 10, 27, 35, 39, 41, 41, 20, 10),
    "conifer": (2, 2, 3.5, 2.5, 6, 16, 20, 22, 23, 23, 10, 5),
    "bare tree": (5, 6, 8, 10, 13, 16, 18, 20, 21, 21, 21, 15),
    "green grass": (3, 4, 8, 5, 12, 27, 33, 37, 39, 39, 23, 12),
    "dry grass": (6, 8, 12, 16, 20, 24, 26, 29, 31, 31, 34, 25),
    "bright soil": (10, 13, 18, 25, 28, 30, 32, 34, 36, 36, 43, 38),
    "red soil": (5, 6, 10, 20, 23, 25, 27, 29, 31, 31, 37, 32),
    "dark soil": (5, 6, 8, 10, 12, 13, 14, 16, 17, 17, 22, 19),
    "roof": (13, 15, 17, 20, 21, 22, 23, 24, 25, 25, 28, 26),
    "asphalt": (7, 7.5, 8.5, 9, 9.5, 10, 10.5, 11, 11.5, 11.5, 14, 14),
    "clear water": (5, 5, 4.5, 2.5, 2, 1.5, 1.2, 1, 1, 1, 0.5, 0.3),
    "turbid water": (7, 9, 12, 11, 9, 5, 4.5, 3.5, 3, 3, 1, 0.7),
}
_SPECTRUM: dict[str, _Array] = {name: np.array(v) / 100 for name, v in _SPECTRA.items()}

# Rayleigh-like: what haze adds falls with the wavelength.
_HAZE: _Array = np.array([(s2.BY_NAME[b].wavelength_nm / 490.0) ** -2.5 for b in s2.S2_12])

COVERS = ("tree", "grass", "soil", "roof", "road", "water")


@dataclass(frozen=True)
class Climate:
    """Climate of a place.

    Attributes:
        warmth: Warmth, from about 0 at the poles to 1 at the equator.
        humidity: Humidity, 0 dry to 1 wet.
        iron: Redness of the soil, 0 to 1.
        tint: Factor per band (12,), smooth over the globe.
    """

    warmth: float
    humidity: float
    iron: float
    tint: _Array


@dataclass(frozen=True)
class Ground:
    """What covers a patch; the same at all dates of a place.

    Attributes:
        cover: Shares (len(COVERS), H, W) that add up to 1.
        vigor: Relative greenness of the plants (H, W), 0 to 1.
        turbidity: Turbidity of the water, 0 to 1.
    """

    cover: _Array
    vigor: _Map
    turbidity: float


def draw_ground(label: str, climate: Climate, size: int, rng: np.random.Generator) -> Ground:
    """Draws a patch of a class, a part of which may belong to another class.

    Args:
        label: Name in `GROUND_CLASSES`.
        climate: Climate of the place, which decides how much grows.
        size: Patch side in pixels of 10 m.
        rng: Source of randomness.
    """
    cover, vigor = GROUND_CLASSES[label](climate, size, rng)
    others = [name for name in GROUND_CLASSES if name != label]
    share = rng.uniform(-0.4, 0.3)
    if share > 0:
        second, second_vigor = GROUND_CLASSES[others[rng.integers(len(others))]](climate, size, rng)
        inside = _region(share, size, rng)
        cover = np.where(inside, second, cover)
        vigor = np.where(inside, second_vigor, vigor)
    return Ground(cover / cover.sum(axis=0), np.clip(vigor, 0, 1), rng.uniform())


def render(
    ground: Ground, climate: Climate, greenness: float, rng: np.random.Generator
) -> npt.NDArray[np.uint16]:
    """Draws the image of a date.

    Args:
        ground: Cover of the patch.
        climate: Climate of the place.
        greenness: Phenology of place and date, 0 dormant to 1 peak.
        rng: Source of the date's randomness: light, haze, sensor noise.

    Returns:
        Digital numbers (12, H, W), bands as in `bands.S2_12`.
    """
    leaf = _mix("bare tree", "broadleaf", 0.25 + 0.75 * greenness)
    conifers = np.clip(1.6 - 2.6 * climate.warmth, 0, 1)
    soil = _mix("bright soil", "dark soil", climate.humidity) * (1 - climate.iron)
    soil = soil + climate.iron * _SPECTRUM["red soil"]
    spectra = np.stack(
        [
            conifers * _SPECTRUM["conifer"] + (1 - conifers) * leaf,
            _SPECTRUM["dry grass"],
            soil * (1.1 - 0.3 * climate.humidity),
            _SPECTRUM["roof"],
            _SPECTRUM["asphalt"],
            _mix("clear water", "turbid water", ground.turbidity),
        ]
    )
    image = np.einsum("kb,khw->bhw", spectra, ground.cover)
    green = ground.cover[1] * np.clip(greenness * (0.3 + 1.1 * ground.vigor), 0, 1)
    change = _SPECTRUM["green grass"] - _SPECTRUM["dry grass"]
    image += change[:, None, None] * green
    return _observe(image * climate.tint[:, None, None], rng)


def _observe(image: _Array, rng: np.random.Generator) -> npt.NDArray[np.uint16]:
    """Light, haze, the bands' native resolution and noise."""
    size = image.shape[-1]
    light = np.exp(rng.normal(0, 0.1)) * (1 + 0.08 * smooth_noise(size, size / 3, rng))
    image = image * light * np.exp(rng.normal(0, 0.025, (len(image), 1, 1)))
    image += rng.gamma(2.0, 0.008) * _HAZE[:, None, None]
    frequency = np.fft.fftfreq(size)[:, None] ** 2 + np.fft.rfftfreq(size)[None] ** 2
    sigma = np.array([0.04 * s2.BY_NAME[b].native_m for b in s2.S2_12])[:, None, None]
    spectrum = np.fft.rfft2(image) * np.exp(-2 * np.pi**2 * sigma**2 * frequency)
    image = np.fft.irfft2(spectrum, s=(size, size))
    image += rng.normal(0, 0.003, image.shape)
    return np.clip(np.rint(image * s2.DN_PER_REFLECTANCE), 1, 65535).astype(np.uint16)


def smooth_noise(size: int, scale: float, rng: np.random.Generator) -> _Map:
    """A random field (size, size) of mean 0 and deviation 1, smooth over `scale` pixels."""
    frequency = np.fft.fftfreq(size)[:, None] ** 2 + np.fft.rfftfreq(size)[None] ** 2
    white = np.fft.rfft2(rng.normal(size=(size, size)))
    field: _Map = np.fft.irfft2(white * np.exp(-2 * (scale**2) * frequency), s=(size, size))
    field -= field.mean()
    field /= field.std() + 1e-9
    return field


def _mix(one: str, other: str, share: float) -> _Array:
    return (1 - share) * _SPECTRUM[one] + share * _SPECTRUM[other]


def _axes(size: int, rng: np.random.Generator) -> tuple[_Map, _Map]:
    """Coordinates in pixels along two random perpendicular directions."""
    angle, (row, col) = rng.uniform(0, np.pi), np.mgrid[:size, :size].astype(np.float64)
    shift = rng.uniform(0, 50, 2)
    return (
        row * np.cos(angle) + col * np.sin(angle) + shift[0],
        col * np.cos(angle) - row * np.sin(angle) + shift[1],
    )


def _region(share: float, size: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """A region with a wavy border that takes a share of the patch."""
    field = _axes(size, rng)[0] + 0.12 * size * smooth_noise(size, size / 8, rng)
    inside: npt.NDArray[np.bool_] = field < np.quantile(field, share)
    return inside


def _cells(size: int, low: float, high: float, rng: np.random.Generator) -> tuple[_Map, _Map]:
    """A random value per rectangular cell, and the distance to the cell's border in pixels."""
    ids, border = np.zeros((size, size)), np.full((size, size), np.inf)
    for axis in _axes(size, rng):
        width = rng.uniform(low, high)
        ids = ids * 97 + np.floor(axis / width)
        border = np.minimum(border, np.minimum(axis % width, -axis % width))
    _, index = np.unique(ids, return_inverse=True)
    values = rng.uniform(size=index.max() + 1)
    return values[index].reshape(size, size), border


def _stack(size: int, **covers: _Map | float) -> _Array:
    return np.stack([np.broadcast_to(covers.get(n, 0.0), (size, size)) for n in COVERS]) + 1e-6


def _annual_crop(climate: Climate, size: int, rng: np.random.Generator) -> tuple[_Array, _Map]:
    value, border = _cells(size, 6, 18, rng)
    grown = np.where(value > rng.uniform(0.2, 0.5), rng.uniform(0.75, 1.0), 0.1)
    hedge = (border < 0.8) * rng.uniform(0, 0.6)
    rest = 1 - hedge
    return _stack(size, tree=hedge, grass=rest * grown, soil=rest * (1 - grown)), value


def _orchard(climate: Climate, size: int, rng: np.random.Generator) -> tuple[_Array, _Map]:
    along, across = _axes(size, rng)
    rows = 0.5 + 0.5 * np.cos(2 * np.pi * along / rng.uniform(2.6, 4.5))
    gaps = 0.7 + 0.3 * np.cos(2 * np.pi * across / rng.uniform(2.6, 4.5))
    tree = rng.uniform(0.6, 0.95) * rows * gaps
    grassy = np.clip(0.5 * climate.humidity + rng.normal(0, 0.1), 0.05, 0.95)
    vigor = 0.5 + 0.15 * smooth_noise(size, 4, rng)
    return _stack(size, tree=tree, grass=(1 - tree) * grassy, soil=(1 - tree) * (1 - grassy)), vigor


def _shrubland(climate: Climate, size: int, rng: np.random.Generator) -> tuple[_Array, _Map]:
    dots = smooth_noise(size, 1.0, rng) + 0.5 * smooth_noise(size, 5, rng)
    density = np.clip(0.15 + 0.4 * climate.humidity + rng.normal(0, 0.08), 0.08, 0.7)
    tree = np.where(dots > np.quantile(dots, 1 - density), 0.7, 0.04)
    grassy = np.clip(climate.humidity + rng.normal(0, 0.2), 0.05, 0.95)
    vigor = 0.35 + 0.15 * smooth_noise(size, 4, rng)
    return _stack(size, tree=tree, grass=(1 - tree) * grassy, soil=(1 - tree) * (1 - grassy)), vigor


def _grassland(climate: Climate, size: int, rng: np.random.Generator) -> tuple[_Array, _Map]:
    grassy = np.clip(0.5 + 0.5 * climate.humidity + 0.1 * smooth_noise(size, 5, rng), 0.2, 1)
    tree = rng.uniform(0, 0.2) * (smooth_noise(size, 1.2, rng) > 1.4)
    vigor = rng.uniform(0.25, 0.8) + 0.12 * smooth_noise(size, 6, rng)
    return _stack(size, tree=tree, grass=(1 - tree) * grassy, soil=(1 - tree) * (1 - grassy)), vigor


def _forest(climate: Climate, size: int, rng: np.random.Generator) -> tuple[_Array, _Map]:
    closed = 0.55 + 0.35 * climate.humidity + rng.normal(0, 0.05)
    tree = np.clip(closed + 0.12 * smooth_noise(size, 0.9, rng), 0.1, 1)
    clearing = smooth_noise(size, 4, rng) > rng.uniform(1.0, 2.5)
    tree = np.where(clearing, 0.1, tree)
    return _stack(size, tree=tree, grass=0.7 * (1 - tree), soil=0.3 * (1 - tree)), np.full(
        (size, size), rng.uniform(0.3, 0.7)
    )


def _built_up(climate: Climate, size: int, rng: np.random.Generator) -> tuple[_Array, _Map]:
    value, border = _cells(size, 4, 10, rng)
    road = (border < 0.7) * 0.85
    built = np.where(value > rng.uniform(0.1, 0.6), rng.uniform(0.4, 0.9), 0.1)
    roof, garden = (1 - road) * built, (1 - road) * (1 - built)
    tree = garden * rng.uniform(0.2, 0.6)
    grassy = np.clip(climate.humidity + 0.1, 0.1, 0.9)
    rest = garden - tree
    cover = _stack(
        size, road=road, roof=roof, tree=tree, grass=rest * grassy, soil=rest * (1 - grassy)
    )
    return cover, value


def _water(climate: Climate, size: int, rng: np.random.Generator) -> tuple[_Array, _Map]:
    bank, vigor = _grassland(climate, size, rng)
    if rng.uniform() < 0.5:  # a river
        along = _axes(size, rng)[0] + 2 * smooth_noise(size, size / 5, rng)
        inside = np.abs(along - np.median(along)) < rng.uniform(1.5, size / 6)
    else:  # a shore
        inside = _region(rng.uniform(0.35, 0.95), size, rng)
    return np.where(inside, _stack(size, water=1.0), bank), vigor


def _bare_land(climate: Climate, size: int, rng: np.random.Generator) -> tuple[_Array, _Map]:
    ridges = np.abs(smooth_noise(size, 3, rng))
    grass = np.clip(0.05 + 0.35 * climate.humidity * ridges + rng.normal(0, 0.04), 0, 0.6)
    stone = np.clip(0.25 * smooth_noise(size, 1.5, rng), 0, 0.5) * (1 - grass)
    vigor = np.full((size, size), rng.uniform(0, 0.4))
    return _stack(size, grass=grass, road=stone, soil=1 - grass - stone), vigor


GROUND_CLASSES: dict[str, Callable[[Climate, int, np.random.Generator], tuple[_Array, _Map]]] = {
    "AnnualCrop": _annual_crop,
    "BareLand": _bare_land,
    "BuiltUp": _built_up,
    "Forest": _forest,
    "Grassland": _grassland,
    "Orchard": _orchard,
    "Shrubland": _shrubland,
    "Water": _water,
}
