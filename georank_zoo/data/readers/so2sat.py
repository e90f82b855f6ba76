"""So2Sat LCZ42: 400,673 labeled patches of 32 px over 52 cities, 10 bands.

Zhu et al.: "So2Sat LCZ42", IEEE GRSM 2020. Layout of versions 3 and 4: `<split>/training.h5` and
`<split>/testing.h5`, and `validation.h5` in `culture_10`. Version 4 also publishes positions in
`*_geo.h5`, which are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from georank_zoo import bands as s2
from georank_zoo.data.datasets.so2sat import SO2SAT, SPLIT_OF_FOLDER
from georank_zoo.data.files import hdf5
from georank_zoo.data.files.radiometry import Radiometry
from georank_zoo.data.readers.base import Item, Reading, fingerprint
from georank_zoo.data.store.header import Skipped
from georank_zoo.data.store.patch import NO_POSITION, Patch, Role, Target
from georank_zoo.utils.errors import BadItem, UsageError

_FILES: dict[Role, str] = {
    "train": "training.h5",
    "validation": "validation.h5",
    "test": "testing.h5",
}
_REQUIRED: tuple[Role, ...] = ("train", "test")
_SIDE = SO2SAT.image_size
_MAX_LABEL_BYTES = 2**29  # the published training file has 48 MB of them
_ROWS = 256  # of an item: 21 MB of float64


class So2Sat:
    """Reads one split of So2Sat; an item is a run of samples of a file.

    Args:
        root: The folder of a split: `random`, `block` or `culture_10`.
        bands: Bands wanted, in channel order, of the ten that the files hold.

    Raises:
        UsageError: If it is no such folder, a file is damaged, two files hold the same samples,
            or a band is unknown or missing.
    """

    name = SO2SAT.name
    size = SO2SAT.image_size
    class_names = SO2SAT.classes
    target: Target = SO2SAT.target
    level = SO2SAT.level
    source = SO2SAT.source
    license = SO2SAT.license

    def __init__(self, root: str | Path, *, bands: str | Sequence[str] = SO2SAT.bands) -> None:
        self.root = Path(root)
        self.bands = s2.resolve(bands)
        self._channels = s2.indices(SO2SAT.bands, self.bands)
        self._radiometry = Radiometry(
            (1.0,) * len(self.bands), (0.0,) * len(self.bands), "So2Sat LCZ42, reflectance"
        )
        files = _files(self.root)
        self.splits = (SPLIT_OF_FOLDER[self.root.absolute().name],)
        counts = {role: _count(file) for role, file in files.items()}
        _require_different(files)
        self._rows: dict[str, tuple[Role, int, int]] = {}
        self._items = []
        for role, file in files.items():
            for start in range(0, counts[role], _ROWS):
                stop = min(start + _ROWS, counts[role])
                name = f"{file.name}[{start}:{stop}]"
                self._rows[name] = role, start, stop
                units = tuple(f"{file.name}[{row}]" for row in range(start, stop))
                self._items.append(Item(name, (file,), units))
        self.spec: dict[str, Any] = {
            "reader": self.name,
            "split": self.splits[0],
            "listing": fingerprint(self.root, files.values()),
        }

    def items(self) -> Sequence[Item]:
        """Runs of samples, the training file's first."""
        return self._items

    def read(self, item: Item) -> Reading:
        """Reads a run of samples; each is its own place, and bad by itself.

        Raises:
            BadItem: If the file is damaged there.
        """
        role, start, stop = self._rows[item.name]
        with hdf5.open_hdf5(item.files[0]) as file:
            pixels, one_hot = (data[start:stop] for data in _datasets(file))
        reading = Reading([])
        for key, image, code in zip(item.units, pixels, one_hot, strict=True):
            try:
                patch = Patch(
                    self._digital_numbers(image), NO_POSITION, NO_POSITION, key=key, place=key,
                    label=_label(code), roles={self.splits[0]: role}, radiometry=self._radiometry,
                )  # fmt: skip
            except BadItem as error:
                reading.left_out.append(Skipped(key, str(error)))
            else:
                reading.patches.append(patch)
        return reading

    def _digital_numbers(self, image: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
        dn = hdf5.digital_numbers(image, "reflectance")
        return np.ascontiguousarray(np.moveaxis(dn[..., self._channels], -1, 0))


def _files(root: Path) -> dict[Role, Path]:
    """The files of a split that there are, by role."""
    files = {role: root / name for role, name in _FILES.items() if (root / name).is_file()}
    if root.absolute().name in SPLIT_OF_FOLDER and all(role in files for role in _REQUIRED):
        return files
    inner = [folder for folder in SPLIT_OF_FOLDER if (root / folder).is_dir()]
    if inner:
        does = f"Give the folder of one split: {', '.join(str(root / name) for name in inner)}."
    elif any((root / f"{name}.gz").is_file() for name in _FILES.values()):
        does = "Unpack its files with gunzip."
    else:
        does = f"Give the folder {', '.join(SPLIT_OF_FOLDER)} of So2Sat; its name says the split."
    raise UsageError(
        f"{root} holds no split of So2Sat (<split>/training.h5 and testing.h5). {does}"
    )


def _datasets(file: h5py.File) -> tuple[Any, Any]:
    """The pixels (N, 32, 32, 10) and the labels (N, 17)."""
    pixels = hdf5.array(file, "sen2", (None, _SIDE, _SIDE, len(SO2SAT.bands)))
    labels = hdf5.array(file, "label", (len(pixels), len(SO2SAT.classes)))
    if pixels.dtype.kind != "f":
        raise BadItem(f"values contradict the unit: {pixels.dtype} holds no reflectance")
    return pixels, labels


def _count(path: Path) -> int:
    # All samples lie in a file or two, so one that is damaged leaves nothing to go on with.
    try:
        with hdf5.open_hdf5(path) as file:
            return len(_datasets(file)[0])
    except BadItem as error:
        raise UsageError(f"{path} cannot be used: {error}. Download it again.") from error


def _require_different(files: dict[Role, Path]) -> None:
    """Refuses two files of the same samples, such as one that was downloaded under two names."""
    ends: dict[bytes, Path] = {}
    for path in files.values():
        with hdf5.open_hdf5(path) as file:
            pixels, labels = _datasets(file)
            if len(pixels) == 0:
                raise UsageError(f"{path} holds no sample. Download it again.")
            if labels.nbytes > _MAX_LABEL_BYTES:
                raise UsageError(f"{path} cannot be used: too many labels. Download it again.")
            end = b"".join(part.tobytes() for part in (pixels[0], pixels[-1], labels[()]))
        if end in ends:
            raise UsageError(
                f"{ends[end]} and {path} hold the same samples: the split overlaps. "
                "Download both again."
            )
        ends[end] = path


def _label(code: npt.NDArray[Any]) -> int:
    if not (np.isin(code, (0, 1)).all() and code.sum() == 1):
        raise BadItem("label is not one-hot")
    return int(code.argmax())
