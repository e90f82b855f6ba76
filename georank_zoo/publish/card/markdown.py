"""Values of a model card as Markdown, with foreign text made harmless."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import jinja2
import yaml

from georank_zoo.training.recipe import Recipe
from georank_zoo.training.recipe_schema import Section
from georank_zoo.utils.untrusted_text import markdown_code, markdown_text


def markdown_environment() -> jinja2.Environment:
    """The environment of the card template, with its filters."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 -- Markdown, not HTML; foreign text goes through `plain`
    )
    environment.filters |= {
        "plain": markdown_text,
        "count": lambda number: f"{number:,}",
        "score": lambda row: row.percent,
        "duration": _duration,
        "options": _options,
        "value": lambda value: "none" if value is None else markdown_text(value),
        "code": markdown_code,
        "quoted": lambda text: json.dumps(text, ensure_ascii=False),
        "recipe_yaml": _recipe_yaml,
    }
    return environment


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _options(component: Section, leave_out: Sequence[str] = ()) -> str:
    """The options of a component that are set, in the order of its constructor, as code."""
    known = component.model_dump(mode="json")
    shown = ", ".join(
        f"{key} {_short(value)}"
        for key, value in known.items()
        if key not in ("name", *leave_out) and value is not None
    )
    return markdown_code(shown, 2000)


def _short(value: object) -> str:
    if isinstance(value, list):
        return " to ".join(map(_short, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _recipe_yaml(recipe: Recipe) -> str:
    """The resolved recipe as code, without the texts that name published numbers."""
    document = recipe.model_dump(mode="json", exclude={"baseline", "cost", "mirrors"})
    text = yaml.safe_dump(document, sort_keys=False, width=100)
    # No text in it can close the block: a fence is closed by one of its length.
    fence = "`" * (1 + max(map(len, ["``", *re.findall("`+", text)])))
    return f"{fence}yaml\n{text}{fence}"
