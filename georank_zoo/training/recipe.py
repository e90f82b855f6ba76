"""Recipes: typed, checked descriptions of training runs, from YAML."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import torch
import yaml
from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator
from torch import nn

from georank_zoo import bands as s2
from georank_zoo.algorithms import ALGORITHMS
from georank_zoo.eval.tasks import MAX_IMAGE_SIZE
from georank_zoo.losses import REGULARIZERS
from georank_zoo.training.overrides import apply_overrides
from georank_zoo.training.recipe_schema import (
    BackboneSection,
    Component,
    DataSection,
    NoRegularizer,
    OptimizerSection,
    ProbeSection,
    RegularizerSection,
    ScheduleSection,
    Section,
    TrainSection,
    choose,
    flat,
    sections,
)
from georank_zoo.training.recipe_yaml import parse_yaml, read_recipe_text
from georank_zoo.utils.errors import RecipeError, unknown_name
from georank_zoo.utils.tables import Table
from georank_zoo.utils.untrusted_text import brief, plain
from georank_zoo.views import VIEWS

RECIPES_PACKAGE = "georank_recipes"
_LONGEST_NAME, _MOST_PROBLEMS = 200, 20
_MOST_BYTES = 2**36  # of an algorithm without its backbone: as much as a large GPU has


class _NoBackbone(nn.Module):
    """Stands for a backbone where an algorithm's settings are checked."""

    num_features = 1


class Recipe(Section):
    """A typed, checked description of a training run.

    Example:
        >>> import georank_zoo as gz
        >>> recipe = gz.load_recipe("moco_georank", data="stores/mine")
        >>> recipe
        Recipe('georank-moco-r18', moco + georank on resnet18, 12 bands of 120 px, 50 epochs of
        'stores/mine')
        >>> recipe.regularizer.alpha, recipe.optimizer.name
        (0.5, 'lars')
        >>> print(recipe)
        name: georank-moco-r18
        summary: MoCo v2 with GeoRank.
        ...
    """

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=96, description="Model name."
    )
    summary: str = ""
    baseline: str = Field("", description="Name of the model that this one is a variant of.")
    cost: str = Field("", description="Expected cost of a run.")
    mirrors: str = Field("", description="Published result to compare with.")
    seed: int = Field(0, ge=0, lt=2**63)
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
    def _parts_can_be_built(self) -> Recipe:
        # What their constructors refuse is written there, once; none of them is filled.
        with torch.device("meta"):
            views = VIEWS[self.views.name](**self.views.options())
            heads = ALGORITHMS[self.algorithm.name](_NoBackbone(), **self.algorithm.options())
            if isinstance(self.regularizer, RegularizerSection):
                REGULARIZERS[self.regularizer.name](**self.regularizer.options())
        if max(views.sizes) > MAX_IMAGE_SIZE:
            raise ValueError(
                f"views.size: {max(views.sizes)} px are more than the {MAX_IMAGE_SIZE} px of any "
                "patch"
            )
        needed = sum(tensor.nbytes for tensor in (*heads.parameters(), *heads.buffers()))
        if needed > _MOST_BYTES:
            raise ValueError(
                f"algorithm: its heads and queue would take {needed / 2**30:,.0f} GiB; choose "
                "smaller ones"
            )
        return self

    @model_validator(mode="after")
    def _places_fill_a_batch(self) -> Recipe:
        places, batch = self.data.places, self.train.batch_size
        if places is not None and places < batch:
            raise ValueError(
                f"data.places: {places} places are fewer than a batch: train.batch_size is {batch}"
            )
        return self

    @model_validator(mode="after")
    def _local_views_are_taken(self) -> Recipe:
        local = self.views.options()["local_views"]
        if local and not ALGORITHMS[self.algorithm.name].takes_local_views:
            able = sorted(name for name, entry in ALGORITHMS.items() if entry.takes_local_views)
            raise ValueError(
                f"views.local_views: {self.algorithm.name} does not take small crops; set it "
                f"to 0 instead of {local}, or choose {' or '.join(able)}"
            )
        return self

    def __repr__(self) -> str:
        regularizer = self.regularizer.name
        method = self.algorithm.name + ("" if regularizer == "none" else f" + {regularizer}")
        length = f"{self.train.steps} steps" if self.train.steps else f"{self.train.epochs} epochs"
        return (
            f"Recipe({self.name!r}, {method} on {self.backbone.name}, {len(self.bands)} bands of "
            f"{self.image_size} px, {length} of {self.data.store!r})"
        )

    def __str__(self) -> str:
        return self.to_yaml()

    def _repr_html_(self) -> str:
        return self.table().to_html()

    def table(self) -> Table:
        """Every key and its value."""
        keys = flat(self.model_dump(mode="json", exclude={"name", "summary", "cost", "mirrors"}))
        rows = tuple((key, _cell(value)) for key, value in keys.items())
        return Table(f"{self.name}: {self.summary}", ("key", "value"), rows)

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
        return hashlib.sha256(json.dumps(self._computed(), sort_keys=True).encode()).hexdigest()

    def differences(self, other: Recipe) -> dict[str, tuple[object, object]]:
        """Keys in which the recipes compute something else, with the values here and there."""
        here, there = flat(self._computed()), flat(other._computed())
        return {
            key: (here.get(key), there.get(key))
            for key in {**here, **there}
            if here.get(key) != there.get(key)
        }

    def _computed(self) -> dict[str, Any]:
        """The keys that decide what a run computes."""
        return self.model_dump(
            mode="json",
            exclude={
                "name": True, "summary": True, "baseline": True, "cost": True, "mirrors": True,
                "probe": True,
                "data": {"store"},
                "train": {"workers", "timeout_s", "checkpoint_epochs", "keep_checkpoints"},
            },
        )  # fmt: skip


def _cell(value: object) -> str:
    if isinstance(value, str):
        return plain(value)
    return "" if value is None else brief(value)


def list_recipes(pattern: str = "*") -> list[str]:
    """Names of the recipes that the project ships, numbers in them in their order.

    Args:
        pattern: Shell pattern of the names wanted, such as `*georank*`.

    Example:
        >>> import georank_zoo as gz
        >>> gz.list_recipes("moco*")
        ['moco', 'moco_geoaware', 'moco_geobasic', 'moco_georank']
    """
    files = (file.name for file in resources.files(RECIPES_PACKAGE).iterdir())
    found = (name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))
    found = (name for name in found if fnmatchcase(name, pattern))
    return sorted(found, key=lambda name: re.sub(r"\d+", lambda n: n[0].zfill(9), name))


@cache
def recipes_by_model() -> dict[str, str]:
    """Names of the shipped recipes, by the name of the model that each trains.

    Only the line of the name is read: to check every recipe for it takes a second.
    """
    found = {}
    for recipe in list_recipes():
        text = (resources.files(RECIPES_PACKAGE) / f"{recipe}.yaml").read_text(encoding="utf-8")
        found.update(dict.fromkeys(re.findall(r"^name: *(\S+)", text, re.M), recipe))
    return found


def load_recipe(
    source: str | os.PathLike[str], overrides: Sequence[str] = (), **sections: object
) -> Recipe:
    """Reads and checks a recipe.

    Args:
        source: Name of a recipe that the project ships, or path of a YAML file.
        overrides: `section.key=value` with the value in YAML, as `georank train --set` takes it;
            they take precedence over `sections`.
        sections: Keys to set by section, as a mapping. A section that is given as a plain value
            sets its main key: `data` and `probe` a store, `views`, `algorithm`, `regularizer`,
            `optimizer` and `backbone` a name. Other keys of the section stay as they are.

    Raises:
        RecipeError: On anything that the schema refuses, with the key and the valid ones.

    Example:
        >>> import georank_zoo as gz
        >>> recipe = gz.load_recipe("moco_georank", data="stores/mine", train={"steps": 500})
        >>> recipe.train.steps, recipe.regularizer.name
        (500, 'georank')
        >>> gz.load_recipe("moco_georank", regularizer="none", overrides=["seed=3"]).seed
        3
    """
    raw, where = _read(source, seen=())
    apply_overrides(raw, overrides, sections)
    return _validate(raw, where)


def parse_recipe(text: str, *, where: str) -> Recipe:
    """Checks a resolved recipe, as `Recipe.to_yaml` writes it."""
    return _validate(_mapping(text, where), where)


def _mapping(text: str, where: str) -> dict[str, Any]:
    raw = parse_yaml(text, where=where)
    if not isinstance(raw, dict):
        found = "nothing" if raw is None else brief(raw)
        raise RecipeError(f"{where} is not a recipe: it must hold keys and values, not {found}.")
    return raw


def _read(source: str | os.PathLike[str], seen: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """The keys of a recipe, those of the recipes that it extends filled in."""
    path, where = _locate(source)
    if where in seen:
        raise RecipeError(f"Recipes extend each other in a circle: {' -> '.join((*seen, where))}.")
    raw = _mapping(read_recipe_text(path), where)
    if "extends" not in raw:
        return raw, where
    extended = raw.pop("extends")
    if not isinstance(extended, str) or not 0 < len(extended) < _LONGEST_NAME:
        raise RecipeError(f"{where}: extends: give the name of a recipe, not {brief(extended)}.")
    neighbor = Path(where).parent / f"{extended}.yaml"
    base, _ = _read(neighbor if neighbor.is_file() else extended, (*seen, where))
    base.pop("baseline", None)  # that of the extended recipe need not be this one's
    return _merge(base, raw), where


def _locate(source: str | os.PathLike[str]) -> tuple[Path, str]:
    path = Path(source)
    if path.is_file():
        return path, str(path)
    name = path.name.removesuffix(".yaml")
    shipped = resources.files(RECIPES_PACKAGE) / f"{name}.yaml"
    # `recipes/moco.yaml` names the shipped recipe when no such file lies here.
    if name in list_recipes() and path.parent in (Path(), Path("recipes")):
        return Path(str(shipped)), str(shipped)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise RecipeError(
            f"No recipe at {plain(path, 300)}. Shipped recipes: {', '.join(list_recipes())}."
        )
    raise RecipeError(str(unknown_name("recipe", str(source), list_recipes())))


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


def _validate(raw: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        problems = error.errors()
        lines, named = [], set()
        for problem in problems[:_MOST_PROBLEMS]:
            section = problem["loc"][:-1]
            lines.append(f"  {_explain(problem, raw, choices=section not in named)}")
            if problem["type"] == "extra_forbidden":
                named.add(section)
        if len(problems) > _MOST_PROBLEMS:
            lines.append(f"  and {len(problems) - _MOST_PROBLEMS} more")
        raise RecipeError("\n".join([f"{where} is not a valid recipe:", *lines])) from error


def _explain(problem: Mapping[str, Any], raw: dict[str, Any], *, choices: bool) -> str:
    """One validation problem as a sentence that names the key and what is valid."""
    location = [str(part) for part in problem["loc"]]
    key = plain(".".join(location))
    if problem["type"] == "extra_forbidden":
        # The valid keys once, and not behind each of many wrong ones.
        said = str(unknown_name("key", location[-1], _keys(location[:-1], raw)))
        return f"{key}: {said if choices else said.partition(' Choose from:')[0]}"
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
