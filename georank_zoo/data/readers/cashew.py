"""m-cashew-plant of GEO-Bench: 1,800 masked patches of 256 px of one scene in Benin.

Lacoste et al.: "GEO-Bench", NeurIPS 2023. Layout: `<sample>.hdf5`, one date each, and
`default_partition.json`. What GEO-Bench keeps in pickles (`task_specs.pkl` and the attribute
`pickle` of each sample) is never read; nothing here needs it.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from georank_zoo import bands as s2
from georank_zoo.data.datasets.base import OFFICIAL_SPLIT
from georank_zoo.data.datasets.cashew import BAND_NAMES, CASHEW
from georank_zoo.data.files import dates, hdf5
from georank_zoo.data.files.listing import has_suffix, list_level
from georank_zoo.data.files.radiometry import uniform
from georank_zoo.data.files.text import read_json
from georank_zoo.data.readers.base import Item, Reading, fingerprint, with_bad
from georank_zoo.data.store.header import Skipped
from georank_zoo.data.store.patch import NO_POSITION, Patch, Role, Target
from georank_zoo.utils.errors import BadItem, UsageError

logger = logging.getLogger(__name__)

_PARTITION = "default_partition.json"
_ROLES: dict[str, Role] = {"train": "train", "valid": "validation", "test": "test"}
_DATED = re.compile(r"(.+?)(?:_(\d{4}-\d{2}-\d{2}))?")
# Level-2A has no B10. An early conversion named 13 bands in L1C's order where the files held
# B11, B12 and the cloud probability: a file with this name has the last three bands misnamed.
_MISNAMED = "10 - SWIR - Cirrus"
_PERCENT = 100.0
_SHAPE = (CASHEW.image_size, CASHEW.image_size)


class Cashew:
    """Reads m-cashew-plant; an item is all samples of one mask, which are dates of one place.

    Args:
        root: The folder `m-cashew-plant`.
        bands: Bands wanted, in channel order.
        on_progress: Called with (files listed, files in all).

    Raises:
        UsageError: If there is no sample, the partition is missing or overlaps, or a band is
            unknown or missing.
    """

    name = CASHEW.name
    size = CASHEW.image_size
    class_names = CASHEW.classes
    target: Target = CASHEW.target
    splits = (OFFICIAL_SPLIT,)
    level = CASHEW.level
    source = CASHEW.source
    license = CASHEW.license

    def __init__(
        self,
        root: str | Path,
        *,
        bands: str | Sequence[str] = CASHEW.bands,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.root = Path(root)
        self.bands = s2.resolve(bands)
        s2.indices(CASHEW.bands, self.bands)
        level = list_level(self.root, lambda name: has_suffix(name, (".hdf5",)))
        files, bad = [self.root / name for name in level.files], level.bad_in("")
        if not files:
            raise UsageError(
                f"{self.root} holds no m-cashew-plant sample (<sample>.hdf5 and {_PARTITION}). "
                "Give the folder segmentation_v1.0/m-cashew-plant of GEO-Bench."
            )
        self._roles = _read_partition(self.root / _PARTITION)
        without_file = len(set(self._roles) - {file.stem for file in files})
        if without_file:
            logger.warning("%s: %d samples of the split have no file.", self.root, without_file)
        places: dict[str, list[Path]] = {}
        for done, file in enumerate(files, 1):
            places.setdefault(_place(file), []).append(file)
            if on_progress is not None:
                on_progress(done, len(files))
        items = [
            Item(group[0].name, tuple(group), tuple(file.name for file in group))
            for group in places.values()
        ]
        self._items = with_bad(items, bad)
        self.spec: dict[str, Any] = {
            "reader": self.name,
            "listing": fingerprint(self.root, [*files, self.root / _PARTITION], bad),
        }

    def items(self) -> Sequence[Item]:
        """The places, by the name of their first sample."""
        return self._items

    def read(self, item: Item) -> Reading:
        """Reads the dates of a place; each file can be bad by itself."""
        reading = Reading([])
        for file in item.files:
            try:
                reading.patches.append(self._read_sample(file))
            except BadItem as error:
                reading.left_out.append(Skipped(file.name, str(error)))
        return reading

    def _read_sample(self, path: Path) -> Patch:
        with hdf5.open_hdf5(path) as file:
            names, date = _bands(file)
            pixels = np.stack([_band(file, names, band) for band in self.bands])
            mask = _mask(hdf5.read_array(file, "label", _SHAPE))
        role = self._roles.get(path.stem)
        return Patch(
            hdf5.digital_numbers(pixels, "dn"), NO_POSITION, NO_POSITION, key=path.name,
            place="0", time=dates.parse_time(date), mask=mask,
            roles={} if role is None else {OFFICIAL_SPLIT: role},
            radiometry=uniform(len(self.bands), source="m-cashew-plant, digital numbers"),
        )  # fmt: skip


def _read_partition(path: Path) -> dict[str, Role]:
    """The role of each sample by its name."""
    try:
        parts = read_json(path)
    except FileNotFoundError as error:
        raise UsageError(f"{path} is missing: it says which samples are for testing.") from error
    except UsageError as error:
        raise UsageError(f"{error} Download it again.") from error
    well_formed = (
        isinstance(parts, dict)
        and set(parts) == set(_ROLES)
        and all(isinstance(names, list) for names in parts.values())
    )
    if not well_formed:
        raise UsageError(f"{path} is not a partition: it must list {', '.join(_ROLES)}.")
    pairs = [(str(name), _ROLES[part]) for part, names in parts.items() for name in names]
    roles = dict(pairs)
    twice = sorted(name for name, role in pairs if roles[name] != role)
    if twice:
        raise UsageError(
            f"{path}: the split overlaps: {len(twice)} samples such as {twice[0]} have two parts. "
            "Download it again."
        )
    return roles


def _place(path: Path) -> str:
    """Identifies the place of a sample: the dates of a chip share its mask, bit for bit."""
    try:
        with hdf5.open_hdf5(path) as file:
            mask = hdf5.read_array(file, "label", _SHAPE)
    except BadItem:
        return path.name  # reading it will say why
    return hashlib.sha256(mask.astype(np.int64).tobytes()).hexdigest()


def _bands(file: h5py.File) -> tuple[dict[str, str], str]:
    """The dataset of each Sentinel-2 band, and the one date that their names give."""
    names, dates = {}, set()
    for dataset in file:
        if (match := _DATED.fullmatch(dataset)) is None:
            continue
        if match[1] == _MISNAMED:
            raise BadItem(f"misnamed bands: {dataset!r} cannot be in Level-2A")
        if match[1] in BAND_NAMES:
            names[BAND_NAMES[match[1]]] = dataset
            dates.add(match[2] or "")
    if len(dates) > 1:
        raise BadItem("several dates in a sample")
    return names, next(iter(dates), "")


def _band(file: h5py.File, names: dict[str, str], band: str) -> npt.NDArray[Any]:
    if band not in names:
        raise BadItem(f"missing band: {band}")
    values = hdf5.read_array(file, names[band], _SHAPE)
    # GEO-Bench has misnamed bands before, and by its values the cloud probability is no band.
    if values.max() <= _PERCENT and values.max() != 0:
        raise BadItem(f"values contradict the band's name: {band} is {values.max():g} at most")
    return values


def _mask(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if not np.isin(values, range(len(CASHEW.classes))).all():
        raise BadItem(f"labels out of range: not all are 0 to {len(CASHEW.classes) - 1}")
    return values.astype(np.uint8)
