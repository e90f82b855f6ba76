"""One patch on its way from a reader into a store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from georank_zoo.data.datasets.base import Target as Target

Role = Literal["train", "validation", "test"]
ROLES: tuple[Role, ...] = ("train", "validation", "test")
NO_ROLE = -1  # of a patch that has no part in a published split

NO_LABEL = -1
UNKNOWN = 255  # in multi-hot labels and in masks
NO_TIME = int(np.datetime64("NaT", "s").astype(np.int64))
NO_POSITION = math.nan  # latitude and longitude of a data set that does not tell them


@dataclass(frozen=True)
class Patch:
    """One patch.

    Attributes:
        pixels: Digital numbers (bands, size, size), uint16, offset of baseline 04.00 removed.
        lat: Latitude of the center, WGS84 degrees, or `NO_POSITION`.
        lon: Longitude of the center, or `NO_POSITION`.
        key: The source file, relative to the source folder, and the window if it was cut.
        place: Name of the place within the item; patches that share it differ in date.
        time: Acquisition time as Unix seconds.
        label: Class, in a store of target `class`.
        labels: 0 or 1 for each class (C,), uint8, in a store of target `labels`; None where
            unknown.
        mask: Class of each pixel (size, size), uint8 or `UNKNOWN`, in a store of target `mask`.
        roles: The patch's part in published splits, by the split's name.
    """

    pixels: npt.NDArray[np.uint16]
    lat: float
    lon: float
    key: str
    place: str
    time: int = NO_TIME
    label: int = NO_LABEL
    labels: npt.NDArray[np.uint8] | None = None
    mask: npt.NDArray[np.uint8] | None = None
    roles: Mapping[str, Role] = field(default_factory=dict)


def most_frequent(mask: npt.NDArray[np.uint8]) -> int:
    """The class that most pixels of a mask have, the lower one of equals, or `NO_LABEL`."""
    known = mask[mask != UNKNOWN]
    return int(np.bincount(known).argmax()) if known.size else NO_LABEL
