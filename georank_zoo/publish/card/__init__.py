"""Model cards, rendered from typed facts.

config.json, footprint.json, model.safetensors, results.csv -> Facts, Evaluation -> README.md
"""

from __future__ import annotations

from georank_zoo.publish.card.render import (
    NOT_EVALUATED,
    render_folder,
    render_recipe,
    write_folder,
)

__all__ = ["NOT_EVALUATED", "render_folder", "render_recipe", "write_folder"]
