"""What numbers of a result can be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from georank_zoo.utils.errors import UsageError

_ROUNDING = 1e-6  # files have six digits
_OF_MASKS = ("miou", "pixel_accuracy")  # their neighbors are pixels, of which a sample has many


def check_numbers(values: Mapping[str, Any]) -> None:
    """Refuses numbers that no evaluation gives.

    Args:
        values: The numbers of `eval.results.table.Row`, and its metric, by column.

    Raises:
        UsageError: Names the column, the number and what it can be.
    """
    for name in ("value", "ci_low", "ci_high"):
        if not -_ROUNDING <= values[name] <= 1 + _ROUNDING:  # nan is not
            raise UsageError(f"{name} is a share between 0 and 1, not {values[name]:g}.")
    value, low, high = (values[name] for name in ("value", "ci_low", "ci_high"))
    if not low - _ROUNDING <= value <= high + _ROUNDING:
        raise UsageError(f"the interval {low:g} to {high:g} does not hold its value, {value:g}.")
    for name, least in (("n_train", 1), ("n_test", 1), ("image_size", 1), ("seed", 0)):
        if values[name] < least:
            raise UsageError(f"{name} is {least} or more, not {values[name]}.")
    k, temperature = values["k"], values["temperature"]
    if k is not None and not k >= 1:
        raise UsageError(f"k is 1 or more, not {k}.")
    if k is not None and k > values["n_train"] and values["metric"] not in _OF_MASKS:
        raise UsageError(f"{k} neighbors are more than the {values['n_train']} training samples.")
    if temperature is not None and not (temperature > 0 and math.isfinite(temperature)):
        raise UsageError(f"temperature is above 0 and finite, not {temperature:g}.")
