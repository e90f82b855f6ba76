"""Model cards: facts in, Markdown out."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2
import yaml

from georank_zoo.bands import DN_PER_REFLECTANCE
from georank_zoo.eval.results import table as results_file
from georank_zoo.eval.results.notes import SMALL_TEST_SET
from georank_zoo.eval.results.table import Row
from georank_zoo.models.config import CARD, CARD_MAP
from georank_zoo.models.encoder import find_model
from georank_zoo.models.hub import parse_id
from georank_zoo.publish.card.evaluation import Evaluation, evaluation_of
from georank_zoo.publish.card.facts import PACKAGE, Facts, text_of
from georank_zoo.publish.card.gather import folder_facts, recipe_facts
from georank_zoo.publish.card.map import draw_footprint
from georank_zoo.publish.card.metadata import DEFAULT_LICENSE, check_front_matter, front_matter
from georank_zoo.training.recipe import Recipe
from georank_zoo.training.recipe_schema import Section
from georank_zoo.utils.errors import UsageError
from georank_zoo.utils.files import write_text

TEMPLATE = "card.md.jinja"
RESULTS = "results.csv"
# Where a model's limits begin to be those of little data: below this, a geographic loss can learn
# its places by heart (benchmarks/README.md, 24 cities), and published runs have 250,000.
SMALL_DATA = 10_000
# What the card of a model without a score says.
NOT_EVALUATED = "No score of this model is in results.csv."


@dataclass(frozen=True)
class Source:
    """How a reader's program names the model, for timm and for georank_zoo."""

    timm: str
    georank_zoo: str


def render_folder(
    folder: str | Path,
    *,
    results: str | Path | None = None,
    repo: str | None = None,
    revision: str | None = None,
    license: str = DEFAULT_LICENSE,
    baseline: str | None = None,
) -> str:
    """Renders the card of a model folder.

    Args:
        folder: An export folder, or a run folder with `export/`.
        results: The file that holds the model's scores; without one the card says that the
            model has not been evaluated.
        repo: `org/name` on the Hub, where it is or will be published; the card's commands
            load it from there, and from the folder otherwise.
        revision: Tag or commit on the Hub that the commands pin.
        license: License of the weights, one of `metadata.LICENSES`.
        baseline: Name, or beginning of the hash, of the model that the scores are set beside;
            by default the same without the regularizer.

    Returns:
        The text of README.md, front matter first. It shows `footprint.png` where the folder has
        a footprint; `write_folder` draws that too.

    Raises:
        ModelError: If the folder is damaged.
        UsageError: If an argument is invalid.
        GeorankError: If the results are damaged.
    """
    path = find_model(folder)
    facts = folder_facts(path)
    rows = results_file.read_rows(results) if results is not None else []
    evaluation = evaluation_of(
        rows,
        sha256=facts.weights.sha256 if facts.weights else "",
        baseline=baseline,
    )
    return _render(facts, evaluation, _source(path, repo, revision), license=license)


def write_folder(
    folder: str | Path,
    *,
    results: str | Path | None = None,
    repo: str | None = None,
    revision: str | None = None,
    license: str = DEFAULT_LICENSE,
    baseline: str | None = None,
    out: Path | None = None,
) -> Path:
    """Writes the card of a model folder as README.md, and its map as footprint.png beside.

    Args:
        folder: See `render_folder`, as for all arguments but the last.
        results: The file that holds the model's scores.
        repo: `org/name` on the Hub.
        revision: Tag or commit on the Hub.
        license: License of the weights.
        baseline: The model that the scores are set beside.
        out: Folder to write to; the model's own by default.

    Returns:
        The card.

    Raises:
        GeorankError: See `render_folder`. Nothing is written then.
    """
    text = render_folder(
        folder,
        results=results,
        repo=repo,
        revision=revision,
        license=license,
        baseline=baseline,
    )
    path = find_model(folder)
    target = out or path
    target.mkdir(parents=True, exist_ok=True)
    footprint = folder_facts(path).footprint
    if footprint is not None:
        draw_footprint(target / CARD_MAP, footprint)
    write_text(target / CARD, text)
    return target / CARD


def render_recipe(name: str, *, license: str = DEFAULT_LICENSE) -> str:
    """Renders the card of a shipped recipe, whether or not its weights have been published.

    Args:
        name: Of the recipe, such as `moco_georank`.
        license: License of the weights, where they have been published.

    Raises:
        RecipeError: If there is no such recipe.
        GeorankError: If the shipped results.csv is damaged.
    """
    facts = recipe_facts(name)
    if facts.published is None:
        run = f"runs/{facts.name}"
        return _render(facts, None, Source(f"local-dir:{run}/export", run), license=license)
    evaluation = evaluation_of(
        shipped_results(),
        sha256=facts.published.sha256,
    )
    hub = facts.published.id
    return _render(facts, evaluation, Source(f"hf-hub:{hub}", hub), license=license)


def shipped_results() -> list[Row]:
    """The scores of published weights; none as long as nothing has been published."""
    with resources.as_file(resources.files(PACKAGE) / RESULTS) as path:
        return results_file.read_rows(path) if path.is_file() else []


def _source(folder: Path, repo: str | None, revision: str | None) -> Source:
    if repo is None:
        if revision is not None:
            raise UsageError(
                "A revision is one of a repository on the Hub: say which, as org/name."
            )
        inside = folder.absolute().is_relative_to(Path.cwd())
        place = Path(os.path.relpath(folder)).as_posix() if inside else folder.as_posix()
        return Source(f"local-dir:{place}", place)
    hub_id = parse_id(repo, revision)
    if hub_id is None:
        raise UsageError(f"{repo!r} is no repository on the Hub: give org/name.")
    return Source(f"hf-hub:{hub_id}", str(hub_id))


def _render(facts: Facts, evaluation: Evaluation | None, source: Source, *, license: str) -> str:
    text = _environment().from_string(text_of(TEMPLATE)).render(
        facts=facts,
        evaluation=evaluation,
        source=source,
        license=license,
        front_matter=front_matter(facts, evaluation, license=license),
        shown_bands=_shown_bands(facts),
        scale=DN_PER_REFLECTANCE,
        small_data=SMALL_DATA,
        small_test_set=SMALL_TEST_SET,
        map=CARD_MAP,
        not_evaluated=NOT_EVALUATED,
    )  # fmt: skip
    check_front_matter(text, evaluation)
    return text


def _shown_bands(facts: Facts) -> list[str]:
    """Bands for an example of images that lack some of the model's."""
    names = [entry.band.name for entry in facts.bands]
    return [name for name in ("B04", "B03", "B02", "B08") if name in names] or names


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 -- Markdown, not HTML; foreign text goes through `plain`
    )
    environment.filters |= {
        "plain": _plain,
        "count": lambda number: f"{number:,}",
        "score": lambda row: row.percent,
        "duration": _duration,
        "options": _options,
        "value": lambda value: "none" if value is None else _plain(value),
        "code": _code,
        "quoted": lambda text: json.dumps(text, ensure_ascii=False),
        "recipe_yaml": _recipe_yaml,
    }
    return environment


def _plain(text: object) -> str:
    """Text of others on one line, without what Markdown and HTML would take for their own."""
    line = _line(text)
    for special in "\\`*_[]<>|":
        line = line.replace(special, f"&#{ord(special)};")
    return line


def _code(text: object) -> str:
    """Text of others as code, which ends at a backtick; a table's cell ends at a bar."""
    line = _line(text).replace("`", "'").replace("|", "/")
    return f"`{line}`"


def _line(text: object) -> str:
    """What can be seen of a text, on one line: nothing that turns its direction either."""
    return "".join(c for c in " ".join(str(text).split()) if c.isprintable())


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
    return _code(shown)


def _short(value: object) -> str:
    if isinstance(value, list):
        return " to ".join(map(_short, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _recipe_yaml(recipe: Recipe) -> str:
    """The resolved recipe as code, without its author's texts, which name numbers of others."""
    document = recipe.model_dump(mode="json", exclude={"baseline", "cost", "mirrors"})
    text = yaml.safe_dump(document, sort_keys=False, width=100)
    # No text in it can close the block: a fence is closed by one of its length.
    fence = "`" * (1 + max(map(len, ["``", *re.findall("`+", text)])))
    return f"{fence}yaml\n{text}{fence}"
