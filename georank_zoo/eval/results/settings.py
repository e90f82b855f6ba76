"""Settings of a protocol as JSON in a cell, and for a reader."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from georank_zoo.utils.documents import parse_json


def settings_to_json(values: Mapping[str, Any]) -> str:
    """Settings for a cell; empty if there are none."""
    return json.dumps(dict(values)) if values else ""


def settings_from_json(text: str) -> dict[str, Any]:
    """Settings of a cell.

    Raises:
        ValueError: If the text is not a JSON object.
    """
    values = parse_json(text) if text else {}
    if not isinstance(values, dict):
        raise ValueError(f"{text[:60]!r} is not a JSON object")
    return values


def named_values(text: str) -> list[str]:
    """Settings of a cell as `name=value`."""
    return [f"{name}={shown_value(value)}" for name, value in settings_from_json(text).items()]


def shown_value(value: Any) -> str:
    """A setting for a reader; of a list, its ends and its length."""
    if isinstance(value, list):
        return f"{value[0]:g} to {value[-1]:g} ({len(value)})" if value else "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def protocol_with_settings(
    protocol: str, k: int | None, temperature: float | None, settings: str
) -> str:
    """A protocol with all that was given to it, such as `knn (k=10, temperature=0.9)`."""
    parts = [] if k is None else [f"k={k}"]
    parts += [] if temperature is None else [f"temperature={temperature:g}"]
    parts += named_values(settings)
    return f"{protocol} ({', '.join(parts)})" if parts else protocol
