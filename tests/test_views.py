"""Views: exact where they can be, inside the image, and a function of their numbers."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from georank_zoo.utils.errors import UsageError
from georank_zoo.views import VIEWS, GeometricViews, StandardViews, gaussian_blur

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
        {"local_views": -1},
        {"local_size": 0},
        {"local_scale": (0.0, 0.5)},
    ],
)
@pytest.mark.parametrize("name", VIEWS)
def test_bad_settings(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=rf"views\.{next(iter(options))}"):
        VIEWS[name](**options)


@pytest.mark.parametrize(
    "options",
    [
        {"jitter": -0.1},
        {"brightness": -1.0},
        {"contrast": 1.0},
        {"grayscale": 1.5},
        {"blur": 2.0},
        {"sigma": (0.0, 1.0)},
        {"sigma": (2.0, 1.0)},
    ],
)
def test_bad_standard_settings(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=rf"views\.{next(iter(options))}"):
        StandardViews(**options)


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("dates", [1, 2, 3])
def test_small_crops_follow_the_full_size_views_and_none_is_lost(name: str, dates: int) -> None:
    # Two dates zipped against six crops used to drop four of them (lightly's multi-crop).
    acquisitions = [torch.full((2, 3, 12, 12), float(date)) for date in range(dates)]
    quiet = {"jitter": 0.0} if name == "standard" else {}
    views = VIEWS[name](size=8, local_views=4, local_size=5, **quiet)
    seen = views(acquisitions, torch.rand(2, 6, views.draws))
    assert [tuple(view.shape) for view in seen] == 2 * [(2, 3, 8, 8)] + 4 * [(2, 3, 5, 5)]
    expected = [float(view % dates) for view in range(6)]
    assert [view.mean().item() for view in seen] == pytest.approx(expected)
    assert views.sizes == (8, 5) and VIEWS[name](size=8, local_size=5).sizes == (8,)


@pytest.mark.parametrize("name", VIEWS)
def test_small_crops_show_their_share_of_the_area(name: str) -> None:
    # On an image of x coordinates, the spread of a crop's values is its width.
    x = ((torch.arange(64) + 0.5) / 32 - 1).expand(300, 1, 64, 64)
    options: dict[str, Any] = {"ratio": (1.0, 1.0), "local_views": 1, "local_size": 16}
    if name == "standard":
        options |= {"jitter": 0.0, "blur": 0.0, "grayscale": 0.0}
    views = VIEWS[name](size=16, scale=(0.5, 1.0), local_scale=(0.1, 0.2), **options)
    uniform = torch.from_numpy(np.random.default_rng(0).random((300, 2, views.draws), np.float32))
    full, small = (
        ((crop.amax((1, 2, 3)) - crop.amin((1, 2, 3))) * 16 / 15 / 2) ** 2
        for crop in views([x], uniform)
    )
    assert 0.49 < full.min() < 0.53 and 0.93 < full.max() < 1.01
    assert 0.098 < small.min() < 0.105 and 0.195 < small.max() < 0.203


@pytest.mark.parametrize("name", VIEWS)
def test_small_crops_do_not_change_the_full_size_views(name: str) -> None:
    images = [torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(0))]
    views = VIEWS[name](size=8, local_views=2, local_size=4)
    uniform = torch.rand(3, 4, views.draws, generator=torch.Generator().manual_seed(1))
    with_small = views(images, uniform)
    alone = VIEWS[name](size=8)(images, uniform[:, :2])
    assert all(torch.equal(a, b) for a, b in zip(with_small, alone, strict=False))


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_a_function_of_its_own_image_and_numbers(name: str) -> None:
    images = torch.randn(5, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    views = VIEWS[name](size=8)
    uniform = torch.rand(5, 2, views.draws, generator=torch.Generator().manual_seed(1))
    together = views([images], uniform)
    torch.manual_seed(9)  # nothing is drawn from the global generator
    for sample in range(5):
        row = slice(sample, sample + 1)
        for whole, one_view in zip(together, views([images[row]], uniform[row]), strict=True):
            torch.testing.assert_close(one_view[0], whole[sample], atol=1e-6, rtol=0)


# Draws of StandardViews after the box: flip?, jitter?, brightness, contrast, gray?, blur?, sigma.
CALM = [0.999999, 0.5, 0.5, 0.5, 0.99, 0.99, 0.5, 0.5, 0.99, 0.99, 0.5]


def standard(images: torch.Tensor, options: dict[str, Any], **numbers: float) -> torch.Tensor:
    """One view of the whole image, with these draws (by their column) and calm others."""
    columns = {
        "flip": 4, "jitter": 5, "brightness": 6, "contrast": 7, "gray": 8, "blur": 9, "sigma": 10,
    }  # fmt: skip
    drawn = [*CALM]
    for name, number in numbers.items():
        drawn[columns[name]] = number
    views = StandardViews(size=images.shape[-1], scale=(1.0, 1.0), ratio=(1.0, 1.0), **options)
    return views([images], torch.tensor(drawn).expand(len(images), 1, 11))[0]


def test_standard_views_leave_alone_what_is_not_drawn() -> None:
    torch.testing.assert_close(standard(image(), {}), image(), atol=1e-6, rtol=0)


def test_standard_flip() -> None:
    torch.testing.assert_close(standard(image(), {}, flip=0.1), image().flip(3), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("bright", "stretch"), [(0.0, 0.5), (0.9, 0.5), (0.5, 0.1), (0.2, 0.8)])
def test_brightness_shifts_all_bands_and_contrast_stretches_each(
    bright: float, stretch: float
) -> None:
    z = image().numpy()
    seen = standard(
        image(), {"brightness": 0.3, "contrast": 0.6}, jitter=0.5, brightness=bright,
        contrast=stretch,
    ).numpy()  # fmt: skip
    shift, factor = -0.3 + 0.6 * bright, 0.4 + 1.2 * stretch
    for sample in range(len(z)):
        for band in range(z.shape[1]):
            mean = z[sample, band].mean()
            expected = mean + factor * (z[sample, band] - mean) + shift
            np.testing.assert_allclose(seen[sample, band], expected, atol=1e-6)


def test_grayscale_is_the_mean_of_the_bands_in_each() -> None:
    seen = standard(image(), {}, gray=0.1)
    expected = image().numpy().mean(axis=1)
    for band in range(3):
        np.testing.assert_allclose(seen[:, band].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("number", [0.0, 0.4, 1.0])
def test_blur_is_a_gaussian_of_the_drawn_sigma(number: float) -> None:
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    seen = standard(images, {"sigma": (0.5, 2.0)}, blur=0.4, sigma=number).numpy()
    expected = gaussian_filter(images.numpy(), 0.5 + 1.5 * number, axes=(2, 3), truncate=8)
    inside = (..., slice(12, -12), slice(12, -12))  # six sigma from the border
    np.testing.assert_allclose(seen[inside], expected[inside], atol=2e-6)


def test_blur_keeps_a_flat_image_flat_and_is_each_image_s_own() -> None:
    flat = torch.ones(2, 1, 9, 9)
    torch.testing.assert_close(gaussian_blur(flat, torch.tensor([0.1, 5.0])), flat)
    spikes = torch.zeros(2, 1, 25, 25)
    spikes[:, :, 12, 10] = 1
    sharp, soft = gaussian_blur(spikes, torch.tensor([0.05, 1.5]))
    assert torch.equal(sharp, spikes[0])
    assert soft.argmax() == spikes[0].argmax() and 0.06 < soft.max() < 0.08
    assert soft[0, 12, 9] == pytest.approx(soft[0, 12, 11].item(), rel=1e-5)


def test_standard_strengths_happen_as_often_as_they_should() -> None:
    images = torch.randn(2000, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    uniform = torch.rand(2000, 1, 11, generator=torch.Generator().manual_seed(1))
    options: dict[str, Any] = {"size": 6, "scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0}
    off = {"jitter": 0.0, "blur": 0.0, "grayscale": 0.0}
    for key, share in (("jitter", 0.8), ("blur", 0.5), ("grayscale", 0.2)):
        default = {name: value for name, value in off.items() if name != key}
        seen = StandardViews(**options, **default)([images], uniform)[0]
        changed = (seen - images).abs().amax((1, 2, 3)) > 1e-3
        # Blur begins at a sigma of 0.1 px, which changes nothing.
        assert changed.float().mean().item() == pytest.approx(
            share, abs=0.06 if key == "blur" else 0.03
        )
