"""What is known of the zoo's models: those published, and those that a shipped recipe trains."""

from __future__ import annotations

import os
from dataclasses import dataclass

from georank_zoo.eval.results.table import as_percent
from georank_zoo.publish.catalog import CatalogEntry, read_catalog
from georank_zoo.training.recipe import Recipe, list_recipes, load_recipe
from georank_zoo.utils.errors import plain, unknown_name
from georank_zoo.utils.tables import Table


@dataclass(frozen=True)
class ModelSummary:
    """A model in a line.

    Attributes:
        name: Model name.
        recipe: Name of the shipped recipe; empty for a model of another recipe.
        summary: Summary of the recipe, or the architecture.
        id: `org/name@tag` on the Hub; None for a model that is not published.
    """

    name: str
    recipe: str
    summary: str
    id: str | None


@dataclass(frozen=True)
class ModelDescription:
    """Everything that is known of a model.

    Attributes:
        facts: Its facts.
        scores: Its scores; None where there is none.
        lines: Lines of code that load or train it.
    """

    facts: Table
    scores: Table | None
    lines: tuple[str, ...]


def summarize_models(catalog: str | os.PathLike[str] | None = None) -> list[ModelSummary]:
    """The published models, then those that a shipped recipe would train, studies last.

    Args:
        catalog: Catalog file, as `georank release` writes one; the zoo's own by default.
    """
    published = read_catalog(catalog).models
    planned = _planned()
    found = [
        ModelSummary(
            name,
            entry.recipe,
            planned[name][1].summary if name in planned else entry.architecture,
            entry.id,
        )
        for name, entry in published.items()
    ]
    return found + [
        ModelSummary(name, recipe_name, recipe.summary, None)
        for name, (recipe_name, recipe) in planned.items()
        if name not in published
    ]


def describe_model(name: str, catalog: str | os.PathLike[str] | None = None) -> ModelDescription:
    """Describes a published model, or one that a shipped recipe would train.

    Args:
        name: Model name.
        catalog: Catalog file, as `georank release` writes one; the zoo's own by default.

    Raises:
        UsageError: If neither the catalog nor a recipe has a model of this name.
    """
    published = read_catalog(catalog).models
    if name in published:
        entry = published[name]
        load = (
            "Load it:",
            f"timm.create_model('hf-hub:{entry.id}', pretrained=True)",
            f"georank_zoo.create_model('{entry.pinned_id}')  # this very commit",
        )
        return ModelDescription(_facts(name, entry), _scores(entry), load)
    planned = _planned()
    if name not in planned:
        raise unknown_name("model", name, [*published, *planned])
    recipe_name, recipe = planned[name]
    facts = {
        "State": "not published", "Recipe": recipe_name, "Summary": recipe.summary,
        "Cost": recipe.cost, "Published result": recipe.mirrors, "Bands": " ".join(recipe.bands),
        "Image size": f"{recipe.image_size} px", "Architecture": recipe.backbone.name,
    }  # fmt: skip
    train = (f"Train it: georank train {recipe_name} --data STORE",)
    return ModelDescription(_fact_table(name, facts), None, train)


def _planned() -> dict[str, tuple[str, Recipe]]:
    """Shipped recipes with their names, by the name of the model that they train."""
    names = sorted(list_recipes(), key=lambda name: name.startswith("study_"))
    loaded = [(name, load_recipe(name)) for name in names]
    return {recipe.name: (name, recipe) for name, recipe in loaded}


def _facts(name: str, entry: CatalogEntry) -> Table:
    size = sum(file.size for file in entry.files.values())
    return _fact_table(
        name,
        {
            "Recipe": f"{entry.recipe or 'not a shipped one'} ({entry.recipe_hash[:12]})",
            "Recipe changes": ", ".join(entry.recipe_changes),
            "Trained on": entry.trained_on,
            "Architecture": f"{entry.architecture}, {entry.num_features} features",
            "Bands": " ".join(entry.bands),
            "Image size": f"{entry.image_size} px",
            "License": entry.license,
            "Hub": f"{entry.repo}, tag {entry.tag}" if entry.tag else entry.repo,
            "Commit": entry.revision,
            "Size": f"{size / 1e6:.1f} MB",
            **{file: f"SHA-256 {facts.sha256}" for file, facts in entry.files.items()},
        },
    )


def _fact_table(name: str, facts: dict[str, str]) -> Table:
    rows = tuple((plain(key, 300), plain(text, 300)) for key, text in facts.items() if text)
    return Table(name, ("", ""), rows)


def _scores(entry: CatalogEntry) -> Table | None:
    header = ("task", "protocol", "px", "metric", "% [95 % interval]")
    rows = []
    for score in entry.scores:
        rows.append(
            (
                plain(f"{score.task}, {score.split}", 300),
                plain(score.protocol_text, 300),
                str(score.image_size),
                plain(score.metric),
                as_percent(score.value, score.ci_low, score.ci_high),
            )
        )
    return Table("", header, tuple(rows)) if rows else None
