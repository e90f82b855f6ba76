"""Recipes: YAML -> a typed, checked description of a training run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from georank_zoo import bands as s2
from georank_zoo.algorithms import ALGORITHMS
from georank_zoo.training.recipe_schema import (
    BackboneSection,
    Component,
    DataSection,
    NoRegularizer,
    OptimizerSection,
    ProbeSection,
    ScheduleSection,
    Section,
    TrainSection,
    choose,
    sections,
)
from georank_zoo.utils.errors import RecipeError, brief, plain, unknown_name

PACKAGE = "georank_recipes"

# Overriding one of these takes the place of the other.
_EXCLUSIVE = {"train.steps": "epochs", "train.epochs": "steps"}


class Recipe(Section):
    """A whole training run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Of the model.")
    summary: str = ""
    baseline: str = Field("", description="Name of the model that this one is a variant of.")
    cost: str = Field("", description="What a run is expected to take.")
    mirrors: str = Field("", description="The published result that this run stands beside.")
    seed: int = Field(0, ge=0)
    data: DataSection
    backbone: BackboneSection = BackboneSection()
    views: Annotated[SerializeAsAny[Component], BeforeValidator(choose("views"))]
    algorithm: Annotated[SerializeAsAny[Component], BeforeValidator(choose("algorithm"))]
    regularizer: Annotated[SerializeAsAny[Component], BeforeValidator(choose("regularizer"))] = (
        NoRegularizer()
    )
    optimizer: OptimizerSection
    schedule: ScheduleSection = ScheduleSection()
    train: TrainSection
    probe: ProbeSection = ProbeSection()

    @model_validator(mode="after")
    def _local_views_are_taken(self) -> Recipe:
        local = self.views.options()["local_views"]
        if local and not ALGORITHMS[self.algorithm.name].takes_local_views:
            able = sorted(name for name, entry in ALGORITHMS.items() if entry.takes_local_views)
            raise ValueError(
                f"views.local_views: {self.algorithm.name} does not take small crops; say 0 "
                f"instead of {local}, or choose {' or '.join(able)}"
            )
        return self

    @property
    def bands(self) -> tuple[str, ...]:
        """Input bands in channel order."""
        return s2.resolve(self.data.bands)

    @property
    def image_size(self) -> int:
        """Side of a full-size view in pixels, which the model is made for."""
        return int(self.views.options()["size"])

    def to_yaml(self) -> str:
        """The resolved recipe: every key, no `extends`; reading it gives an equal recipe."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, width=100)

    def for_others(self) -> Recipe:
        """The same recipe to be published.

        It names stores and not this machine's paths, and leaves out what its author expected of a
        run, which overrides may have made untrue.
        """
        data = self.data.model_copy(update={"store": Path(self.data.store).name})
        store = self.probe.store and Path(self.probe.store).name
        probe = self.probe.model_copy(update={"store": store})
        return self.model_copy(update={"data": data, "probe": probe, "cost": "", "mirrors": ""})

    @property
    def hash(self) -> str:
        """Identifies what a run computes: not its texts, where its data lies, or its workers."""
        content = self.model_dump(
            mode="json",
            exclude={
                "name": True, "summary": True, "baseline": True, "cost": True, "mirrors": True,
                "probe": True,
                "data": {"store"}, "train": {"workers", "checkpoint_epochs", "keep_checkpoints"},
            },
        )  # fmt: skip
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def names() -> list[str]:
    """The recipes that the project ships, numbers in them in their order."""
    files = (file.name for file in resources.files(PACKAGE).iterdir())
    found = (name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))
    return sorted(found, key=lambda name: re.sub(r"\d+", lambda n: n[0].zfill(9), name))


def load(
    source: str | Path,
    overrides: Sequence[str] = (),
    values: Mapping[str, object] | None = None,
) -> Recipe:
    """Reads and checks a recipe.

    Args:
        source: Path of a YAML file, or the name of a recipe that the project ships.
        overrides: `section.key=value`, the value in YAML.
        values: More overrides, by `section.key`, taken as they are; for paths.

    Raises:
        RecipeError: On anything that the schema refuses, with the key and the valid ones.
    """
    raw, where = _read(source, seen=())
    for key, value in (values or {}).items():
        _set(raw, key, value)
    # Names first: another component takes over what fits it, and what is set comes on top.
    for key, value in sorted(map(_parse, overrides), key=lambda pair: not _names(pair[0])):
        _set(raw, key, value)
    return _validate(raw, where)


def from_text(text: str, *, where: str) -> Recipe:
    """Checks a resolved recipe, as `Recipe.to_yaml` writes it."""
    return _validate(_mapping(text, where), where)


def schema() -> dict[str, Any]:
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
        "description": "A shipped recipe's name, or that of one beside this file.",
    }
    # What is missing, the extended recipe says; sections of it may be given in part.
    document["anyOf"] = [{"required": ["extends"]}, {"required": required}]
    for definition in document["$defs"].values():
        definition.pop("required", None)
    document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return document


def _mapping(text: str, where: str) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"{where} is not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"{where} is not a recipe: it must hold keys and values.")
    return raw


def _read(source: str | Path, seen: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """The keys of a recipe, those of the recipes that it extends filled in."""
    path, where = _locate(source)
    if where in seen:
        raise RecipeError(f"Recipes extend each other in a circle: {' -> '.join((*seen, where))}.")
    raw = _mapping(path.read_text(encoding="utf-8"), where)
    if "extends" not in raw:
        return raw, where
    extended = str(raw.pop("extends"))
    beside = Path(where).parent / f"{extended}.yaml"
    base, _ = _read(beside if beside.is_file() else extended, (*seen, where))
    base.pop("baseline", None)  # that of the extended recipe need not be this one's
    return _merge(base, raw), where


def _locate(source: str | Path) -> tuple[Any, str]:
    path = Path(source)
    if path.is_file():
        return path, str(path)
    name = path.name.removesuffix(".yaml")
    shipped = resources.files(PACKAGE) / f"{name}.yaml"
    # `recipes/moco.yaml` names the shipped recipe when no such file lies here.
    if name in names() and path.parent in (Path(), Path("recipes")):
        return shipped, str(shipped)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise RecipeError(f"No recipe at {path}. Shipped recipes: {', '.join(names())}.")
    raise RecipeError(str(unknown_name("recipe", str(source), names())))


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`, section by section; another `name` replaces a whole component."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            replaced = "name" in below and value.get("name", below["name"]) != below["name"]
            merged[key] = value if replaced else _merge(below, value)
        else:
            merged[key] = value
    return merged


def _parse(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set takes section.key=value, not {override!r}.")
    try:
        return key.strip(), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override}: the value is not valid YAML.") from error


def _set(raw: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    section = raw
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise RecipeError(f"--set {key}: {parent!r} is not a section.")
    if _names(key) and section.get("name", value) != value:
        _keep_what_fits(section, parents[0], value)
    section[last] = value
    if key in _EXCLUSIVE and value is not None:
        section[_EXCLUSIVE[key]] = None


def _names(key: str) -> bool:
    """Whether a key chooses a component."""
    return key in ("views.name", "algorithm.name", "regularizer.name")


def _keep_what_fits(section: dict[str, Any], kind: str, name: Any) -> None:
    """Drops the options of the component before that the one of this name does not share."""
    kept: set[str] = set()
    if isinstance(name, str) and name in sections(kind):
        # Algorithms share names of options, but not what is a good value of them.
        kept = {"alpha"} if kind == "regularizer" else set()
        kept = set(sections(kind)[name].model_fields) if kind == "views" else kept
        kept &= set(sections(kind)[name].model_fields)
    for key in section.keys() - kept:
        del section[key]


def _validate(raw: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        lines = [f"  {_explain(problem, raw)}" for problem in error.errors()]
        raise RecipeError("\n".join([f"{where} is not a valid recipe:", *lines])) from error


def _explain(problem: Mapping[str, Any], raw: dict[str, Any]) -> str:
    """One validation problem as a sentence that names the key and what is valid."""
    location = [str(part) for part in problem["loc"]]
    key = plain(".".join(location))
    if problem["type"] == "extra_forbidden":
        return f"{key}: {unknown_name('key', location[-1], _keys(location[:-1], raw))}"
    if problem["type"] == "missing":
        return f"{key}: missing."
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not key:  # of several sections together: the message names them
        return message
    given = "" if isinstance(problem["input"], dict) else f" (given: {brief(problem['input'])})"
    return f"{key}: {message}{given}"


def _keys(section: Sequence[str], raw: dict[str, Any]) -> list[str]:
    model: Any = Recipe
    for part in section:
        if part in ("views", "algorithm", "regularizer"):
            model = sections(part)[raw[part]["name"]]
        else:
            model = model.model_fields[part].annotation
    return list(model.model_fields)
