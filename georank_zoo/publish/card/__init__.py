"""Model cards, rendered from typed facts.

config.json, footprint.json, model.safetensors, results.csv -> Facts, Evaluation -> README.md
"""

from __future__ import annotations

from georank_zoo.publish.card.render import Card, folder_card, recipe_card, recipe_cards

__all__ = ["Card", "folder_card", "recipe_card", "recipe_cards"]
