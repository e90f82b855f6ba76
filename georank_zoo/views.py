"""Augmentations of batches of images, on their device, in one resampling per view.

A view generator is called with standardized images and uniform random numbers, and draws nothing
itself: the trainer derives the numbers from (seed, step, sample), so a resumed run and a run on
another number of processes see the same views.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from georank_zoo.utils.errors import UsageError


@dataclass(frozen=True, kw_only=True, eq=False)
class Views(ABC):
    """Base of the augmentations: full-size crops, then small ones, each from one date.

    The fields of a subclass, these and its own, are its keys in a recipe. The small crops are
    DINO's multi-crop (Caron et al. 2021, section 3.1); they are augmented as the full-size ones.

    Args:
        size: Side of a view in pixels.
        scale: Range of a crop's share of the area.
        ratio: Range of a crop's aspect ratio.
        local_views: Number of small crops, after the full-size views.
        local_size: Side of a small crop in pixels; half of `size` by default.
        local_scale: Range of a small crop's share of the area.

    Attributes:
        draws: Uniform numbers per image and view.

    Raises:
        UsageError: If a setting is out of range.
    """

    draws: ClassVar[int]

    size: int = 120
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    local_views: int = 0
    local_size: int | None = None
    local_scale: tuple[float, float] = (0.08, 0.25)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UsageError(f"views.size must be 1 or more, not {self.size}.")
        if not 1 <= self._local_side <= self.size:
            raise UsageError(
                f"views.local_size must lie between 1 and views.size, {self.size}, not "
                f"{self.local_size}."
            )
        _check_ranges(1, scale=self.scale, local_scale=self.local_scale)
        _check_ranges(ratio=self.ratio)
        if self.local_views < 0:
            raise UsageError(f"views.local_views must be 0 or more, not {self.local_views}.")

    @property
    def _local_side(self) -> int:
        return max(1, self.size // 2) if self.local_size is None else self.local_size

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sides of the views in pixels, each once, the full size first."""
        local = self.local_views > 0 and self._local_side != self.size
        return (self.size, self._local_side) if local else (self.size,)

    def __call__(
        self, acquisitions: Sequence[torch.Tensor], uniform: torch.Tensor
    ) -> list[torch.Tensor]:
        """Makes the views of a batch.

        Args:
            acquisitions: Standardized images (B, C, H, W), one batch per date of the places;
                view v, small ones too, is cut from date v modulo their number.
            uniform: Numbers in [0, 1), (B, full-size views + local_views, draws), on any device.

        Returns:
            One batch (B, C, size, size) per full-size view, then one (B, C, local_size,
            local_size) per small one.
        """
        uniform = uniform.to(acquisitions[0].device, torch.float32, non_blocking=True)
        full = uniform.shape[1] - self.local_views
        views = []
        for view, numbers in enumerate(uniform.unbind(1)):
            images = acquisitions[view % len(acquisitions)]
            size, scale = (
                (self.size, self.scale) if view < full else (self._local_side, self.local_scale)
            )
            crops = resample(images, self.affine(numbers, scale), size)
            views.append(self.recolor(crops, numbers))
        return views

    @abstractmethod
    def affine(
        self, uniform: torch.Tensor, scale: tuple[float, float] | None = None
    ) -> torch.Tensor:
        """Maps (B, 2, 3) from view to image coordinates, both in [-1, 1]; x before y.

        Args:
            uniform: Numbers (B, draws).
            scale: Range of a crop's share of the area; `self.scale` by default.
        """

    def recolor(self, crops: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        """Changes the values of the crops (B, C, S, S) by the numbers (B, draws)."""
        return crops

    def box(
        self, uniform: torch.Tensor, scale: tuple[float, float] | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Random boxes within an image, from the first four numbers of (B, draws).

        Returns:
            Width (B,) and height (B,) as shares of the image's, and center (B, 2) in [-1, 1].
        """
        share = self.scale if scale is None else scale
        area, ratio, left, top = uniform[:, :4].unbind(1)
        area = share[0] + area * (share[1] - share[0])
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratio = torch.exp(low + ratio * (high - low))
        width = (area * ratio).sqrt().clamp(max=1)
        height = (area / ratio).sqrt().clamp(max=1)
        center = torch.stack(((1 - width) * (2 * left - 1), (1 - height) * (2 * top - 1)), dim=1)
        return width, height, center


@dataclass(frozen=True, kw_only=True, eq=False)
class GeometricViews(Views):
    """Random resized crop, flip and quarter turns: the paper's "geometric" augmentation.

    An overhead image has no up, so all eight orientations of a crop are natural; color is
    information in Sentinel-2 and is left alone.

    Args:
        flip: Probability of a flip, left-right or up-down.
        rotate: Probability of a turn by 90, 180 or 270 degrees.

    The options of the crops and the errors are those of `Views`.
    """

    # Area, ratio, left, top, flip?, axis, turn?, angle.
    draws = 8

    flip: float = 0.75
    rotate: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_probabilities(flip=self.flip, rotate=self.rotate)

    def affine(
        self, uniform: torch.Tensor, scale: tuple[float, float] | None = None
    ) -> torch.Tensor:
        """Maps (B, 2, 3) of crop, flip and turn; see Views."""
        width, height, center = self.box(uniform, scale)
        flips, axis, turns, angle = uniform[:, 4:].unbind(1)
        flipped = flips < self.flip
        x_sign = torch.where(flipped & (axis < 0.5), -1.0, 1.0)
        y_sign = torch.where(flipped & (axis >= 0.5), -1.0, 1.0)
        quarter = torch.where(turns < self.rotate, (angle * 3).floor() + 1, 0.0)
        # Exact values: a quarter turn must not blur through a cosine of 6e-17.
        cos = (quarter == 0).float() - (quarter == 2).float()
        sin = (quarter == 1).float() - (quarter == 3).float()

        row_x = torch.stack((width * x_sign * cos, -width * x_sign * sin), dim=1)
        row_y = torch.stack((height * y_sign * sin, height * y_sign * cos), dim=1)
        return torch.cat((torch.stack((row_x, row_y), dim=1), center[:, :, None]), dim=2)


@dataclass(frozen=True, kw_only=True, eq=False)
class StandardViews(Views):
    """The natural-image set of SimCLR and MoCo v2, as far as twelve bands have one.

    Random resized crop, left-right flip, brightness and contrast, grayscale, Gaussian blur. Hue
    and saturation are left out: they are defined on red, green and blue. The strengths and
    probabilities are those of MoCo v2 (Chen et al. 2020, appendix), the values are standardized,
    z = (reflectance - mean) / std by band, and so:

    * Brightness adds one number to all bands, in standard deviations: a factor on z, as on an
      RGB image, would leave an image of average brightness as it is.
    * Contrast stretches each band about its own mean over the view. It changes no mean, so its
      order with brightness does not matter; they are drawn together, as in color jitter.
    * Grayscale replaces every band by the mean of the bands.
    * Blur weighs the pixels of the view with a Gaussian, normalized over those inside it. Its
      sigma is in pixels of the view, so it smooths a small view more than the same view of
      224 px that the strengths were chosen for.

    Args:
        flip: Probability of a left-right flip.
        jitter: Probability of a change of brightness and contrast.
        brightness: Largest shift, in standard deviations.
        contrast: Largest change of the factor 1, below 1.
        grayscale: Probability of grayscale.
        blur: Probability of blur.
        sigma: Range of the blur's standard deviation in pixels.

    The options of the crops and the errors are those of `Views`.
    """

    # Area, ratio, left, top, flip?, jitter?, brightness, contrast, gray?, blur?, sigma.
    draws = 11

    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    grayscale: float = 0.2
    blur: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_probabilities(
            flip=self.flip, jitter=self.jitter, grayscale=self.grayscale, blur=self.blur
        )
        if not self.brightness >= 0:
            raise UsageError(f"views.brightness must be 0 or more, not {self.brightness:g}.")
        if not 0 <= self.contrast < 1:
            raise UsageError(f"views.contrast must lie in [0, 1), not {self.contrast:g}.")
        _check_ranges(sigma=self.sigma)

    def affine(
        self, uniform: torch.Tensor, scale: tuple[float, float] | None = None
    ) -> torch.Tensor:
        """Maps (B, 2, 3) of crop and flip; see Views."""
        width, height, center = self.box(uniform, scale)
        zero = torch.zeros_like(width)
        x_sign = torch.where(uniform[:, 4] < self.flip, -1.0, 1.0)
        row_x = torch.stack((width * x_sign, zero, center[:, 0]), dim=1)
        row_y = torch.stack((zero, height, center[:, 1]), dim=1)
        return torch.stack((row_x, row_y), dim=1)

    def recolor(self, crops: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        """Brightness, contrast, grayscale and blur of crops (B, C, S, S)."""
        jitters, bright, stretch, grays, blurs, sigma = (
            column[:, None, None, None] for column in uniform[:, 5:].unbind(1)
        )
        jittered = jitters < self.jitter
        shift = torch.where(jittered, self.brightness * (2 * bright - 1), 0.0)
        factor = torch.where(jittered, 1 + self.contrast * (2 * stretch - 1), 1.0)
        mean = crops.mean(dim=(2, 3), keepdim=True)
        crops = torch.addcmul(shift + (1 - factor) * mean, crops, factor)
        crops = torch.where(grays < self.grayscale, crops.mean(dim=1, keepdim=True), crops)
        sigma = self.sigma[0] + sigma * (self.sigma[1] - self.sigma[0])
        return torch.where(blurs < self.blur, gaussian_blur(crops, sigma.flatten()), crops)


def resample(images: torch.Tensor, affine: torch.Tensor, size: int) -> torch.Tensor:
    """Bilinear resampling of images (B, C, H, W) through affine maps (B, 2, 3), to (size, size)."""
    shape = [len(images), images.shape[1], size, size]
    grid = F.affine_grid(affine.to(images.dtype), shape, align_corners=False)
    return F.grid_sample(images, grid, "bilinear", "border", align_corners=False)


def gaussian_blur(images: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Blurs each image with its own Gaussian; at the border the weights inside count alone.

    Args:
        images: (B, C, S, S).
        sigma: Standard deviations (B,) in pixels, above 0.
    """
    # A product with two full matrices costs a tenth of what a network of this image does, and
    # takes a kernel per image, which a convolution takes only as thousands of groups.
    pixel = torch.arange(images.shape[-1], device=images.device, dtype=torch.float32)
    steps = (pixel[:, None] - pixel) / sigma[:, None, None]
    weights = torch.softmax(-0.5 * steps.square(), dim=2).to(images.dtype)
    for _ in range(2):  # along x, and turned, along y
        images = (images.flatten(1, 2) @ weights.mT).view(images.shape).mT
    return images


def _check_probabilities(**values: float) -> None:
    for key, value in values.items():
        if not 0 <= value <= 1:
            raise UsageError(f"views.{key} is a probability in [0, 1], not {value:g}.")


def _check_ranges(most: float = math.inf, **ranges: tuple[float, float]) -> None:
    limit = "" if most == math.inf else f" <= {most:g}"
    for key, (low, high) in ranges.items():
        if not 0 < low <= high <= most:
            raise UsageError(f"views.{key} needs 0 < low <= high{limit}, not {(low, high)}.")


VIEWS: dict[str, type[Views]] = {
    "geometric": GeometricViews,
    "standard": StandardViews,
}
