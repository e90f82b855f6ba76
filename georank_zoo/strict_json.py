"""JSON from strangers: bounded in size, and nothing in it that two readers may read differently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from georank_zoo.errors import ModelError, plain

MAX_DEPTH = 32  # a config has 5


def read_object(path: Path, *, max_bytes: int) -> dict[str, Any]:
    """Reads a file that holds one JSON object.

    Python's reader takes the last of two equal keys, and NaN, which JSON has not; here both are
    errors, for what was checked must be what another reader sees.

    Args:
        path: The file.
        max_bytes: Most that it may hold.

    Raises:
        ModelError: If it is larger, not UTF-8, no valid JSON, or no object.
    """
    with path.open("rb") as file:
        # Never more than the limit, whatever the file system says of its size.
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ModelError(f"{path} has more than {max_bytes} bytes: it is no model's config.")
    try:
        raw = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
        if isinstance(raw, dict):
            _check_depth(raw)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no valid JSON: {plain(error, 200)}.") from error
    if not isinstance(raw, dict):
        raise ModelError(f"{path} must hold a JSON object.")
    return raw


def _check_depth(value: Any) -> None:
    """Refuses what is nested so deeply that walking through it would exhaust the stack."""
    layer = [value]
    for _ in range(MAX_DEPTH):
        inner = (v.values() if isinstance(v, dict) else v for v in layer)
        layer = [v for container in inner for v in container if isinstance(v, dict | list)]
        if not layer:
            return
    raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        doubled = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {doubled[:80]!r} stands twice")
    return mapping


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
