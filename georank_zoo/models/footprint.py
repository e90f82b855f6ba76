"""Footprints: the number of a model's pretraining places in each cell of one degree.

That is enough to see which parts of the Earth a model knows, and too coarse (111 km from south to
north) to give away a place.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georank_zoo.utils.errors import ModelError
from georank_zoo.utils.regular_files import read_regular

FOOTPRINT = "footprint.json"
_MAX_BYTES = 2**24  # a cell and its count are 20 bytes, and there are 64,800
FOOTPRINT_FORMAT = "georank-footprint/1"
CELL_DEGREES = 1


@dataclass(frozen=True)
class Footprint:
    """Number of places per cell.

    Attributes:
        corners: South-west corners (N, 2) of the cells that hold a place, latitude and
            longitude in whole degrees, from south to north.
        places: Number of places in each (N,).
    """

    corners: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]

    @classmethod
    def of(cls, latlon: npt.NDArray[np.float64]) -> Footprint:
        """Counts places by cell.

        Args:
            latlon: Positions (P, 2) in degrees, one per place.
        """
        cells = np.floor(latlon).astype(np.int64)
        # The pole and the date line belong to the cells that they close.
        cells = np.minimum(cells, (90 - CELL_DEGREES, 180 - CELL_DEGREES))
        corners, places = np.unique(cells, axis=0, return_counts=True)
        return cls(corners, places)

    @property
    def centers(self) -> npt.NDArray[np.float64]:
        """Middles of the cells (N, 2), latitude and longitude in degrees."""
        centers: npt.NDArray[np.float64] = self.corners.astype(np.float64) + CELL_DEGREES / 2
        return centers

    def to_json(self) -> str:
        """The footprint as the text of `footprint.json`."""
        rows = np.column_stack((self.corners, self.places)).tolist()
        document = {
            "format": FOOTPRINT_FORMAT,
            "cell_degrees": CELL_DEGREES,
            "south_west_places": rows,
        }
        return json.dumps(document, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, where: Path) -> Footprint:
        """Reads `footprint.json`.

        Raises:
            ModelError: If it is not a footprint of this format.
        """
        try:
            raw: dict[str, Any] = json.loads(text)
            if raw["format"] != FOOTPRINT_FORMAT or raw["cell_degrees"] != CELL_DEGREES:
                raise ValueError(f"format {raw['format']!r}")
            table = np.array(raw["south_west_places"])
            if table.dtype.kind != "i" or table.ndim != 2 or table.shape[1] != 3:
                raise ValueError("it does not list latitude, longitude and count")
            lat, lon, places = table.T
            # No absolute values: that of the smallest integer is negative.
            off = (lat < -90) | (lat > 90) | (lon < -180) | (lon > 180)
            if off.any() or (places < 1).any():
                raise ValueError("a cell lies off the Earth or holds no place")
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ModelError(
                f"{where} is damaged ({error}). Export the model again, or delete the file to do "
                "without the map."
            ) from error
        return cls(table[:, :2], places)


def read_footprint(folder: Path) -> Footprint | None:
    """The footprint in a run or model folder; None where an earlier version wrote none.

    Raises:
        ModelError: If it is damaged.
    """
    path = folder / FOOTPRINT
    if not path.is_file():
        return None
    return Footprint.from_json(read_regular(path, _MAX_BYTES), where=path)
