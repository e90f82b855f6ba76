"""What the names of files and folders say of a product: satellite, tile, day, level."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from georank_zoo import bands as s2
from georank_zoo.data.files import dates, georeference
from georank_zoo.utils.errors import BadItem, UsageError, plain

# LC08_L2SP_193026_20200615_..., LC81930262020167LGN00, HLS.L30.T32TQM..., HLSL30
_LANDSAT = re.compile(r"(?<![a-z0-9])(?:L[cotem]0[4-9]_|L[cotem][4-9]\d{13}|HLS[._-]?L30)", re.I)
# A folder may hold both, so this word counts in the name of a file only.
_LANDSAT_WORD = re.compile(r"landsat|(?<![a-z])(?:OLI|ETM)(?![a-z])", re.I)
_SENTINEL2 = re.compile(
    r"(?<![a-z0-9])(?:S2[abcd]?_|HLS[._-]?S30|L[12][ac]_T\d\d[a-z]{3}_|T\d\d[a-z]{3}_\d{8}T\d{6})"
    r"|MSIL[12][ac]|sentinel[-_ ]?2",
    re.I,
)
_SENSOR_TAG = re.compile(
    r"SPACECRAFT|SATELLITE|PLATFORM|SENSOR|MISSION|CONSTELLATION|COLLECTION|PRODUCT|SCENE|DESCRIPTION",
    re.I,
)
# Landsat's pixels in meters, and bands that it does not have: its B8 is panchromatic, of 15 m.
_LANDSAT_M = {30: {"B08", "B8A", "B12"}, 15: {"B8A", "B12"}}

_TILE = re.compile(r"(?<![A-Z0-9])(?:T|S2[A-D]_)(\d\d[C-X][A-Z]{2})(?![A-Z0-9])")
_SATELLITE = re.compile(r"(?<![A-Z0-9])(S2[A-D]|SENTINEL2[A-D])(?![A-Z0-9])")
_LEVEL = re.compile(r"(?<![A-Z0-9])(?:MSI)?(L[12][AC])(?![A-Z0-9])")


def require_sentinel2(name: str, dataset: Any, bands: Sequence[str]) -> None:
    """Refuses a file that names its bands by number (`B5`) and is, or may be, Landsat's.

    Args:
        name: The file and its folders, as far as they belong to it.
        dataset: The open file.
        bands: Canonical names of its bands.

    Raises:
        BadItem: If its name or tags say Landsat, or nothing says Sentinel-2 and its pixels are as
            large as Landsat's.
    """
    if found := _LANDSAT.search(name) or _LANDSAT_WORD.search(PurePath(name).name):
        why = f"the name holds {found[0].rstrip('_')}"
    elif names_sentinel2(name):
        return
    elif tag := _landsat_tag(dataset.tags()):
        why = f"its tag {tag}"
    elif meters := _landsat_pixels(dataset, bands):
        why = f"pixels of {meters} m, and no band that only Sentinel-2 has"
    else:
        return
    raise BadItem(
        f"bands named as Landsat's: {why}. Landsat's B5 is near infrared, not red edge. If they "
        f"are what you want, name them as Sentinel-2's with --bands {','.join(s2.SETS['rgbn'])}, "
        "... in file order and --ignore-descriptions"
    )


def _landsat_tag(tags: Mapping[str, str]) -> str | None:
    return next(
        (
            f"{tag}={plain(value, 40)}"
            for tag, value in tags.items()
            if _SENSOR_TAG.search(tag)
            and (_LANDSAT.search(value) or _LANDSAT_WORD.search(value))
            and not _SENTINEL2.search(value)
        ),
        None,
    )


def _landsat_pixels(dataset: Any, bands: Sequence[str]) -> int | None:
    if not georeference.is_georeferenced(dataset):
        return None
    # Pixels that are square in degrees are narrow on the ground, and their height tells.
    sides = georeference.pixel_sides_m(dataset)
    fits = (
        meters
        for meters, absent in _LANDSAT_M.items()
        if any(0.9 <= side / meters <= 1.1 for side in sides) and not absent & set(bands)
    )
    return next(fits, None)


def names_sentinel2(name: str) -> bool:
    """Whether the name of a file, or of a folder that it is in, is one of Sentinel-2's."""
    return _SENTINEL2.search(name) is not None


def identity(name: str) -> dict[str, str]:
    """Day, tile, satellite and level of an acquisition, as far as a name says them.

    Args:
        name: Path of a file, relative to the folder of the scene.
    """
    facts: dict[str, str] = {}
    for part in reversed(PurePath(name).parts):
        text = part.upper()
        found = {
            "day": dates.day_of_name(part),
            **{
                key: match[1]
                for key, pattern in (("tile", _TILE), ("satellite", _SATELLITE), ("level", _LEVEL))
                if (match := pattern.search(text))
            },
        }
        facts = {**{key: value for key, value in found.items() if value}, **facts}
    return facts


def require_one_acquisition(names: Sequence[str], where: object) -> None:
    """Refuses the files of a scene whose names tell of two acquisitions.

    Raises:
        UsageError: Naming two files that differ.
    """
    first: dict[str, tuple[str, str]] = {}
    for name in names:
        for key, value in identity(name).items():
            known, other = first.setdefault(key, (value, name))
            if known != value:
                raise UsageError(
                    f"{where} holds more than one acquisition: {other} ({key} {known}) and {name} "
                    f"({key} {value}). Give the folder of one."
                )
