"""A patch as a reader gives it to a store, and the values that stand for the unknown."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from georank_zoo.data.datasets.base import Target as Target
from georank_zoo.data.files.radiometry import Radiometry

Role = Literal["train", "validation", "test"]
ROLES: tuple[Role, ...] = ("train", "validation", "test")
NO_ROLE = -1  # of a patch that has no part in a published split

NO_LABEL = -1
UNKNOWN = 255  # in multi-hot labels and in masks
NO_TIME = int(np.datetime64("NaT", "s").astype(np.int64))
NO_POSITION = math.nan  # latitude and longitude of a data set without positions


@dataclass(frozen=True)
class Patch:
    """One patch.

    Attributes:
        pixels: Digital numbers (bands, size, size), uint16, offset of baseline 04.00 removed.
        lat: Latitude of the center, WGS84 degrees, or `NO_POSITION`.
        lon: Longitude of the center, or `NO_POSITION`.
        key: Source file, relative to the source folder, and the window if it was cut.
        place: The reader's own grouping within the item: patches that share it show the same
            ground, such as dates of a place. What else does is found by footprints and pixels.
        time: Acquisition time as Unix seconds.
        label: Class, in a store of target `class`.
        labels: 0 or 1 for each class (C,), uint8, in a store of target `labels`; None where
            unknown.
        mask: Class of each pixel (size, size), uint8 or `UNKNOWN`, in a store of target `mask`.
        roles: Part in published splits, by the split's name.
        footprint: Latitude and longitude (4, 2) of the corners in degrees, in order around the
            patch; None without a position.
        radiometry: What was applied to the file's numbers; None where the reader does not tell.
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
    footprint: npt.NDArray[np.float64] | None = None
    radiometry: Radiometry | None = None


def most_frequent(mask: npt.NDArray[np.uint8]) -> int:
    """Most frequent class of a mask, the lower one of equals, or `NO_LABEL`."""
    known = mask[mask != UNKNOWN]
    return int(np.bincount(known).argmax()) if known.size else NO_LABEL


def check_patch(
    patch: Patch, *, bands: int, size: int, target: Target, classes: int, splits: Collection[str]
) -> None:
    """Checks what a reader promises of its patches.

    Args:
        patch: Patch of a reader.
        bands: Number of bands of the store.
        size: Patch side in pixels.
        target: Kind of annotation that the store takes.
        classes: Number of classes.
        splits: Names of the published splits.

    Raises:
        ValueError: If it is broken, which is a mistake of the reader's author, not of the data.
    """
    expected = (bands, size, size)
    if patch.pixels.shape != expected or patch.pixels.dtype != np.uint16:
        raise ValueError(
            f"{patch.key}: {patch.pixels.shape} {patch.pixels.dtype}, not {expected} uint16"
        )
    if np.isnan(patch.lat) != np.isnan(patch.lon):
        raise ValueError(f"{patch.key}: one coordinate without the other")
    if patch.footprint is not None and patch.footprint.shape != (4, 2):
        raise ValueError(f"{patch.key}: footprint {patch.footprint.shape}, not (4, 2)")
    foreign = {
        "labels": patch.labels is not None and target != "labels",
        "mask": (patch.mask is not None) != (target == "mask"),
        "label": patch.label != NO_LABEL and target != "class",
        "roles": not set(patch.roles) <= set(splits),
    }
    if any(foreign.values()):
        name = next(name for name, wrong in foreign.items() if wrong)
        raise ValueError(f"{patch.key}: {name} does not suit a store of target {target!r}")
    if patch.label != NO_LABEL and not 0 <= patch.label < (classes or patch.label + 1):
        raise ValueError(f"{patch.key}: label {patch.label}, but there are {classes} classes")
    if patch.labels is not None and (patch.labels.shape != (classes,) or patch.labels.max() > 1):
        raise ValueError(f"{patch.key}: labels must be {classes} zeros and ones")
    if patch.mask is not None and (
        patch.mask.shape != (size, size) or (patch.mask[patch.mask != UNKNOWN] >= classes).any()
    ):
        raise ValueError(f"{patch.key}: the mask must be {size} px of {classes} classes")
