"""The patch store as a torch data set that shows itself in a notebook."""

from __future__ import annotations

import operator
import os
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import torch
from torch.utils.data import Dataset

from georank_zoo.bands import DN_PER_REFLECTANCE
from georank_zoo.data.store.describe import describe, facts_table, warnings
from georank_zoo.data.store.mapped_store import MappedStore
from georank_zoo.utils.untrusted_text import html_text

if TYPE_CHECKING:
    from georank_zoo.utils.figures import NotebookFigure


class PatchStore(MappedStore, Dataset[dict[str, Any]]):
    """A prepared data set of Sentinel-2 patches.

    It is a map-style torch `Dataset` of dictionaries, which the default collation of a
    `DataLoader` joins:

    - `image`: reflectance (C, size, size), float32, channels as in `bands`
    - `latlon`: latitude and longitude of the center (2,) in degrees, float64; NaN where unknown
    - `place`: number of the place; patches of one place show common ground, or equal pixels
    - `time`: acquisition time in Unix seconds, or `NO_TIME`
    - `key`: source file and, where it was cut, window
    - `label`: class, int64, -1 where unknown; in a store of classes
    - `labels`: 0 or 1 for each class (classes,), int64, 255 where unknown; in a store of several
      labels a patch
    - `mask`: class of each pixel (size, size), int64, 255 where unknown; in a store of masks

    Pixels stay in files that are mapped into memory: opening a store is quick, worker processes
    share it, and an item reads one patch. `read` gives many patches of chosen bands at once, as
    digital numbers.

    Attributes:
        path: Folder of the store.
        header: Content of `store.json`.
        latlon: Patch centers (N, 2), WGS84 degrees, float64; NaN where the source does not tell.
        place: Place of each patch (N,): patches whose footprints overlap by more than a tenth, or
            whose pixels are equal, are of one; a split must never go through it.
        footprint: Footprint of each patch (N,): patches of one show the same ground, at different
            dates. As many as places, unless footprints overlap.
        corners: Latitude and longitude of the corners (N, 4, 2), in order around each patch; NaN
            where the source does not tell.
        radiometry: What was applied to the numbers of each patch's file (N); None where the
            reader does not tell.
        time: Acquisition time (N,), Unix seconds or `NO_TIME`.
        label: Class (N,) or `NO_LABEL`; in a store of masks the class that most pixels have.
        labels: 0 or 1 for each class (N, C), rows of `UNKNOWN` where unknown; None in a store of
            another target.
        roles: Part of each patch (N,) in published splits, by name: a position in `ROLES`, or
            `NO_ROLE`.

    Example:
        >>> import georank_zoo as gz
        >>> store = gz.PatchStore("stores/eurosat")
        >>> len(store), store.bands[:3], store.size
        (192, ('B01', 'B02', 'B03'), 32)
        >>> patch = store[0]
        >>> patch["image"].shape, store.class_names[patch["label"]]
        (torch.Size([12, 32, 32]), 'AnnualCrop')
        >>> from torch.utils.data import DataLoader, random_split
        >>> train, test = random_split(store, [0.8, 0.2])
        >>> batch = next(iter(DataLoader(train, batch_size=16, shuffle=True)))
        >>> batch["image"].shape, batch["latlon"].shape
        (torch.Size([16, 12, 32, 32]), torch.Size([16, 2]))
    """

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """One patch as a dictionary; negative positions count from the end."""
        i = self._position(index)
        one = np.array([i])
        # Divided by numpy: torch's threads cost more than so few pixels.
        image = self.read(one)[0].astype(np.float32) / np.float32(DN_PER_REFLECTANCE)
        item: dict[str, Any] = {
            "image": torch.from_numpy(image),
            "latlon": torch.from_numpy(self.latlon[i].copy()),
            "place": int(self.place[i]),
            "time": int(self.time[i]),
            "key": self.keys[i],
        }
        if self.target == "mask":
            item["mask"] = torch.from_numpy(self.masks(one)[0].astype(np.int64))
        elif self.labels is not None:
            item["labels"] = torch.from_numpy(self.labels[i].astype(np.int64))
        elif self.class_names:
            item["label"] = torch.tensor(int(self.label[i]))
        return item

    def _position(self, index: SupportsIndex) -> int:
        given = operator.index(index)
        position = given + len(self) if given < 0 else given
        # It ends a loop over the store, too, so it must be an IndexError.
        if not 0 <= position < len(self):
            raise IndexError(f"No patch {given}: store {self.path} has {len(self)} patches.")
        return position

    def __repr__(self) -> str:
        classes = f", {len(self.class_names)} classes" if self.class_names else ""
        share = f", share {self.header.share}" if self.header.share else ""
        return (
            f"PatchStore({str(self.path)!r}: {len(self):,} patches of {self.size} px, "
            f"{self.header.places:,} places, {len(self.bands)} bands{classes}{share})"
        )

    def _repr_html_(self) -> str:
        facts = describe(self)
        words = "".join(f"<p>Warning: {html_text(text)}</p>" for text in warnings(facts))
        return facts_table(facts).to_html() + words

    def plot(self, index: SupportsIndex) -> NotebookFigure:
        """Draws a patch.

        In true color from B04, B03 and B02, stretched to the percentiles of the patch; a store
        without these bands shows its first one in gray. A mask is drawn next to it.

        Args:
            index: Position of the patch; negative ones count from the end.

        Example:
            >>> import georank_zoo as gz
            >>> store = gz.open_store("stores/eurosat")
            >>> figure = store.plot(7)  # a notebook shows what a cell ends with
        """
        from georank_zoo.data.store.figure import draw_patch

        return draw_patch(self, self._position(index))

    def plot_map(self) -> NotebookFigure:
        """Draws where the places lie, colored by class if the patches are labeled.

        Raises:
            StoreError: If the store has no positions.

        Example:
            >>> import georank_zoo as gz
            >>> figure = gz.open_store("stores/eurosat").plot_map()
        """
        from georank_zoo.data.store.figure import draw_map

        return draw_map(self)


def open_store(path: str | os.PathLike[str]) -> PatchStore:
    """Opens a store that `prepare_store` or `georank data prepare` wrote.

    Args:
        path: Folder of the store.

    Raises:
        StoreError: If there is no complete, undamaged store.

    Example:
        >>> import georank_zoo as gz
        >>> gz.open_store("stores/eurosat")
        PatchStore('stores/eurosat': 192 patches of 32 px, 96 places, 12 bands, 8 classes)
    """
    return PatchStore(path)
