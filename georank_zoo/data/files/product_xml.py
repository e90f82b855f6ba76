"""The metadata of a Sentinel-2 product (`MTD_MSIL1C.xml`, `MTD_MSIL2A.xml`): what its DN mean."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.parsers import expat

from georank_zoo.utils.errors import BadItem
from georank_zoo.utils.regular_files import read_regular

_NAME = re.compile(r"MTD_MSIL\w+\.xml", re.I)
_MAX_BYTES = 8 * 2**20  # ESA's have up to 100 kB

# Local names, Level-2A's before Level-1C's.
_OFFSETS = ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")
_QUANTIFICATIONS = ("BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE")
_BASELINE = "PROCESSING_BASELINE"


@dataclass(frozen=True)
class Product:
    """What a product says of its digital numbers.

    Attributes:
        name: Name of the file.
        offsets: What to add to DN, by ESA's number of the band (0 is B01, 8 is B8A, 9 is B09).
        quantification: DN per reflectance; None where it does not say.
        baseline: Processing baseline times 100; None where it does not say.
    """

    name: str
    offsets: Mapping[int, float] = field(default_factory=dict)
    quantification: float | None = None
    baseline: int | None = None


def product_of(folders: Sequence[Path]) -> Product | None:
    """What the first of some folders that describes a product says.

    Raises:
        BadItem: If the description is damaged.
    """
    for folder in folders:
        try:
            found = _described(folder, folder.stat().st_mtime_ns)
            if found is not None:
                stat = found.stat()
                return _read(found, stat.st_mtime_ns, stat.st_size)
        except OSError:  # not on this file system
            continue
    return None


@lru_cache(maxsize=4096)
def _described(folder: Path, changed: int) -> Path | None:
    """The description in a folder. `changed` is its time of change: a cache must not outlive it."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if _NAME.fullmatch(entry.name))
    return folder / names[-1] if names else None  # Level-2A's where both are there


@lru_cache(maxsize=1024)
def _read(path: Path, changed: int, size: int) -> Product:
    if size > _MAX_BYTES:
        raise BadItem(f"damaged product XML: {path.name} has {size} bytes")
    texts = _texts(path)
    offsets = next((texts[name] for name in _OFFSETS if name in texts), [])
    return Product(
        path.name,
        {int(_number(band, path)): _number(text, path) for band, text in offsets},
        next((_positive(texts[name][0][1], path) for name in _QUANTIFICATIONS if name in texts),
             None),
        round(100 * _number(texts[_BASELINE][0][1], path)) if _BASELINE in texts else None,
    )  # fmt: skip


def _texts(path: Path) -> dict[str, list[tuple[str, str]]]:
    """By local name, band and text of the elements that count.

    Without namespaces, whose prefixes are not always declared, and without a DOCTYPE, whose
    entities may grow without bounds.
    """
    wanted = {*_OFFSETS, *_QUANTIFICATIONS, _BASELINE}
    found: dict[str, list[tuple[str, str]]] = {}
    parser = expat.ParserCreate()
    parser.buffer_text = True
    opened: list[tuple[str, str]] = []
    pieces: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        opened[:] = [(name.rpartition(":")[2], attributes.get("band_id", "0"))]
        pieces.clear()

    def end(name: str) -> None:
        local = name.rpartition(":")[2]
        if opened and opened[0][0] == local and local in wanted:
            found.setdefault(local, []).append((opened[0][1], "".join(pieces).strip()))
        opened.clear()

    def refuse(*_: Any) -> None:
        raise BadItem(f"damaged product XML: {path.name} has a DOCTYPE, which products have not")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = pieces.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(read_regular(path, _MAX_BYTES), True)
    except expat.ExpatError as error:
        raise BadItem(f"damaged product XML: {path.name}: {error}") from error
    return found


def _number(text: str, path: Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadItem(f"damaged product XML: {path.name} has {text[:40]!r} for a number")
    return value


def _positive(text: str, path: Path) -> float:
    if (value := _number(text, path)) <= 0:
        raise BadItem(f"damaged product XML: {path.name} has a quantification of {text[:40]}")
    return value
