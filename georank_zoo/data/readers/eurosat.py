"""EuroSAT MS: 27,000 labelled patches of 64 px over Europe, 13 bands, Level-1C.

Helber, Bischke, Dengel, Borth: "EuroSAT", IEEE JSTARS 2019. Layout:
`<Class>/<Class>_<N>.tif`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from georank_zoo import bands as s2
from georank_zoo.data.patch import Patch, Role, Target
from georank_zoo.data.readers import raster
from georank_zoo.data.readers.base import BadItem, Item, Reading, fingerprint
from georank_zoo.data.readers.eurosat_splits import read_splits
from georank_zoo.errors import UsageError
from georank_zoo.tasks.eurosat import CLASSES, EUROSAT, FILE_BANDS, SIZE


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

    name = "eurosat"
    size = SIZE
    class_names = CLASSES
    target: Target = "class"
    level = EUROSAT.level
    source = EUROSAT.source
    licence = EUROSAT.licence

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
        files = [file for name in CLASSES for file in sorted(self.root.glob(f"{name}/*.tif"))]
        if not files:
            raise UsageError(
                f"{self.root} holds no EuroSAT MS files (<Class>/<Class>_<N>.tif, e.g. "
                "AnnualCrop/AnnualCrop_1.tif). Give the folder that holds the class folders."
            )
        files.sort(key=_order)
        self._items = [
            Item(name, (file,), (name,))
            for file in files
            for name in [file.relative_to(self.root).as_posix()]
        ]
        self.spec: dict[str, Any] = {
            "reader": self.name,
            "files": len(files),
            "listing": fingerprint(self.root, files),
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
            raster.require_band_count(dataset, len(FILE_BANDS))
            raster.require_uint16(dataset)
            if dataset.shape != (SIZE, SIZE):
                raise BadItem(f"mixed sizes: {dataset.height} x {dataset.width}, not 64 x 64")
            raster.require_crs(dataset)
            ((lat, lon),) = raster.centres(dataset, [(0, 0)], (SIZE, SIZE))
            pixels = dataset.read()[s2.indices(FILE_BANDS, self.bands)]
        raster.require_some_data(pixels)
        patch = Patch(
            pixels, float(lat), float(lon), key=item.name, place=item.name,
            label=CLASSES.index(label),
            roles={name: of[file.stem] for name, of in self._roles.items() if file.stem in of},
        )  # fmt: skip
        return Reading([patch])


def _order(file: Path) -> tuple[str, int, str]:
    number = file.stem.rpartition("_")[2]
    return file.parent.name, int(number) if number.isdecimal() else 0, file.name
