from __future__ import annotations

import numpy as np
import pytest
import torch

from georank_zoo import bands as s2
from georank_zoo.utils.errors import UsageError


def test_order_of_the_sets() -> None:
    assert s2.S2_12 == (
        "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12",
    )  # fmt: skip
    assert len(s2.S2_13) == 13
    assert s2.S2_13[10] == "B10"
    assert s2.SETS["s2-10"] == (
        "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("rgb", ("B04", "B03", "B02")),
        ("b2, B8a,B12", ("B02", "B8A", "B12")),
        (["B1", "B11"], ("B01", "B11")),
        ("B08", ("B08",)),
        ("S2-12", s2.S2_12),
    ],
)
def test_resolve(spec: str | list[str], expected: tuple[str, ...]) -> None:
    assert s2.resolve(spec) == expected


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("B13", "Unknown band 'B13'"),
        ("B02,B2", "twice: B02"),
        # Positions in a file, more likely than names.
        ("2,3,4", "Unknown band '2'"),
        (["1"], "Unknown band '1'"),
        ("s2-11", "Unknown band set 's2-11'"),
        ([], "No band given"),
    ],
)
def test_resolve_refuses(spec: str | list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        s2.resolve(spec)


def test_indices_go_by_name() -> None:
    file_order = [*(b for b in s2.S2_13 if b != "B8A"), "B8A"]  # EuroSAT's
    assert s2.indices(file_order, ["B8A", "B09", "B12"]) == [12, 8, 11]
    with pytest.raises(UsageError, match="B10"):
        s2.indices(s2.S2_12, ["B10"])


def test_fill_missing_puts_bands_by_name_and_zero_elsewhere() -> None:
    images = torch.arange(3.0).view(1, 3, 1, 1).expand(2, 3, 4, 4) + 1
    filled = s2.fill_missing(images, ("B08", "B02", "B10"), ("B01", "B02", "B08"))
    assert filled[0, :, 0, 0].tolist() == [0, 2, 1]
    assert s2.fill_missing(images, ("B1", "B2", "B3"), ("B1", "B2", "B3")) is images


@pytest.mark.parametrize(
    ("low", "high", "unit", "message"),
    [
        (0, 3000, "reflectance", "digital numbers"),
        (0, 0.9, "dn", "reflectance"),
        (float("nan"), 1, "dn", "NaN"),
        (0, 1, "percent", "Unknown unit"),
    ],
)
def test_check_unit_refuses(low: float, high: float, unit: s2.Unit, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        s2.check_unit(low, high, unit, where="it")


def test_check_unit_accepts() -> None:
    s2.check_unit(0, 2.8, "reflectance", where="So2Sat")
    s2.check_unit(0, 28000, "dn", where="OSCD")
    s2.check_unit(0, 0, "dn", where="all zero is another matter")


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_to_reflectance(dtype: type) -> None:
    values = np.array([0, 1, 10_000, 32_768, 65_535]).astype(dtype)
    reflectance = s2.to_reflectance(torch.from_numpy(values), "dn")
    assert reflectance.dtype == torch.float32
    np.testing.assert_allclose(reflectance, [0, 1e-4, 1, 3.2768, 6.5535], rtol=1e-6)


def test_standardize() -> None:
    image = torch.tensor([0.3, 0.5]).view(1, 2, 1, 1)
    z = s2.standardize(image, [0.1, 0.5], [0.1, 2.0])
    np.testing.assert_allclose(z.flatten(), [2, 0], atol=1e-6)
