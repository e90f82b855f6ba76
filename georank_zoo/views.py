"""Views: the augmentations, on batches, on the device, in one resampling per view.

A view generator is called with standardised images and uniform random numbers, and draws nothing
itself: the trainer derives the numbers from (seed, step, sample), so a resumed run and a run on
another number of processes see the same views.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from georank_zoo.errors import UsageError


class GeometricViews:
    """Random resized crop, flip and quarter turns: the paper's "geometric" augmentation.

    An overhead image has no up, so all eight orientations of a crop are natural; colour is
    information in Sentinel-2 and is left alone.

    Args:
        size: Side of a view in pixels.
        scale: Range of a crop's share of the area.
        ratio: Range of a crop's aspect ratio.
        flip: Probability of a flip, left-right or up-down.
        rotate: Probability of a turn by 90, 180 or 270 degrees.

    Raises:
        UsageError: If a setting is out of range.
    """

    # Uniform numbers per image and view: area, ratio, left, top, flip?, axis, turn?, angle.
    draws = 8

    def __init__(
        self,
        *,
        size: int = 120,
        scale: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.75,
        rotate: float = 0.75,
    ) -> None:
        if size < 1:
            raise UsageError(f"views.size must be 1 or more, not {size}.")
        if not 0 < scale[0] <= scale[1] <= 1:
            raise UsageError(f"views.scale needs 0 < low <= high <= 1, not {tuple(scale)}.")
        if not 0 < ratio[0] <= ratio[1]:
            raise UsageError(f"views.ratio needs 0 < low <= high, not {tuple(ratio)}.")
        if not (0 <= flip <= 1 and 0 <= rotate <= 1):
            raise UsageError("views.flip and views.rotate are probabilities in [0, 1].")
        self.size = size
        self.scale = scale
        self.ratio = ratio
        self.flip = flip
        self.rotate = rotate

    def __call__(
        self, acquisitions: Sequence[torch.Tensor], uniform: torch.Tensor
    ) -> list[torch.Tensor]:
        """Makes the views of a batch.

        Args:
            acquisitions: Standardised images (B, C, H, W), one batch per date of the places;
                view v is cut from date v modulo their number.
            uniform: Numbers in [0, 1), (B, views, draws), on any device.

        Returns:
            One batch (B, C, size, size) per view.
        """
        uniform = uniform.to(acquisitions[0].device, torch.float32)
        return [
            resample(
                acquisitions[view % len(acquisitions)], self.affine(uniform[:, view]), self.size
            )
            for view in range(uniform.shape[1])
        ]

    def affine(self, uniform: torch.Tensor) -> torch.Tensor:
        """Maps (B, 2, 3) from view to image coordinates, both in [-1, 1]; x before y."""
        area, ratio, left, top, flips, axis, turns, angle = uniform.unbind(1)
        area = self.scale[0] + area * (self.scale[1] - self.scale[0])
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratio = torch.exp(low + ratio * (high - low))
        width = (area * ratio).sqrt().clamp(max=1)
        height = (area / ratio).sqrt().clamp(max=1)

        flipped = flips < self.flip
        x_sign = torch.where(flipped & (axis < 0.5), -1.0, 1.0)
        y_sign = torch.where(flipped & (axis >= 0.5), -1.0, 1.0)
        quarter = torch.where(turns < self.rotate, (angle * 3).floor() + 1, 0.0)
        # Exact values: a quarter turn must not blur through a cosine of 6e-17.
        cos = (quarter == 0).float() - (quarter == 2).float()
        sin = (quarter == 1).float() - (quarter == 3).float()

        row_x = torch.stack((width * x_sign * cos, -width * x_sign * sin), dim=1)
        row_y = torch.stack((height * y_sign * sin, height * y_sign * cos), dim=1)
        centre = torch.stack(((1 - width) * (2 * left - 1), (1 - height) * (2 * top - 1)), dim=1)
        return torch.cat((torch.stack((row_x, row_y), dim=1), centre[:, :, None]), dim=2)


def resample(images: torch.Tensor, affine: torch.Tensor, size: int) -> torch.Tensor:
    """Bilinear resampling of images (B, C, H, W) through affine maps (B, 2, 3), to (size, size)."""
    shape = [len(images), images.shape[1], size, size]
    grid = F.affine_grid(affine.to(images.dtype), shape, align_corners=False)
    return F.grid_sample(images, grid, "bilinear", "border", align_corners=False)


VIEWS: dict[str, type[GeometricViews]] = {
    "geometric": GeometricViews,
}
