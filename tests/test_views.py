"""Views: exact where they can be, inside the image, and a function of their numbers."""

import numpy as np
import pytest
import torch

from georank_zoo.errors import UsageError
from georank_zoo.views import GeometricViews

# Uniform numbers that leave an image alone: full area, ratio 1, no flip, no turn.
STILL = [0.999999, 0.5, 0.5, 0.5, 0.99, 0.0, 0.99, 0.0]


def image(size: int = 8) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def one(views: GeometricViews, numbers: list[float], images: torch.Tensor) -> torch.Tensor:
    uniform = torch.tensor(numbers).expand(len(images), 1, 8)
    return views([images], uniform)[0]


def test_nothing_drawn_gives_the_image_back() -> None:
    views = GeometricViews(size=8, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, rotate=0.0)
    torch.testing.assert_close(one(views, STILL, image()), image(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
@pytest.mark.parametrize("flip", [False, True])
def test_flips_and_quarter_turns_move_pixels_exactly(flip: bool, axis: int, turn: int) -> None:
    views = GeometricViews(size=8, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.5, rotate=0.5)
    numbers = [*STILL]
    numbers[4:6] = [0.1 if flip else 0.9, 0.2 if axis == 0 else 0.8]
    numbers[6:8] = [0.1 if turn else 0.9, (max(turn, 1) - 0.5) / 3]
    seen = one(views, numbers, image())
    flipped = torch.flip(image(), [3 - axis]) if flip else image()
    candidates = [torch.rot90(flipped, quarter, (2, 3)) for quarter in range(4)]
    errors = [(seen - candidate).abs().max().item() for candidate in candidates]
    assert min(errors) < 1e-5
    # The four angles give four orientations, the angle 0 the flipped image itself.
    assert (errors.index(min(errors)) == 0) == (turn == 0)


def test_every_view_stays_inside_the_image() -> None:
    views = GeometricViews(size=16, scale=(0.2, 1.0))
    uniform = torch.from_numpy(np.random.default_rng(0).random((500, 8), np.float32))
    affine = views.affine(uniform)
    corners = torch.tensor([[-1.0, -1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, 1]])
    reached = corners @ affine.mT
    assert reached.abs().max() <= 1 + 1e-5
    area = torch.linalg.det(affine[:, :, :2]).abs()
    assert area.min() > 0.15 and area.max() <= 1 + 1e-5 and area.std() > 0.1


def test_a_crop_shows_what_lies_there() -> None:
    # On an image whose value is its own x coordinate a view must show its affine map.
    x = (torch.arange(32) + 0.5) / 16 - 1
    images = x.expand(2, 1, 32, 32)
    views = GeometricViews(size=32, scale=(0.3, 0.5), flip=0.0, rotate=0.0)
    uniform = torch.from_numpy(np.random.default_rng(1).random((2, 1, 8), np.float32))
    uniform[:, :, 2] = 0.5
    affine = views.affine(uniform[:, 0])
    expected = affine[:, 0, 0, None] * x + affine[:, 0, 2, None]
    seen = views([images], uniform)[0]
    torch.testing.assert_close(seen[:, 0, 0], expected, atol=1e-5, rtol=0)


def test_dates_take_turns_and_no_view_is_lost() -> None:
    dates = [torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)]
    seen = GeometricViews(size=4)(dates, torch.rand(2, 6, 8))
    assert [view.mean().item() for view in seen] == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    "options",
    [
        {"size": 0},
        {"scale": (0.0, 1.0)},
        {"scale": (0.5, 0.2)},
        {"ratio": (2.0, 1.0)},
        {"flip": 2.0},
    ],
)
def test_bad_settings(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"views\."):
        GeometricViews(**options)
