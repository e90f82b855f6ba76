"""What mkdocstrings is told: an `Example:` is code, as `Examples:` is, and not a paragraph."""

from __future__ import annotations

from typing import Any

import griffe


class ExamplesAreCode(griffe.Extension):
    """Gives each docstring's example the name under which griffe takes `>>> ` for code."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Called for each object that was read."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
