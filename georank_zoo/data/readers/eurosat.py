"""EuroSAT MS: 27,000 labeled patches of 64 px over Europe, 13 bands, Level-1C.

Helber, Bischke, Dengel, Borth: "EuroSAT", IEEE JSTARS 2019. Layout:
`<Class>/<Class>_<N>.tif`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from rasterio.windows import Window

from georank_zoo import bands as s2
from georank_zoo.data.datasets.eurosat import EUROSAT, LISTS, LISTS_SOURCE
from georank_zoo.data.files import convert, georeference, radiometry, raster, validity
from georank_zoo.data.files.listing import BadEntry, has_suffix, list_level
from georank_zoo.data.files.text import MAX_TEXT_BYTES, read_text
from georank_zoo.data.files.values import judge
from georank_zoo.data.readers.base import Item, Reading, fingerprint, with_bad
from georank_zoo.data.store.patch import Patch, Role, Target
from georank_zoo.utils.errors import BadItem, UsageError
from georank_zoo.utils.regular_files import read_regular

logger = logging.getLogger(__name__)


def read_splits(folder: str | Path) -> dict[str, dict[str, Role]]:
    """Reads those of the published splits whose lists lie in a folder.

    A result names its split, so a list of that name must be the published one, to the byte.

    Returns:
        By split, the part of each patch by its name without extension (`AnnualCrop_1`).

    Raises:
        UsageError: If there is no list, one of a split is missing, is not the published one or
            names what is no patch, or a patch stands in two of them.
    """
    folder = Path(folder)
    found = {
        split: _read_split(folder, split)
        for split, lists in LISTS.items()
        if any((folder / name).is_file() for name, _ in lists.values())
    }
    if not found:
        names = ", ".join(name for lists in LISTS.values() for name, _ in lists.values())
        raise UsageError(f"{folder} holds none of the lists {names}. They lie at {LISTS_SOURCE}.")
    return found


def _read_split(folder: Path, split: str) -> dict[str, Role]:
    roles: dict[str, Role] = {}
    for role, (name, md5) in LISTS[split].items():
        for patch in _read_list(folder / name, split, md5):
            if patch in roles:
                other, _ = LISTS[split][roles[patch]]
                raise UsageError(
                    f"Split {split} overlaps: {patch} stands in {folder / other} and, again, in "
                    f"{folder / name}."
                )
            roles[patch] = cast(Role, role)
    return roles


def _read_list(path: Path, split: str, md5: str) -> list[str]:
    if not path.is_file():
        raise UsageError(f"Split {split} has no list {path}. It lies at {LISTS_SOURCE}.")
    content = read_regular(path, MAX_TEXT_BYTES)
    names = [line.strip() for line in read_text(path).split("\n")]
    patches = [name.rpartition(".")[0] for name in names if name]
    unknown = [patch for patch in patches if patch.rpartition("_")[0] not in EUROSAT.classes]
    if unknown or not patches:
        example = f" ({unknown[0] or names[0]!r})" if unknown else ""
        raise UsageError(f"{path} is not a list of EuroSAT's files{example}.")
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise UsageError(
            f"{path} is not the published list of split {split}: its MD5 is {found}, not {md5}. "
            f"Fetch it from {LISTS_SOURCE}."
        )
    return patches


class EuroSat:
    """Reads EuroSAT MS; an item is a file.

    Args:
        root: Folder that holds the class folders.
        bands: Bands wanted, in channel order.
        splits: Folder of the published lists of file names; no published splits by default.

    Raises:
        UsageError: If there is no file of the published layout, a band is unknown, or the lists
            are not the published ones.
    """

    name = EUROSAT.name
    size = EUROSAT.image_size
    class_names = EUROSAT.classes
    target: Target = EUROSAT.target
    level = EUROSAT.level
    source = EUROSAT.source
    license = EUROSAT.license

    def __init__(
        self,
        root: str | Path,
        *,
        bands: str | Sequence[str] = "s2-12",
        splits: str | Path | None = None,
    ) -> None:
        self.root = Path(root)
        self.bands = s2.resolve(bands)
        self._roles: dict[str, dict[str, Role]] = {} if splits is None else read_splits(splits)
        self.splits = tuple(self._roles)
        files, bad = _list(self.root)
        items = [
            Item(name, (file,), (name,))
            for file in files
            for name in [file.relative_to(self.root).as_posix()]
        ]
        self._items = with_bad(items, bad)
        self.spec: dict[str, Any] = {
            "reader": self.name,
            "files": len(files),
            "listing": fingerprint(self.root, files, bad),
            # The lists themselves are the published ones, or refused.
            "splits": self.splits,
        }

    def items(self) -> Sequence[Item]:
        """One item a file, by class and number."""
        return self._items

    def read(self, item: Item) -> Reading:
        """Reads a patch.

        Raises:
            BadItem: If the file is damaged or not of the published form.
        """
        (file,) = item.files
        label = file.parent.name
        if not file.stem.startswith(f"{label}_"):
            raise BadItem(f"name and folder differ: {item.name}")
        with raster.opened(file) as dataset:
            raster.require_band_count(dataset, len(EUROSAT.bands))
            raster.require_uint16(dataset)
            if dataset.shape != (self.size, self.size):
                raise BadItem(f"mixed sizes: {dataset.height} x {dataset.width}, not 64 x 64")
            georeference.require_crs(dataset)
            ((lat, lon),) = georeference.centers(dataset, [(0, 0)], (self.size, self.size))
            (footprint,) = georeference.footprints(dataset, [(0, 0)], dataset.shape)
            channels = [i + 1 for i in s2.indices(EUROSAT.bands, self.bands)]
            sources = radiometry.sources_of(dataset, channels)
            meaning = radiometry.find_radiometry(
                sources, self.bands, root=self.root, default="EuroSAT, digital numbers of Level-1C"
            )
            whole = Window(0, 0, self.size, self.size)
            values, missing = validity.read([(dataset, c) for c in channels], whole, meaning)
        convert.require_some_data(values)
        judge(values[:, ~missing], meaning)
        pixels, missing = convert.harmonize(values, missing, meaning)
        patch = Patch(
            pixels, float(lat), float(lon), key=item.name, place=item.name,
            label=EUROSAT.classes.index(label), footprint=footprint, radiometry=meaning,
            roles={name: of[file.stem] for name, of in self._roles.items() if file.stem in of},
        )  # fmt: skip
        return Reading([patch])


def _list(root: Path) -> tuple[list[Path], list[BadEntry]]:
    """The files by class and number, and what cannot be read."""
    top = list_level(root, EUROSAT.classes.__contains__, folder_wanted=EUROSAT.classes.__contains__)
    files, bad = [], top.bad_in("")
    for name in top.folders:
        level = list_level(root / name, _is_raster)
        files += [root / name / file for file in level.files]
        bad += level.bad_in(name)
    if not files:
        raise UsageError(
            f"{root} holds no EuroSAT MS files (<Class>/<Class>_<N>.tif, e.g. "
            "AnnualCrop/AnnualCrop_1.tif). Give the folder that holds the class folders."
        )
    missing = sorted(set(EUROSAT.classes) - {file.parent.name for file in files})
    if missing:
        logger.warning(
            "%s has no file of %d of the %d classes: %s. Was it unpacked to the end?",
            root, len(missing), len(EUROSAT.classes), ", ".join(missing),
        )  # fmt: skip
    return sorted(files, key=_order), bad


def _is_raster(name: str) -> bool:
    return has_suffix(name, raster.TIFF_SUFFIXES)


def _order(file: Path) -> tuple[str, int, str]:
    number = file.stem.rpartition("_")[2]
    return file.parent.name, int(number) if number.isdecimal() else 0, file.name
