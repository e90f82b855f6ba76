"""JSON schema of a recipe."""

from __future__ import annotations

from typing import Any

from georank_zoo.training.recipe import Recipe
from georank_zoo.training.recipe_schema import sections


def json_schema() -> dict[str, Any]:
    """JSON schema of a recipe, for editors; `extends` may stand instead of required keys."""
    document = Recipe.model_json_schema()
    for kind in ("views", "algorithm", "regularizer"):
        options = []
        for name, section in sections(kind).items():
            part = section.model_json_schema()
            document["$defs"].update(part.pop("$defs", {}))
            part["properties"]["name"] = {"const": name}
            part.pop("required", None)
            options.append(part)
        document["properties"][kind] = {"anyOf": [*options, {"enum": list(sections(kind))}]}
    required = document.pop("required")
    document["properties"]["extends"] = {
        "type": "string",
        "description": "Name of a shipped recipe, or of one in the folder of this file.",
    }
    # The extended recipe gives what is missing, also within a section.
    document["anyOf"] = [{"required": ["extends"]}, {"required": required}]
    for definition in document["$defs"].values():
        definition.pop("required", None)
    document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return document
