"""Sentinel-2 bands: names, sets and units, and what is done by band name.

No other module of the project writes a band's position as a number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from georank_zoo.utils.errors import UsageError, unknown_name

if TYPE_CHECKING:  # the processes that read source files need not load torch
    import torch

Unit = Literal["reflectance", "dn"]
UNITS: tuple[Unit, ...] = ("reflectance", "dn")

# Sentinel-2 quantification value: reflectance = DN / 10000.
DN_PER_REFLECTANCE = 10_000.0

# A uint16 DN is a reflectance of 6.55 at most, so a larger "reflectance" is a DN.
MAX_REFLECTANCE = 6.5536

# Atmospheric correction gives slightly negative reflectance over dark targets. Level-2A encodes
# it as DN + 1000 (baseline >= 04.00), so with that offset removed -0.1 is the least there is;
# resampling may overshoot it a little.
MIN_REFLECTANCE = -0.2

# A single odd pixel, or a few rows, say nothing of the unit: these quantiles of the values do.
UNIT_QUANTILES = (0.01, 0.99)
# No atmosphere makes a pixel this dark, and no sun one this bright: a value that stands for none.
NO_VALUE_BELOW, NO_VALUE_ABOVE = -0.5, 10 * MAX_REFLECTANCE

# In any unit: -9999 and -32768 are no data.
_NO_DATA_BELOW = -2000.0
# No standardized image ends further out, in standard deviations.
_STANDARDIZED = (-20.0, 100.0)
# Snow and cloud in per cent, with some glint.
_MAX_PER_CENT = 200.0


@dataclass(frozen=True)
class Band:
    """One Sentinel-2 MSI band (source: Sentinel-2 User Handbook, ESA).

    Attributes:
        name: Canonical name, two digits (`B02`, `B8A`).
        common_name: Common name, such as `red`.
        wavelength_nm: Central wavelength in nanometers.
        native_m: Native pixel size in meters.
        also: Other common names in files, without spaces and signs: STAC's (`swir16`), those of
            the Earth Search, FORCE and SNAP.
    """

    name: str
    common_name: str
    wavelength_nm: int
    native_m: int
    also: tuple[str, ...] = ()


ALL_BANDS: tuple[Band, ...] = (
    Band("B01", "coastal aerosol", 443, 60, ("coastal", "aerosol", "coastalblue", "ultrablue")),
    Band("B02", "blue", 490, 10),
    Band("B03", "green", 560, 10),
    Band("B04", "red", 665, 10),
    Band("B05", "red edge 1", 705, 20, ("rededge071", "re1", "vegetationrededge1")),
    Band("B06", "red edge 2", 740, 20, ("rededge075", "re2", "vegetationrededge2")),
    Band("B07", "red edge 3", 783, 20, ("rededge078", "re3", "vegetationrededge3")),
    Band("B08", "near infrared", 842, 10, ("nir", "broadnir", "nirbroad")),
    Band(
        "B8A",
        "narrow near infrared",
        865,
        20,
        ("nir08", "narrownir", "nirnarrow", "rededge4", "re4", "vegetationrededge4"),
    ),
    Band("B09", "water vapor", 945, 60, ("nir09", "watervapour")),
    Band("B10", "cirrus", 1375, 60),
    Band("B11", "short-wave infrared 1", 1610, 20, ("swir16", "swir1")),
    Band("B12", "short-wave infrared 2", 2190, 20, ("swir22", "swir2")),
)
BY_NAME: dict[str, Band] = {band.name: band for band in ALL_BANDS}

_BY_COMMON_NAME = {
    re.sub(r"[^a-z0-9]", "", common): band.name
    for band in ALL_BANDS
    for common in (band.common_name, *band.also)
}
# Common names that several bands go by.
_FAMILIES: dict[str, tuple[str, ...]] = {
    "rededge": ("B05", "B06", "B07", "B8A"),
    "vegetationrededge": ("B05", "B06", "B07", "B8A"),
    "nir": ("B08", "B8A", "B09"),
    "nearinfrared": ("B08", "B8A", "B09"),
    "swir": ("B10", "B11", "B12"),
    "shortwaveinfrared": ("B10", "B11", "B12"),
}

# B10 (cirrus) does not exist in Level-2A, so no model of the zoo takes it.
S2_12: tuple[str, ...] = tuple(band.name for band in ALL_BANDS if band.name != "B10")
S2_13: tuple[str, ...] = tuple(BY_NAME)
SETS: dict[str, tuple[str, ...]] = {
    "s2-13": S2_13,
    "s2-12": S2_12,
    "s2-10": tuple(b.name for b in ALL_BANDS if b.native_m <= 20),
    "rgb": ("B04", "B03", "B02"),
    "rgbn": ("B04", "B03", "B02", "B08"),
}


def canonical(name: str) -> str:
    """Canonical form of a band name: `b2`, `B2` and `B02` are one band.

    A bare number is not a name: it is as likely to be a position in a file.

    Raises:
        UsageError: If there is no such band.
    """
    text = name.strip().upper()
    digits = text[1:]
    candidate = f"B{digits.zfill(2)}" if text.startswith("B") and digits.isdecimal() else text
    if candidate not in BY_NAME:
        raise unknown_name("band", name, BY_NAME)
    return candidate


def by_common_name(text: str) -> str | None:
    """The one band of a common name, such as `red`, `Red edge 1` or `swir16`; None without one.

    `nir` is B08, as in STAC; `rededge` and `swir` could be any of several and are none.
    """
    return _BY_COMMON_NAME.get(re.sub(r"[^a-z0-9]", "", text.lower()))


def goes_by(name: str, text: str) -> bool:
    """Whether a common name is one of a band's, of its alone or not: B11's are swir1 and swir."""
    common = re.sub(r"[^a-z0-9]", "", text.lower())
    return _BY_COMMON_NAME.get(common) == name or name in _FAMILIES.get(common, ())


def resolve(spec: str | Sequence[str]) -> tuple[str, ...]:
    """Names of bands from a set's name, a comma-separated list or a list of names.

    The sets, which `SETS` holds:

    - `s2-13`: all 13, B01 to B12 with B8A and B10
    - `s2-12`: those without B10 (cirrus), which Level-2A does not have
    - `s2-10`: those of 10 m and 20 m, without B01, B09 and B10
    - `rgbn`: B04, B03, B02, B08
    - `rgb`: B04, B03, B02

    Args:
        spec: Name of a set in either case, names such as `B02,B03,B8A`, or a list of names.

    Returns:
        Canonical names, in the order given.

    Raises:
        UsageError: If a name is unknown or given twice, or the list is empty.
    """
    if isinstance(spec, str):
        if spec.lower() in SETS:
            return SETS[spec.lower()]
        if "," not in spec and not spec.strip().upper().startswith("B"):
            raise unknown_name("band set", spec, (*SETS, *BY_NAME))
        spec = spec.split(",")
    names = tuple(canonical(name) for name in spec)
    if not names:
        raise UsageError(f"No band given. Choose from: {', '.join(BY_NAME)}.")
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UsageError(f"Band given twice: {', '.join(doubled)}.")
    return names


def missing(available: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Wanted bands that are not available, in the wanted order."""
    return tuple(name for name in wanted if name not in available)


def indices(available: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Channel positions of the wanted bands.

    Raises:
        UsageError: If a wanted band is not available.
    """
    absent = missing(available, wanted)
    if absent:
        raise UsageError(
            f"Missing band(s) {', '.join(absent)}: the data has {', '.join(available)}."
        )
    return [list(available).index(name) for name in wanted]


def fill_missing(
    images: torch.Tensor, source: Sequence[str], target: Sequence[str]
) -> torch.Tensor:
    """Reorders standardized images to the target bands; missing bands become zero.

    Zero is a band's mean after standardizing, and feeding it equals cutting the band's slice
    out of the first convolution.

    Args:
        images: Standardized images (B, len(source), H, W).
        source: Bands of `images`, in channel order.
        target: Bands wanted, in channel order; bands of `source` outside it are dropped.

    Returns:
        Images (B, len(target), H, W); `images` itself where nothing changes.
    """
    if tuple(source) == tuple(target):
        return images
    present = [name for name in target if name in source]
    picked = images[:, indices(source, present)]
    if len(present) == len(target):
        return picked
    filled = images.new_zeros((images.shape[0], len(target), *images.shape[2:]))
    filled[:, indices(target, present)] = picked
    return filled


def check_unit(low: float, high: float, unit: Unit, *, where: str) -> None:
    """Refuses a value range that contradicts its declared unit.

    Args:
        low: Smallest value, odd ones left aside (`UNIT_QUANTILES`).
        high: Largest value, odd ones left aside.
        unit: Declared unit.
        where: Name of what holds the values, for the message.

    Raises:
        UsageError: If the unit is unknown, a value is not finite, or the range cannot be.
    """
    if unit not in UNITS:
        raise unknown_name("unit", unit, UNITS)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UsageError(f"{where} holds NaN or infinite values.")
    scale = DN_PER_REFLECTANCE if unit == "dn" else 1.0
    least, most = MIN_REFLECTANCE * scale, MAX_REFLECTANCE * scale
    fits, valid = low >= least and high <= most, f"{least:g} to {most:g}"
    if unit == "dn":
        # All zero does not contradict a unit; that it is empty is not checked here.
        fits, valid = fits and not 0 < high <= MAX_REFLECTANCE, f"{valid}, typically 100 to 10000"
    if not fits:
        raise UsageError(
            f"{where} has the range {low:g} to {high:g}, which is not {unit} (valid: {valid}). "
            f"It looks like {_looks_like(low, high, unit)}."
        )


def _looks_like(low: float, high: float, unit: Unit) -> str:
    """The likely kind of values that are not in `unit`, and what to do."""
    small = high <= _STANDARDIZED[1]
    if low < _NO_DATA_BELOW or (small and low < _STANDARDIZED[0]):
        return f"a no-data value, {low:g}: replace it, by 0 for example"
    if small and low < MIN_REFLECTANCE:
        return "images that are standardized already: pass them as they were before"
    if unit == "dn":
        small = high <= MAX_REFLECTANCE
        return "reflectance: pass unit 'reflectance'" if small else "values in another scale"
    if high <= _MAX_PER_CENT:
        return "reflectance in per cent: divide it by 100"
    return "digital numbers: pass unit 'dn'"


def to_reflectance(images: torch.Tensor, unit: Unit) -> torch.Tensor:
    """Float32 reflectance from images in `unit`, any shape; integer DN of any type.

    DN must have had the +1000 offset of processing baseline >= 04.00 removed.
    """
    import torch

    if images.dtype == torch.uint16:
        # CUDA has few uint16 kernels; int16 bits widened and masked are the same numbers.
        images = images.view(torch.int16).to(torch.int32).bitwise_and_(0xFFFF)
    images = images.to(torch.float32)
    return images / DN_PER_REFLECTANCE if unit == "dn" else images


def standardize(
    reflectance: torch.Tensor,
    mean: torch.Tensor | Sequence[float],
    std: torch.Tensor | Sequence[float],
) -> torch.Tensor:
    """(x - mean) / std per band, x and result (B, C, H, W), mean and std (C,) in reflectance."""
    import torch

    mean = torch.as_tensor(mean, dtype=reflectance.dtype, device=reflectance.device)
    std = torch.as_tensor(std, dtype=reflectance.dtype, device=reflectance.device)
    return (reflectance - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)
