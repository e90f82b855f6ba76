"""Typed sections of a recipe.

`algorithm`, `regularizer` and `views` name an entry of a registry; their other keys are the
keyword-only arguments of that entry's constructor, so there is one place where an option and its
default are written.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, get_args, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from georank_zoo import bands as s2
from georank_zoo.algorithms import ALGORITHMS
from georank_zoo.eval.tasks import MAX_IMAGE_SIZE, MIN_IMAGE_SIZE
from georank_zoo.losses import REGULARIZERS
from georank_zoo.utils.errors import unknown_name
from georank_zoo.views import VIEWS

_Steps = Annotated[int, Field(gt=0, le=10**9)]  # a second each, these steps take thirty years


class Section(BaseModel):
    """A part of a recipe: unknown keys are errors, numbers finite, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _a_truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and {int, float} & {kind, *get_args(kind)}:
            raise ValueError("Input should be a number")
        return value


class Component(Section):
    """A section that names an entry of a registry and gives its options."""

    name: str
    not_options: ClassVar[frozenset[str]] = frozenset({"name"})

    def options(self) -> dict[str, Any]:
        """The keyword arguments of the entry's constructor."""
        own = type(self).model_fields.keys() - self.not_options
        return {key: getattr(self, key) for key in own}


class RegularizerSection(Component):
    """A regularizer and its weight."""

    not_options: ClassVar[frozenset[str]] = frozenset({"name", "alpha"})
    alpha: float = Field(0.5, ge=0, le=1, description="Weight of the self-supervised loss.")


class NoRegularizer(Component):
    """The baseline: the self-supervised loss alone."""

    name: Literal["none"] = "none"


@cache  # of each entry, not of the registry, to which a user may add
def _component(kind: str, name: str, factory: Callable[..., Any], base: type[Component]) -> Any:
    """The section for a registry's entry, from its constructor's keyword-only arguments."""
    hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    fields: dict[str, Any] = {
        key: (hints[key], ... if parameter.default is parameter.empty else parameter.default)
        for key, parameter in inspect.signature(factory).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    return create_model(
        f"{kind}_{name}", __base__=base, **{"name": (Literal[name], name), **fields}
    )


def sections(kind: str) -> dict[str, type[Component]]:
    """The sections that `algorithm`, `regularizer` or `views` may be, by name."""
    registries: dict[str, tuple[Mapping[str, Callable[..., Any]], type[Component]]] = {
        "algorithm": (ALGORITHMS, Component),
        "regularizer": (REGULARIZERS, RegularizerSection),
        "views": (VIEWS, Component),
    }
    registry, base = registries[kind]
    sections = {name: _component(kind, name, entry, base) for name, entry in registry.items()}
    return {"none": NoRegularizer, **sections} if kind == "regularizer" else sections


def choose(kind: str) -> Callable[[Any], Any]:
    """A validator that picks the section by the `name` in it."""

    def pick(value: Any) -> Any:
        if isinstance(value, Component):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or "name" not in value:
            raise ValueError(f"give a name, one of: {', '.join(sorted(sections(kind)))}")
        if not isinstance(value["name"], str) or value["name"] not in sections(kind):
            raise ValueError(str(unknown_name(kind, value["name"], sections(kind))))
        return sections(kind)[value["name"]].model_validate(value)

    return pick


class DataSection(Section):
    """Training data."""

    store: str = Field(min_length=1, description="Folder of a prepared store.")
    bands: str | tuple[str, ...] = Field(
        "s2-12", description="Name of a set of bands, or names of bands."
    )
    temporal: bool = Field(
        True, description="Take the views from different dates of a place, where there are several."
    )
    places: PositiveInt | None = Field(
        None,
        description="Number of places to train on, drawn by the seed; a smaller number is a subset "
        "of a larger one. Null: all.",
    )
    neighbors_km: float | None = Field(
        None,
        gt=0,
        description="Distance within which places are put into a batch in pairs. Null: batches of "
        "any places.",
    )

    @model_validator(mode="after")
    def _bands_exist(self) -> DataSection:
        s2.resolve(self.bands)
        return self


class BackboneSection(Section):
    """A timm model that gives pooled features."""

    name: str = "resnet18"


class OptimizerSection(Section):
    """The optimizer."""

    name: Literal["lars", "sgd", "adam", "adamw"]
    lr: float = Field(gt=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of LARS and SGD.")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay; not of biases and norms.")

    @model_validator(mode="after")
    def _lars_decays(self) -> OptimizerSection:
        # timm's LARS scales the rate of those weights only that decay; the others take the
        # full rate, which is far too high for them.
        if self.name == "lars" and self.weight_decay == 0:
            raise ValueError("lars needs a weight_decay above 0, such as 1e-6")
        return self


class ScheduleSection(Section):
    """Learning rate over the whole run: linear warm-up, then half a cosine."""

    warmup_epochs: float = Field(0.0, ge=0)
    final: float = Field(0.0, ge=0, le=1, description="Final share of `optimizer.lr`.")


class TrainSection(Section):
    """Length and arithmetic of the run."""

    epochs: _Steps | None = Field(None, description="Epochs; each visits every place once.")
    steps: _Steps | None = Field(None, description="Optimizer steps, in place of epochs.")
    batch_size: int = Field(
        512, ge=2, description="Places in an optimizer step, over all processes."
    )
    accumulate: PositiveInt = Field(
        1,
        description="Number of parts that a batch is computed in. Negatives, ranks and BatchNorm "
        "see one part at a time; queue and center move once a part.",
    )
    precision: Literal["bf16", "fp32"] = "bf16"
    channels_last: bool = True
    workers: int = Field(0, ge=0, description="Processes that read ahead; 0: none.")
    timeout_s: PositiveInt = Field(
        600,
        le=604_800,
        description="Seconds after which a process that does not answer the others counts as lost; "
        "more than a probe takes.",
    )
    checkpoint_epochs: PositiveInt = Field(1, description="Epochs between checkpoints.")
    keep_checkpoints: PositiveInt = Field(
        2, description="Number of latest checkpoints that are kept."
    )

    @model_validator(mode="after")
    def _one_length(self) -> TrainSection:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps (the other one null)")
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of accumulate {self.accumulate}"
            )
        if self.batch_size < 2 * self.accumulate:
            raise ValueError(
                f"accumulate {self.accumulate} leaves one place to a part of batch_size "
                f"{self.batch_size}, and losses compare places: at most {self.batch_size // 2}"
            )
        return self


class ProbeSection(Section):
    """k-NN evaluation of the backbone during training."""

    store: str | None = Field(None, min_length=1, description="Labeled store; null: no probe.")
    every_epochs: PositiveInt = 5
    image_size: int | None = Field(
        None,
        ge=MIN_IMAGE_SIZE,
        le=MAX_IMAGE_SIZE,
        description="Side in pixels; null: that of the views.",
    )


def flat(section: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The keys of a dumped recipe as `section.key`, with their values."""
    found: dict[str, Any] = {}
    for key, value in section.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = value
    return found
