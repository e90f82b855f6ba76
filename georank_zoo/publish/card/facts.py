"""The facts of a model card, typed; `gather.py` says where each comes from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Annotated

import yaml
from pydantic import Field, TypeAdapter

from georank_zoo.bands import Band
from georank_zoo.models.footprint import Footprint
from georank_zoo.publish import catalog as manifest
from georank_zoo.training.recipe import Recipe

PACKAGE = manifest.PACKAGE

Day = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]


@dataclass(frozen=True)
class Network:
    """A timm network.

    Attributes:
        architecture: Name in timm.
        parameters: Number of trainable numbers.
        num_features: Length of a feature vector.
        channels: Of its feature maps, finest first; empty if timm gives none.
        strides: Of the feature maps, in pixels.
    """

    architecture: str
    parameters: int
    num_features: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class InputBand:
    """A channel of the input; mean and standard deviation in reflectance, None before training."""

    band: Band
    mean: float | None
    std: float | None


@dataclass(frozen=True)
class Data:
    """What a model was pretrained on, as the run noted it from the store's manifest.

    Attributes:
        source: Where the data comes from.
        license: Of the data.
        level: `L1C`, `L2A` or `unknown`.
        patches: Patches in the store.
        places: Distinct places in the store.
        places_used: Places that were trained on.
        hash: Content of the store.
        reader: What prepared it; empty where an earlier version did not note it.
        period: First and last day of the acquisitions, where the store knows them.
    """

    source: str
    license: str
    level: str
    patches: int
    places: int
    places_used: int
    hash: Digest
    reader: str = ""
    period: tuple[Day, Day] | None = None

    @property
    def synthetic(self) -> bool:
        """Whether the pixels were generated."""
        return self.reader == "synthetic"


@dataclass(frozen=True)
class Compute:
    """What training took, as the run noted it.

    Attributes:
        step: Optimizer steps taken.
        seconds: Wall time of the steps, without evaluation and checkpoints.
        device: Its name.
        processes: Number of processes.
        versions: Of the packages.
    """

    step: int
    versions: dict[str, str]
    seconds: float | None = None
    device: str | None = None
    processes: int | None = None


@dataclass(frozen=True)
class Weights:
    """The files of a model folder: hashes as hex digits, size of the weights in bytes."""

    sha256: str
    config_sha256: str
    size: int


@dataclass(frozen=True)
class Published:
    """Weights on the Hub, from the manifest; `revision` is the tag, or the commit without one."""

    repo: str
    revision: str
    sha256: str
    trained_on: str

    @property
    def id(self) -> str:
        """Repository and revision, as `georank_zoo.create_model` takes them."""
        return f"{self.repo}@{self.revision}"


@dataclass(frozen=True)
class Method:
    """What a card says of an algorithm or a regularizer; `geographic` ones learn positions."""

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
        name: Of the model.
        network: The network.
        bands: Input channels in order.
        image_size: Side in pixels of the training images.
        recipe: What trained it, or would; None where the folder does not tell.
        recipe_hash: Of that recipe; empty where the folder does not tell.
        shipped: Name of the shipped recipe that trains a model of this name, if there is one.
        changes: How `recipe` differs from it.
        data: What it was trained on; None where nothing was trained or the folder does not tell.
        compute: What training took; None likewise.
        weights: The files; None for a recipe without weights.
        footprint: Where its places lie.
        published: Where on the Hub the weights of a recipe are.
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
    published: Published | None = None

    @property
    def algorithm(self) -> Method | None:
        """What is said of the algorithm."""
        return methods()["algorithms"].get(self.recipe.algorithm.name) if self.recipe else None

    @property
    def regularizer(self) -> Method | None:
        """What is said of the regularizer; None for a baseline."""
        return methods()["regularizers"].get(self.recipe.regularizer.name) if self.recipe else None

    @property
    def geographic(self) -> bool:
        """Whether training took the positions of places."""
        return any(method and method.geographic for method in (self.algorithm, self.regularizer))


def text_of(name: str) -> str:
    """A text file of the card package."""
    return (resources.files(PACKAGE) / name).read_text(encoding="utf-8")


@cache
def methods() -> dict[str, dict[str, Method]]:
    """What is said of `algorithms` and `regularizers`, by their names in a recipe."""
    found: dict[str, dict[str, Method]] = TypeAdapter(dict[str, dict[str, Method]]).validate_python(
        yaml.safe_load(text_of("methods.yaml"))
    )
    return found


def published() -> dict[str, Published]:
    """The weights on the Hub, by model name."""
    known = manifest.parse(text_of(manifest.MANIFEST), where=manifest.MANIFEST)
    return {
        name: Published(entry.repo, entry.tag or entry.revision, entry.model_hash, entry.trained_on)
        for name, entry in known.models.items()
    }
