"""Model cards: facts in, Markdown out."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from georank_zoo.bands import DN_PER_REFLECTANCE
from georank_zoo.eval.results import table as results_file
from georank_zoo.eval.results.notes import SMALL_TEST_SET
from georank_zoo.eval.results.table import Row
from georank_zoo.models.config import CARD, CARD_MAP
from georank_zoo.models.find import find_model
from georank_zoo.models.hub import parse_id
from georank_zoo.publish.card.evaluation import Evaluation, evaluation_of
from georank_zoo.publish.card.facts import Facts, text_of
from georank_zoo.publish.card.gather import folder_facts, recipe_facts
from georank_zoo.publish.card.map import draw_footprint
from georank_zoo.publish.card.markdown import markdown_environment
from georank_zoo.publish.card.metadata import DEFAULT_LICENSE, check_front_matter, front_matter
from georank_zoo.publish.catalog import CARDS_PACKAGE
from georank_zoo.training.recipe import list_recipes
from georank_zoo.utils.errors import ModelError, UsageError
from georank_zoo.utils.files import write_text
from georank_zoo.utils.locks import MOMENT, output_lock

_TEMPLATE = "card.md.jinja"
_RESULTS = "results.csv"
# Where a model's limits begin to be those of little data: below this, a geographic loss can learn
# its places by heart (benchmarks/README.md, 24 cities), and published runs have 250,000.
_SMALL_DATA = 10_000
_STUDY = "study_"  # recipes of studies, whose models are not published


@dataclass(frozen=True)
class ModelIds:
    """Ids of the model in the card's programs, for timm and for georank_zoo."""

    timm: str
    georank_zoo: str


@dataclass(frozen=True)
class Card:
    """A rendered model card.

    Attributes:
        text: Text of README.md, front matter first. It shows `footprint.png` where the model has
            a footprint.
        facts: Facts that it states.
        evaluation: Scores that it states; None for a model that has not been evaluated.
        folder: Folder of the model; None for a recipe.
    """

    text: str
    facts: Facts
    evaluation: Evaluation | None
    folder: Path | None = None

    def write(self, folder: Path | None = None) -> Path:
        """Writes README.md and the map of the pretraining places.

        Args:
            folder: Folder to write to; that of the model by default.

        Returns:
            The path of README.md.
        """
        folder = folder or self.folder
        if folder is None:
            raise UsageError("The card of a recipe has no folder of its own: pass one.")
        with output_lock(folder, wait=MOMENT):
            folder.mkdir(exist_ok=True)
            if self.facts.footprint is not None:
                draw_footprint(folder / CARD_MAP, self.facts.footprint)
            write_text(folder / CARD, self.text)
        return folder / CARD


def folder_card(
    folder: str | os.PathLike[str],
    *,
    results: str | os.PathLike[str] | None = None,
    repo: str | None = None,
    revision: str | None = None,
    license: str = DEFAULT_LICENSE,
    baseline: str | None = None,
) -> Card:
    """Renders the card of a model folder.

    Args:
        folder: Export folder, or a run folder with `export/`.
        results: CSV file with the model's scores; without one the card says that the model has
            not been evaluated.
        repo: Repository on the Hub, `org/name`, from which the card's programs load the model; by
            default they load the folder.
        revision: Tag or commit on the Hub that the programs pin.
        license: License of the weights, one of `metadata.LICENSES`.
        baseline: Name, or beginning of the hash, of the model that the scores are compared with;
            by default the same model without the regularizer.

    Raises:
        ModelError: If there is no such folder, or it is damaged.
        UsageError: If an argument is invalid.
        GeorankError: If the results are damaged.
    """
    if not Path(folder).exists():
        raise ModelError(f"No folder {folder}. Give an export folder or a run folder.")
    path = find_model(folder)
    facts = folder_facts(path)
    evaluation = evaluation_of(
        results_file.read_rows(Path(results)) if results is not None else [],
        sha256=facts.weights.sha256 if facts.weights else "",
        baseline=baseline,
    )
    card = _render(facts, evaluation, _model_ids(path, repo, revision), license=license)
    return replace(card, folder=path)


def recipe_card(name: str, *, license: str = DEFAULT_LICENSE) -> Card:
    """Renders the card of a shipped recipe, whether or not its weights have been published.

    Args:
        name: Name of the recipe, such as `moco_georank`.
        license: License of the weights, where they have been published.

    Raises:
        RecipeError: If there is no such recipe.
        GeorankError: If the shipped results.csv is damaged.
    """
    facts = recipe_facts(name)
    if facts.published is None:
        run = f"runs/{facts.name}"
        return _render(facts, None, ModelIds(f"local-dir:{run}/export", run), license=license)
    evaluation = evaluation_of(_shipped_results(), sha256=facts.published.model_hash)
    hub = facts.published.id
    return _render(facts, evaluation, ModelIds(f"hf-hub:{hub}", hub), license=license)


def recipe_cards(names: Iterable[str], *, license: str = DEFAULT_LICENSE) -> dict[str, Card]:
    """Renders cards of shipped recipes.

    Args:
        names: Names of recipes; `all` stands for those that are not of a study.
        license: License of the weights.

    Returns:
        The cards by file name, such as `georank-moco-r18.md`.

    Raises:
        RecipeError: If there is no such recipe.
    """
    given = list(dict.fromkeys(names))
    chosen = recipes_with_cards() if "all" in given else given
    cards = [recipe_card(name, license=license) for name in chosen]
    return {f"{card.facts.name}.md": card for card in cards}


def recipes_with_cards() -> list[str]:
    """Names of the shipped recipes that have a card: those of baselines, GeoRank and rivals."""
    return [name for name in list_recipes() if not name.startswith(_STUDY)]


def _shipped_results() -> list[Row]:
    """The scores of published weights; none as long as nothing has been published."""
    with resources.as_file(resources.files(CARDS_PACKAGE) / _RESULTS) as path:
        return results_file.read_rows(path) if path.is_file() else []


def _model_ids(folder: Path, repo: str | None, revision: str | None) -> ModelIds:
    if repo is None:
        if revision is not None:
            raise UsageError("A revision belongs to a repository on the Hub: pass --repo org/name.")
        inside = folder.absolute().is_relative_to(Path.cwd())
        place = Path(os.path.relpath(folder)).as_posix() if inside else folder.as_posix()
        return ModelIds(f"local-dir:{place}", place)
    hub_id = parse_id(repo, revision)
    if hub_id is None:
        raise UsageError(f"{repo!r} is not a repository on the Hub: pass org/name.")
    return ModelIds(f"hf-hub:{hub_id}", str(hub_id))


def _render(facts: Facts, evaluation: Evaluation | None, source: ModelIds, *, license: str) -> Card:
    text = markdown_environment().from_string(text_of(_TEMPLATE)).render(
        facts=facts,
        evaluation=evaluation,
        source=source,
        license=license,
        front_matter=front_matter(facts, evaluation, license=license),
        shown_bands=_shown_bands(facts),
        scale=DN_PER_REFLECTANCE,
        small_data=_SMALL_DATA,
        small_test_set=SMALL_TEST_SET,
        map=CARD_MAP,
    )  # fmt: skip
    check_front_matter(text, evaluation)
    return Card(text, facts, evaluation)


def _shown_bands(facts: Facts) -> list[str]:
    """Bands for an example of images that have only some of the model's."""
    names = [entry.band.name for entry in facts.bands]
    return [name for name in ("B04", "B03", "B02", "B08") if name in names] or names
