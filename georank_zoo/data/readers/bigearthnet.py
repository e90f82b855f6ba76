"""BigEarthNet: patches of 1.2 km over Europe, 12 bands at native resolution, Level-2A.

Clasen, Hackel, Burgert, Sumbul, Demir, Markl: "reBEN", arXiv 2407.03653 (version 2); Sumbul,
Charfuelan, Demir, Markl: "BigEarthNet", IGARSS 2019 (version 1). Layout of version 2:
`BigEarthNet-S2/<tile>/<patch>/<patch>_<band>.tif` and `metadata.parquet`; of version 1:
`BigEarthNet-v1.0/<patch>/<patch>_<band>.tif` and `<patch>_labels_metadata.json`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from georank_zoo import bands as s2
from georank_zoo.data.datasets.base import OFFICIAL_SPLIT
from georank_zoo.data.datasets.bigearthnet import BIGEARTHNET
from georank_zoo.data.files import band_files, dates, georeference, raster
from georank_zoo.data.readers.base import Item, LazyItems, Reading, fingerprint_of_names
from georank_zoo.data.readers.bigearthnet_metadata import (
    METADATA,
    PatchTable,
    labels_of_version_1,
    read_table,
)
from georank_zoo.data.store.header import Skipped
from georank_zoo.data.store.patch import Patch, Role, Target
from georank_zoo.utils.errors import BadItem, UsageError

_DIRECTORIES = {2: "BigEarthNet-S2", 1: "BigEarthNet-v1.0"}
# <satellite>_MSIL2A_<time>[_<baseline>_<orbit>_<tile>]_<column>_<row>; the times of version 1
# have lost a leading zero.
_NAMES = {
    2: re.compile(r"S2[A-D]_MSIL2A_\d{8}T\d{6}_N\d{4}_R\d{3}_(?P<tile>T\d\d[A-Z]{3})_\d+_\d+"),
    1: re.compile(r"S2[A-D]_MSIL2A_\d{8}T\d{5,6}_\d+_\d+"),
}


class BigEarthNet:
    """Reads version 2 or 1; an item is a place, of which there are up to four dates.

    With `metadata.parquet`, labels and official split come from it for both versions, and
    patches that it does not hold are left out: those under snow, cloud or shadow and, of version
    1, those that version 2 dropped. Without it version 1 has the labels of its JSON files and no
    split.

    Args:
        root: Folder that holds `BigEarthNet-S2` or `BigEarthNet-v1.0`, or one of these.
        bands: Bands wanted, in channel order.
        metadata: The metadata file; `metadata.parquet` in or next to the folder by default.
        on_progress: Called with (patches placed, patches in all) where each has to be opened
            for it: of version 1 without metadata, the names do not tell the place.

    Raises:
        UsageError: If there is no patch of a published layout, both versions lie in the folder,
            or the metadata is missing, damaged, or of something else.
    """

    name = BIGEARTHNET.name
    size = BIGEARTHNET.image_size
    class_names = BIGEARTHNET.classes
    target: Target = BIGEARTHNET.target
    level = BIGEARTHNET.level
    license = BIGEARTHNET.license

    def __init__(
        self,
        root: str | Path,
        *,
        bands: str | Sequence[str] = "s2-12",
        metadata: str | Path | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.bands = s2.resolve(bands)
        s2.indices(BIGEARTHNET.bands, self.bands)
        self.root, self.version = _find(Path(root))
        self._patches = _list(self.root, self.version)
        self.source = f"{BIGEARTHNET.source} (files of version {self.version})"
        self._table = self._read_table(metadata)
        self.splits = () if self._table is None else (OFFICIAL_SPLIT,)
        self._order(on_progress)
        self.spec: dict[str, Any] = {
            "reader": self.name,
            "version": self.version,
            "patches": len(self._patches),
            "listing": fingerprint_of_names(self._patches),
            "metadata": None if self._table is None else self._table.digest,
        }

    def _read_table(self, given: str | Path | None) -> PatchTable | None:
        places = [Path(given)] if given else [self.root / METADATA, self.root.parent / METADATA]
        path = next((path for path in places if path.is_file()), None)
        if path is None and (given or self.version == 2):
            raise UsageError(
                f"There is no {' or '.join(map(str, places))}. Give the file that holds "
                "BigEarthNet's labels and splits with --metadata."
            )
        if path is None:
            return None
        names = [patch.rpartition("/")[2] for patch in self._patches]
        return read_table(path, names, column="patch_id" if self.version == 2 else "s2v1_name")

    def _order(self, on_progress: Callable[[int, int], None] | None) -> None:
        """Brings the patches, and the rows of the table, into the order of places and dates."""
        places = [""] * len(self._patches)
        for row, patch in enumerate(self._patches):
            if self._table is None:
                places[row] = _footprint(self.root / patch)
                if on_progress is not None:
                    on_progress(row + 1, len(places))
            elif row not in self._table.left_out:
                places[row] = _place(self._table.patch_ids[row])
            else:
                places[row] = patch
        self._rows = sorted(range(len(places)), key=lambda row: (places[row], self._patches[row]))
        starts = [
            n
            for n, row in enumerate(self._rows)
            if n == 0 or places[row] != places[self._rows[n - 1]]
        ]
        self._starts = [*starts, len(places)]
        self._items = LazyItems(self._item, range(len(starts)))
        self._row = {patch: row for row, patch in enumerate(self._patches)}

    def _item(self, number: int) -> Item:
        rows = self._rows[self._starts[number] : self._starts[number + 1]]
        names = tuple(self._patches[row] for row in rows)
        # What is left out on advice is not bad: no unit.
        units = () if self._reason(names[0]) else names
        return Item(names[0], tuple(self.root / name for name in names), units)

    def _reason(self, name: str) -> str | None:
        return None if self._table is None else self._table.left_out.get(self._row[name])

    def items(self) -> Sequence[Item]:
        """One item a place, by tile, column and row; made when it is asked for."""
        return self._items

    def read(self, item: Item) -> Reading:
        """Reads all dates of a place; a bad one does not cost the others."""
        if reason := self._reason(item.name):
            return Reading([], [Skipped(item.name, f"not recommended: {reason}")])
        reading = Reading([])
        for folder in item.files:
            name = folder.relative_to(self.root).as_posix()
            try:
                reading.patches.append(self._read_patch(folder, name))
            except BadItem as error:
                reading.left_out.append(Skipped(name, str(error)))
        return reading

    def _read_patch(self, folder: Path, name: str) -> Patch:
        needed = dict.fromkeys(("B02", *self.bands))
        files = band_files.find(folder, {b: f"{folder.name}_{b}.tif" for b in needed})
        pixels, lat, lon, footprint = band_files.read_bands(
            files, self.bands, side=self.size, size=self.size
        )
        roles: dict[str, Role] = {}
        if self._table is None:
            labels = labels_of_version_1(folder / f"{folder.name}_labels_metadata.json")
        else:
            row = self._row[name]
            labels = self._table.labels[row]
            roles = {OFFICIAL_SPLIT: self._table.role(row)}
        return Patch(
            pixels, lat, lon, key=name, place="", time=dates.parse_time(folder.name),
            labels=labels, roles=roles, footprint=footprint,
        )  # fmt: skip


def _find(root: Path) -> tuple[Path, int]:
    """The folder of the patches (version 1) or tiles (version 2), and the version."""
    found = [version for version, name in _DIRECTORIES.items() if (root / name).is_dir()]
    if len(found) == 2:
        raise UsageError(
            f"{root} holds both versions. Give {root / _DIRECTORIES[2]} or "
            f"{root / _DIRECTORIES[1]}: they show the same places."
        )
    if found:
        return root / _DIRECTORIES[found[0]], found[0]
    with os.scandir(root) as entries:
        is_first = any(_NAMES[1].fullmatch(entry.name) for entry in entries)
    return root, 1 if is_first else 2


def _list(root: Path, version: int) -> list[str]:
    """The patches' folders relative to the root, sorted. One look at each folder of folders."""
    tiles = [""]
    if version == 2:
        with os.scandir(root) as entries:
            tiles = [f"{entry.name}/" for entry in entries if entry.is_dir()]
    patches = []
    for tile in tiles:
        with os.scandir(root / tile) as entries:
            patches += [
                f"{tile}{entry.name}"
                for entry in entries
                if _NAMES[version].fullmatch(entry.name) and entry.is_dir()
            ]
    if not patches:
        raise UsageError(
            f"{root} holds no BigEarthNet patch (BigEarthNet-S2/<tile>/<patch>/<patch>_B02.tif, or "
            "BigEarthNet-v1.0/<patch>/<patch>_B02.tif). Give the folder that holds BigEarthNet-S2 "
            "or BigEarthNet-v1.0."
        )
    return sorted(patches)


def _place(patch_id: str) -> str:
    """Tile, column and row of a patch of version 2; the same at all its dates."""
    return "_".join(patch_id.rsplit("_", 3)[1:])


def _footprint(folder: Path) -> str:
    """Where a patch lies by its file; its own name where it cannot be opened."""
    try:
        with raster.opened(folder / f"{folder.name}_B02.tif") as dataset:
            georeference.require_crs(dataset)
            return f"{dataset.crs} {dataset.bounds.left:.0f} {dataset.bounds.top:.0f}"
    except BadItem:
        return folder.name  # reading it will say why
