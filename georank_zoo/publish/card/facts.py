"""The facts of a model card, typed; `gather.py` says where each comes from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from typing import Annotated

import yaml
from pydantic import Field, PositiveInt, TypeAdapter

from georank_zoo.bands import Band
from georank_zoo.models.footprint import Footprint
from georank_zoo.publish.catalog import CARDS_PACKAGE, CATALOG_FILE, CatalogEntry, parse_catalog
from georank_zoo.training.recipe import Recipe

Day = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]


@dataclass(frozen=True)
class Network:
    """A timm network.

    Attributes:
        architecture: Name in timm.
        parameters: Number of trainable parameters.
        num_features: Length of a feature vector.
        channels: Channels of the feature maps, finest first; empty if timm gives none.
        strides: Strides of the feature maps in pixels.
    """

    architecture: str
    parameters: int
    num_features: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class InputBand:
    """An input channel; mean and standard deviation in reflectance, None before training."""

    band: Band
    mean: float | None
    std: float | None


@dataclass(frozen=True)
class Data:
    """Pretraining data, as the run recorded it from the store's header.

    Attributes:
        source: Origin of the data.
        license: License of the data.
        level: Product level, `L1C`, `L2A` or `unknown`.
        patches: Number of patches in the store.
        places: Number of places in the store that a run may train on: its footprints.
        places_used: Number of places that were trained on.
        hash: Hash of the store's content.
        reader: Reader that prepared the store; empty where an earlier version did not record it.
        period: First and last day of the acquisitions, where the store knows them.
    """

    source: str
    license: str
    level: str
    patches: PositiveInt
    places: PositiveInt
    places_used: PositiveInt
    hash: Digest
    reader: str = ""
    period: tuple[Day, Day] | None = None

    def __post_init__(self) -> None:
        if not self.places_used <= self.places <= self.patches:
            raise ValueError(
                f"{self.places_used} used of {self.places} places in {self.patches} patches"
            )
        days = [date.fromisoformat(day) for day in self.period or ()]
        if days != sorted(days):
            raise ValueError("the period ends before it begins")

    @property
    def synthetic(self) -> bool:
        """Whether the pixels were generated."""
        return self.reader == "synthetic"


@dataclass(frozen=True)
class Compute:
    """Compute of the training, as the run recorded it.

    Attributes:
        step: Optimizer steps taken.
        seconds: Wall time of the steps, without evaluation and checkpoints.
        device: Name of the device.
        processes: Number of processes.
        versions: Versions of the packages.
    """

    step: PositiveInt
    versions: dict[str, str]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    device: str | None = None
    processes: PositiveInt | None = None


@dataclass(frozen=True)
class Weights:
    """The files of a model folder: hashes as hex digits, size of the weights in bytes."""

    sha256: str
    config_sha256: str
    size: int


@dataclass(frozen=True)
class Method:
    """Description of an algorithm or a regularizer; `geographic` ones learn from positions."""

    title: str
    idea: str
    bibtex: str
    geographic: bool = False


@dataclass(frozen=True)
class Change:
    """A key in which a recipe differs from the shipped one of its name."""

    key: str
    here: object
    shipped: object


@dataclass(frozen=True)
class Facts:
    """All facts of a card but the scores.

    Attributes:
        name: Model name.
        network: Network.
        bands: Input channels in order.
        image_size: Side of the training images in pixels.
        recipe: Recipe of the model; None where the folder does not record it.
        recipe_hash: Hash of the recipe; empty where the folder does not record it.
        shipped: Name of the shipped recipe that trains a model of this name, if there is one.
        changes: Keys in which `recipe` differs from the shipped one.
        data: Pretraining data; None where nothing was trained or the folder does not record it.
        compute: Compute of the training; None likewise.
        weights: Weights; None for a recipe without weights.
        footprint: Cells of the pretraining places.
        published: Published weights of a recipe.
        findings: Sentences about what shows that the training failed.
    """

    name: str
    network: Network
    bands: tuple[InputBand, ...]
    image_size: int
    recipe: Recipe | None
    recipe_hash: str
    shipped: str | None
    changes: tuple[Change, ...] = ()
    data: Data | None = None
    compute: Compute | None = None
    weights: Weights | None = None
    footprint: Footprint | None = None
    published: CatalogEntry | None = None
    findings: tuple[str, ...] = ()

    @property
    def algorithm(self) -> Method | None:
        """Description of the algorithm."""
        return methods()["algorithms"].get(self.recipe.algorithm.name) if self.recipe else None

    @property
    def regularizer(self) -> Method | None:
        """Description of the regularizer; None for a baseline."""
        return methods()["regularizers"].get(self.recipe.regularizer.name) if self.recipe else None

    @property
    def geographic(self) -> bool:
        """Whether training used the positions of places."""
        return any(method and method.geographic for method in (self.algorithm, self.regularizer))


def text_of(name: str) -> str:
    """A text file of the card package."""
    return (resources.files(CARDS_PACKAGE) / name).read_text(encoding="utf-8")


@cache
def methods() -> dict[str, dict[str, Method]]:
    """Descriptions of `algorithms` and `regularizers`, by their names in a recipe."""
    found: dict[str, dict[str, Method]] = TypeAdapter(dict[str, dict[str, Method]]).validate_python(
        yaml.safe_load(text_of("methods.yaml"))
    )
    return found


def published_models() -> dict[str, CatalogEntry]:
    """The models of the zoo's own catalog, by name."""
    return parse_catalog(text_of(CATALOG_FILE), where=CATALOG_FILE).models
