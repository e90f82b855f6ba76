"""Overrides of a recipe's keys: `section.key=value` texts and keyword sections."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.training.recipe_schema import Section, sections
from georank_zoo.training.recipe_yaml import parse_yaml
from georank_zoo.utils.errors import RecipeError
from georank_zoo.utils.untrusted_text import plain

# The key that a section's plain value stands for: `data="stores/mine"` is `data.store`.
_PLAIN_KEY = {
    "data": "store", "probe": "store", "backbone": "name", "views": "name", "algorithm": "name",
    "regularizer": "name", "optimizer": "name",
}  # fmt: skip
# Setting one of these unsets the other.
_EXCLUSIVE = {"train.steps": "epochs", "train.epochs": "steps"}
_DEEPEST = 16  # dots in a key
_COMPONENTS = ("views.name", "algorithm.name", "regularizer.name")


def apply_overrides(
    raw: dict[str, Any], overrides: Sequence[str], given: Mapping[str, object]
) -> None:
    """Sets keys of an unchecked recipe, in place.

    Args:
        raw: The recipe's keys.
        overrides: `section.key=value`, the value in YAML. They come after `given`.
        given: Sections or parts of them, or the plain value that stands for a section.

    Raises:
        RecipeError: If an override is not of that form, or sets a key of what is no section.
    """
    if isinstance(overrides, str):
        overrides = [overrides]
    pairs = [*_flatten(given), *map(_parse, overrides)]
    # Names first: another component takes over what fits it, and what is set comes on top.
    for key, value in sorted(pairs, key=lambda pair: pair[0] not in _COMPONENTS):
        _set(raw, key, value)


def _flatten(given: Mapping[str, object]) -> Iterator[tuple[str, Any]]:
    for section, value in given.items():
        if isinstance(value, Section):
            value = value.model_dump()
        if isinstance(value, Mapping):
            yield from ((f"{section}.{key}", _plain(entry)) for key, entry in value.items())
        else:
            key = _PLAIN_KEY.get(section)
            yield (f"{section}.{key}" if key else section), _plain(value)


def _plain(value: object) -> object:
    """A value of Python as YAML would give it."""
    if isinstance(value, PatchStore):
        value = value.path
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if isinstance(value, np.generic) else value


def _parse(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"An override is section.key=value, not {plain(override)!r}.")
    if key.count(".") > _DEEPEST:
        raise RecipeError(f"{plain(key)} is not a key of a recipe.")
    return key.strip(), parse_yaml(text, where=f"The value of {plain(key.strip())}")


def _set(raw: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    section = raw
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise RecipeError(f"{plain(key)}: {plain(parent)!r} is not a section.")
    if key in _COMPONENTS and section.get("name", value) != value:
        _keep_what_fits(section, parents[0], value)
    section[last] = value
    if key in _EXCLUSIVE and value is not None:
        section[_EXCLUSIVE[key]] = None


def _keep_what_fits(section: dict[str, Any], kind: str, name: Any) -> None:
    """Drops the options that the component of this name does not share with the one before."""
    kept: set[str] = set()
    if isinstance(name, str) and name in sections(kind):
        # Algorithms share names of options, but not what is a good value of them.
        kept = {"alpha"} if kind == "regularizer" else set()
        kept = set(sections(kind)[name].model_fields) if kind == "views" else kept
        kept &= set(sections(kind)[name].model_fields)
    for key in section.keys() - kept:
        del section[key]
