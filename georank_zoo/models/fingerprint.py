"""Fingerprints: a model's features of fixed images, noted at its export and compared later.

A checksum says that the bytes are the same; this says that they still mean the same: that
config.json (bands and their order, scale, means and standard deviations), timm, torch and this
package make of them the network that was exported.

The images are bytes of SHAKE-256, so no library's random numbers are in them. They belong to bands
by name, so bands in another order are other images. Of the features, fixed projections are kept,
for all of them would fill config.json.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from georank_zoo.models.encoder import Encoder
from georank_zoo.utils.errors import ModelError, plain

FINGERPRINT = "fingerprint"  # in config.json's `georank`
_VERSION = 1
IMAGES = 4
_PROJECTIONS = 16
# Of the length of an image's projected features. On one CPU the same ResNet18 differs by 1.5e-7
# between memory formats and 2e-7 from float64, a ViT by 1e-6 from float64; a mean that is off by
# 0.001 reflectance, or a standard deviation by 1 %, gives 2e-3, two swapped bands 0.1. The sign of
# a single weight is under it in half of the cases: that is what the checksum is for.
FINGERPRINT_TOLERANCE = 1e-4

# Sides in pixels of the squares that the images consist of: texture, objects, landscape.
_SQUARES = (1, 4, 16)
# DN of the darkest pixel, and per step of a byte: 200 to 3,260 in all.
_DARKEST, _STEP = 200, 4


class Fingerprint(BaseModel):
    """A fingerprint, as it stands in config.json.

    Attributes:
        version: Version of the images and projections that this module makes.
        image_size: Side of the images in pixels.
        projections: Projections (IMAGES, 16) of the features of each image.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: int
    image_size: int
    projections: list[list[float]]

    @model_validator(mode="after")
    def _is_of_this_version(self) -> Fingerprint:
        if self.version != _VERSION:
            raise ValueError(f"version {self.version}, but this georank-zoo knows {_VERSION}")
        shape = {len(row) for row in self.projections}
        if len(self.projections) != IMAGES or shape != {_PROJECTIONS}:
            raise ValueError(f"projections must be {IMAGES} lists of {_PROJECTIONS} numbers")
        return self


@dataclass(frozen=True)
class FingerprintMatch:
    """Distance of a model from its fingerprint.

    Attributes:
        difference: Largest distance of an image's projections, relative to their length.
    """

    difference: float

    @property
    def equal(self) -> bool:
        """Whether it is within the tolerance; never where a number is NaN."""
        return self.difference <= FINGERPRINT_TOLERANCE


def fixed_images(bands: Sequence[str], size: int) -> npt.NDArray[np.uint16]:
    """Images (IMAGES, len(bands), size, size) in DN: a band's pixels depend on its name alone."""
    images = [[_image(f"{number} {band}", size) for band in bands] for number in range(IMAGES)]
    return np.array(images, dtype=np.uint16)


def _image(seed: str, size: int) -> npt.NDArray[np.uint16]:
    """Squares of three sizes, one over the other, each of a random level: (size, size)."""
    image = np.full((size, size), _DARKEST, dtype=np.uint16)
    for side in _SQUARES:
        count = -(-size // side)
        levels = _bytes(f"{seed} {side}", count * count).reshape(count, count)
        squares = levels.astype(np.uint16).repeat(side, axis=0).repeat(side, axis=1)
        image += np.uint16(_STEP) * squares[:size, :size]
    return image


def _bytes(seed: str, count: int) -> npt.NDArray[np.uint8]:
    digest = hashlib.shake_256(f"georank-zoo fingerprint {_VERSION} {seed}".encode())
    return np.frombuffer(digest.digest(count), dtype=np.uint8)


def take_fingerprint(encoder: Encoder) -> Fingerprint:
    """The fingerprint of a model, computed on the CPU in float32.

    Args:
        encoder: The model, on the CPU. It is left in evaluation mode.

    Raises:
        ModelError: If a feature is NaN or infinite.
    """
    size = encoder.image_size
    projected = _project(_features(encoder, size))
    if not np.isfinite(projected).all():
        raise ModelError(f"{encoder.name} gives NaN or infinite features: its training diverged.")
    rounded = [[float(f"{x:.7g}") for x in row] for row in projected]
    return Fingerprint(version=_VERSION, image_size=size, projections=rounded)


def compare_fingerprint(encoder: Encoder) -> FingerprintMatch:
    """Compares a model with the fingerprint in its config.

    Args:
        encoder: The model, on the CPU, with its config. It is left in evaluation mode.

    Raises:
        ModelError: If its config has no fingerprint, or none that can be read.
    """
    noted = _noted(encoder)
    expected = np.array(noted.projections)
    found = _project(_features(encoder, noted.image_size))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        distance = np.linalg.norm(found - expected, axis=1)
        length = np.linalg.norm(expected, axis=1)
        # Features that are all zero have no length to compare with.
        relative = np.where(distance == 0, 0, distance / length)
    return FingerprintMatch(float(relative.max()))


def _noted(encoder: Encoder) -> Fingerprint:
    raw: Any = encoder.config.georank.get(FINGERPRINT) if encoder.config else None
    if raw is None:
        raise ModelError(
            f"{encoder.name} has no fingerprint: it was not exported by georank-zoo, or by an "
            "early version. Export its run again."
        )
    try:
        noted = Fingerprint.model_validate(raw)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(["georank", FINGERPRINT, *map(str, problem["loc"])])
        raise ModelError(
            f"The fingerprint of {encoder.name} cannot be read: {place}: {plain(problem['msg'])}."
        ) from error
    if noted.image_size != encoder.image_size:
        raise ModelError(
            f"The fingerprint of {encoder.name} is of {noted.image_size} px, but its config says "
            f"{encoder.image_size} px."
        )
    return noted


def _features(encoder: Encoder, size: int) -> npt.NDArray[np.float64]:
    encoder.eval()
    images = torch.from_numpy(fixed_images(encoder.model_bands, size).astype(np.int32))
    with torch.inference_mode():
        z = encoder.standardize(images, encoder.model_bands, "dn")
        # One by one: a large network at a large size takes memory enough for one.
        features = torch.cat([encoder.embed(z[i : i + 1]) for i in range(len(z))])
    return features.double().numpy()


def _project(features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sums of the features (N, D) with random signs: (N, _PROJECTIONS), as long on average."""
    width = features.shape[1]
    signs = 1.0 - 2.0 * (_bytes("signs", width * _PROJECTIONS) & 1).reshape(width, _PROJECTIONS)
    with np.errstate(invalid="ignore"):  # of infinite features, as both callers notice
        projected: npt.NDArray[np.float64] = features @ signs / np.sqrt(_PROJECTIONS)
    return projected
