"""The catalog: which models are published, and the checksum of each of their files.

`model_cards/models.json` is the zoo's own catalog and is installed with the package;
`georank release` adds to it, or to another file of the same form.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from georank_zoo.eval.results.ranges import check_numbers
from georank_zoo.eval.results.settings import protocol_with_settings
from georank_zoo.eval.results.table import Row
from georank_zoo.models.config import CONFIG, WEIGHTS
from georank_zoo.utils.errors import GeorankError, UsageError, plain
from georank_zoo.utils.files import write_text
from georank_zoo.utils.locks import MOMENT, output_lock
from georank_zoo.utils.regular_files import read_regular

CARDS_PACKAGE = "georank_model_cards"
CATALOG_FILE = "models.json"
_MAX_BYTES = 2**26  # a model with its scores are some 10 kB

_SHA256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# One name in one folder: nothing hidden, and no path.
_FILE_NAME = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
_MODEL_NAME = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
_REPO = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileFacts(_Part):
    """SHA-256 and size in bytes of a published file."""

    sha256: _SHA256
    size: int = Field(ge=0)


class CatalogScore(_Part):
    """The columns of a row of results.csv that distinguish scores of one model."""

    task: str
    store_hash: str
    protocol: str
    k: int | None
    temperature: float | None
    settings: str
    chosen: str
    split: str
    image_size: int
    bands: str
    seed: int
    n_train: int
    n_test: int
    metric: str
    value: float
    ci_low: float
    ci_high: float

    @model_validator(mode="after")
    def _numbers_are_possible(self) -> CatalogScore:
        check_numbers(vars(self))
        return self

    @classmethod
    def of(cls, row: Row) -> CatalogScore:
        """The score in a row."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})

    @property
    def protocol_text(self) -> str:
        """Protocol with all that was given to it."""
        return protocol_with_settings(self.protocol, self.k, self.temperature, self.settings)


class CatalogEntry(_Part):
    """A published model.

    Attributes:
        recipe: Name of the shipped recipe for this model; empty for a model of another recipe.
        recipe_hash: Hash of the run's recipe.
        recipe_changes: Keys in which the run's recipe differs from the shipped one.
        trained_on: Description of the pretraining data.
        repo: Repository on the Hub, `org/name`.
        revision: Commit, 40 hex digits.
        tag: Tag of the commit.
        license: License of the weights.
        architecture: Name in timm.
        num_features: Length of a feature vector.
        bands: Bands of the input channels, in order.
        image_size: Side of the training images in pixels.
        files: Checksums of all files, by name.
        scores: Scores of these weights in results.csv.
    """

    recipe: str
    recipe_hash: str
    recipe_changes: tuple[str, ...] = ()
    trained_on: str
    repo: _REPO
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    tag: str | None
    license: str
    architecture: str
    num_features: int = Field(ge=1)
    bands: tuple[str, ...]
    image_size: int = Field(ge=1)
    files: dict[_FILE_NAME, FileFacts]
    scores: tuple[CatalogScore, ...] = ()

    @property
    def id(self) -> str:
        """`org/name@tag`, or the commit where there is no tag."""
        return f"{self.repo}@{self.tag or self.revision}"

    @property
    def pinned_id(self) -> str:
        """`org/name@commit`, which cannot be moved."""
        return f"{self.repo}@{self.revision}"

    @property
    def model_hash(self) -> str:
        """SHA-256 of the weights."""
        return self.files[WEIGHTS].sha256


class Catalog(_Part):
    """Published models, by name."""

    version: Literal[1] = 1
    models: dict[_MODEL_NAME, CatalogEntry] = {}

    def with_weights(self, sha256: str) -> tuple[str, CatalogEntry] | None:
        """The model that has these weights."""
        same = ((name, e) for name, e in self.models.items() if e.model_hash == sha256)
        return next(same, None)

    def at(self, repo: str, revision: str) -> tuple[str, CatalogEntry] | None:
        """The model that is published as this commit."""
        there = (repo, revision)
        same = ((name, e) for name, e in self.models.items() if (e.repo, e.revision) == there)
        return next(same, None)

    def to_json(self) -> str:
        """The text of a catalog file."""
        return json.dumps(self.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"


def list_models(pattern: str = "*", *, catalog: str | os.PathLike[str] | None = None) -> list[str]:
    """Lists the published models, each pinned to a commit.

    Args:
        pattern: Shell pattern of the model's name or of `org/name`, such as `*georank*`.
        catalog: Catalog file, as `georank release` writes one; the zoo's own by default.

    Returns:
        Ids `org/name@commit`, which `create_model` takes, by the model's name.

    Raises:
        UsageError: If there is no such file.
        GeorankError: If it is damaged.

    Example:
        >>> import georank_zoo as gz
        >>> gz.list_models("*georank*")  # nothing has been published yet
        []
    """
    models = sorted(read_catalog(catalog).models.items())
    return [
        entry.pinned_id
        for name, entry in models
        if fnmatchcase(name, pattern) or fnmatchcase(entry.repo, pattern)
    ]


def read_catalog(path: str | os.PathLike[str] | None = None) -> Catalog:
    """Reads a catalog file; the zoo's own by default.

    Raises:
        UsageError: If there is no such file.
        GeorankError: If it is damaged.
    """
    if path is None:
        own = resources.files(CARDS_PACKAGE) / CATALOG_FILE
        return parse_catalog(own.read_text(encoding="utf-8"), where=CATALOG_FILE)
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"No catalog at {path}. `georank release` writes one.")
    try:
        text = read_regular(path, _MAX_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise GeorankError(f"{path} is not a catalog: {error}.") from error
    return parse_catalog(text, where=str(path))


def parse_catalog(text: str, *, where: str) -> Catalog:
    """Reads a catalog from its JSON text.

    Args:
        text: The text.
        where: Its file, for messages.

    Raises:
        GeorankError: If it is damaged; names the key.
    """
    try:
        catalog = Catalog.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        place = plain(".".join(map(str, problem["loc"])) or "the file", 120)
        reason = plain(problem["msg"])
        raise GeorankError(f"{where} is not a catalog: {place}: {reason}.") from error
    for name, entry in catalog.models.items():
        for needed in (CONFIG, WEIGHTS):
            if needed not in entry.files:
                raise GeorankError(f"{where} is not a catalog: {name} has no hash of {needed}.")
    return catalog


def open_catalog(path: str | os.PathLike[str]) -> Catalog:
    """Reads a catalog file that is to be written to; an empty one is made if there is none.

    Raises:
        GeorankError: If the file is damaged or its folder is not writable.
    """
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise GeorankError(f"{path} cannot be written. Choose another file with --catalog.")
    with output_lock(path, wait=MOMENT):
        if not path.exists():
            write_text(path, Catalog().to_json())
        return read_catalog(path)


def record_model(path: str | os.PathLike[str], name: str, entry: CatalogEntry) -> bool:
    """Writes a model into an existing catalog file.

    Returns:
        Whether anything changed.

    Raises:
        GeorankError: If the file is damaged.
    """
    path = Path(path).resolve()
    with output_lock(path, wait=MOMENT):
        catalog = read_catalog(path)
        if catalog.models.get(name) == entry:
            return False
        models = dict(sorted({**catalog.models, name: entry}.items()))
        write_text(path, Catalog(models=models).to_json())
    return True


def scores_of(rows: Sequence[Row], model_hash: str) -> tuple[CatalogScore, ...]:
    """The scores of a model in rows of results.csv, of a repeated evaluation the newest."""
    newest: dict[str, CatalogScore] = {}
    for row in sorted(rows, key=lambda row: row.when):
        if row.model_hash == model_hash:
            score = CatalogScore.of(row)
            settings = score.model_dump_json(exclude={"value", "ci_low", "ci_high"})
            newest[settings] = score
    return tuple(newest[key] for key in sorted(newest))
