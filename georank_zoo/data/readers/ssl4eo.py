"""SSL4EO-S12: 251,079 places of the world at four seasons, 264 px, Level-1C and Level-2A.

Wang, Braham, Xiong, Liu, Albrecht, Zhu: "SSL4EO-S12", IEEE GRSM 2023, arXiv 2211.07044. Layout:
`s2a/<place>/<acquisition>/B1.tif ... B12.tif` and `metadata.json` (Level-2A, 12 bands), `s2c/...`
(Level-1C, 13 bands), at 264, 132 and 44 px.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from georank_zoo import bands as s2
from georank_zoo.data.datasets.ssl4eo import SSL4EO
from georank_zoo.data.files import band_files
from georank_zoo.data.readers.base import Item, LazyItems, Reading, fingerprint_of_names
from georank_zoo.data.store.header import Skipped
from georank_zoo.data.store.patch import Patch, Target
from georank_zoo.utils.errors import BadItem, UsageError

SIDE = SSL4EO.image_size
# The folders of the archives, the product levels and their bands.
LEVELS = {"s2a": ("L2A", s2.S2_12), "s2c": ("L1C", s2.S2_13)}
_PLACE = re.compile(r"\d{7}")
_ACQUISITION = re.compile(r"(\d{8}T\d{6})_\d{8}T\d{6}_T\d\d[A-Z]{3}")

# Since baseline 04.00 digital numbers are 1000 higher; its first products are of this day
# (ESA, Sentinel-2 processing baseline).
_OFFSET = 1000
_OFFSET_BASELINE = 4.0
_OFFSET_SINCE = datetime(2022, 1, 25, tzinfo=UTC)


class Ssl4Eo:
    """Reads one level of SSL4EO-S12; an item is a place with its seasons. It has no labels.

    Bands of 20 and 60 m are enlarged bilinearly, as in the authors' code. Each band was cut to
    whole pixels of its own, up to 24 m apart; as there, that is not corrected.

    Args:
        root: Folder `s2a` or `s2c`, or the one that holds one of them.
        bands: Bands wanted, in channel order.
        size: Side of the center of each patch to take, in pixels; 264 takes all of it. The
            GeoRank paper's 120 px needs 0.35 MB a patch, 264 px 1.7 MB.
        on_progress: Called with (places listed, places in all).

    Raises:
        UsageError: If there is no place of the published layout, both levels lie in the folder,
            a band is unknown or missing, or the size is odd or larger than the patches.
    """

    name = SSL4EO.name
    class_names = SSL4EO.classes
    target: Target = SSL4EO.target
    splits: tuple[str, ...] = ()
    source = SSL4EO.source
    license = SSL4EO.license

    def __init__(
        self,
        root: str | Path,
        *,
        bands: str | Sequence[str] = "s2-12",
        size: int = 120,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.root, level = _find(Path(root))
        self.level, available = LEVELS[level]
        self.bands = s2.resolve(bands)
        s2.indices(available, self.bands)
        if size > SIDE or size % 2:
            raise UsageError(
                f"Size {size} cannot be cut from the center of {SIDE} px: pass an even number up "
                f"to {SIDE}."
            )
        self.size = size
        self._places = _list(self.root, on_progress)
        self._items = LazyItems(self._item, range(len(self._places)))
        self.spec: dict[str, Any] = {
            "reader": self.name,
            "level": self.level,
            "places": len(self._places),
            "listing": fingerprint_of_names(
                f"{place}/{name}" for place, names in self._places for name in names
            ),
        }

    def _item(self, number: int) -> Item:
        place, names = self._places[number]
        units = tuple(f"{place}/{name}" for name in names)
        # Some places of the archives are void.
        return Item(place, tuple(self.root / unit for unit in units), units or (place,))

    def items(self) -> Sequence[Item]:
        """One item a place, by number; made when it is asked for."""
        return self._items

    def read(self, item: Item) -> Reading:
        """Reads all seasons of a place; a bad one does not cost the others.

        Raises:
            BadItem: If the place is void.
        """
        if not item.files:
            raise BadItem("void place: it has no acquisition")
        reading = Reading([])
        for folder, name in zip(item.files, item.units, strict=True):
            try:
                reading.patches.append(self._read_season(folder, name))
            except BadItem as error:
                reading.left_out.append(Skipped(name, str(error)))
        return reading

    def _read_season(self, folder: Path, name: str) -> Patch:
        needed = dict.fromkeys(("B02", *self.bands))
        files = band_files.find(folder, {b: f"{b.replace('B0', 'B')}.tif" for b in needed})
        time = datetime.strptime(folder.name[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        pixels, lat, lon, footprint = band_files.read_bands(
            files, self.bands, side=SIDE, size=self.size, offset=_offset(folder, time)
        )
        return Patch(
            pixels, lat, lon, key=name, place="", time=int(time.timestamp()), footprint=footprint
        )


def _find(root: Path) -> tuple[Path, str]:
    """The folder of the places, and its published name."""
    name = root.absolute().name
    if name in LEVELS:
        return root, name
    found = [name for name in LEVELS if (root / name).is_dir()]
    if len(found) == 2:
        raise UsageError(
            f"{root} holds {' and '.join(f'{n} (Level-{LEVELS[n][0][1:]})' for n in found)}. Give "
            f"{root / found[0]} or {root / found[1]}."
        )
    if not found:
        raise UsageError(
            f"{root} holds no SSL4EO-S12 (s2a/0000000/<acquisition>/B1.tif, or s2c). Give the "
            "folder s2a or s2c."
        )
    return root / found[0], found[0]


def _list(
    root: Path, on_progress: Callable[[int, int], None] | None
) -> list[tuple[str, tuple[str, ...]]]:
    """The places and the names of their acquisitions, both sorted; one look at each folder."""
    with os.scandir(root) as entries:
        places = sorted(entry.name for entry in entries if _PLACE.fullmatch(entry.name))
    listed = []
    for place in places:
        with os.scandir(root / place) as entries:
            names = sorted(e.name for e in entries if _ACQUISITION.fullmatch(e.name))
        listed.append((place, tuple(names)))
        if on_progress is not None:
            on_progress(len(listed), len(places))
    if not any(names for _, names in listed):
        raise UsageError(
            f"{root} holds no place of SSL4EO-S12 (0000000/<acquisition>/B1.tif, the acquisition "
            "like 20200604T054639_20200604T054831_T43RCP). Give the folder s2a or s2c."
        )
    return listed


def _offset(folder: Path, time: datetime) -> int:
    """DN to subtract, by the metadata that Google Earth Engine gave with the acquisition.

    Its `..._HARMONIZED` collections have the offset removed already.
    """
    file = folder / "metadata.json"
    if not file.is_file():
        if time >= _OFFSET_SINCE:
            raise BadItem("unknown processing baseline: no metadata.json tells it")
        return 0
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        baseline = float(facts["PROCESSING_BASELINE"])
        harmonized = "HARMONIZED" in str(facts.get("system:id", ""))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadItem(f"damaged metadata.json: {error!r}") from error
    return _OFFSET if baseline >= _OFFSET_BASELINE and not harmonized else 0
