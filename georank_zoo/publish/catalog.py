"""The zoo's manifest: which models are published, and what each consists of, to the last byte.

`model_cards/models.json` is the zoo's own and is installed with the package; `georank release`
adds to it, or to another file of the same form.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from georank_zoo.eval.results.settings import named_values
from georank_zoo.eval.results.table import Row
from georank_zoo.models.config import CONFIG, WEIGHTS
from georank_zoo.utils.errors import GeorankError, UsageError, plain
from georank_zoo.utils.files import write_text

PACKAGE = "georank_model_cards"
MANIFEST = "models.json"

_SHA256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# One name in one folder: nothing hidden, and no path.
_FILE_NAME = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
_MODEL_NAME = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
_REPO = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileFacts(_Part):
    """A published file: its SHA-256 and its size in bytes."""

    sha256: _SHA256
    size: int = Field(ge=0)


class Score(_Part):
    """A row of results.csv, as far as it tells scores of one model apart; see `results.Row`."""

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

    @classmethod
    def of(cls, row: Row) -> Score:
        """What a row says."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})

    @property
    def shown_protocol(self) -> str:
        """The protocol with what was chosen for it."""
        parts = [] if self.k is None else [f"k={self.k}"]
        parts += [] if self.temperature is None else [f"temperature={self.temperature:g}"]
        parts += named_values(self.settings)
        return f"{self.protocol} ({', '.join(parts)})" if parts else self.protocol


class Entry(_Part):
    """A published model.

    Attributes:
        recipe: Shipped recipe for models of its name; empty for one of somebody's own.
        recipe_hash: What the run computed.
        recipe_changes: Keys in which the run's recipe differed from the shipped one.
        trained_on: The data, in words.
        repo: `org/name` on the Hub.
        revision: The commit, 40 digits, which cannot be moved.
        tag: Its name, which can.
        license: Of the weights.
        architecture: Name in timm.
        num_features: Length of a feature vector.
        bands: Of the input channels, in order.
        image_size: Side in pixels of the training images.
        files: All files of the model, by name.
        scores: All rows of results.csv of these weights.
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
    num_features: int
    bands: tuple[str, ...]
    image_size: int
    files: dict[_FILE_NAME, FileFacts]
    scores: tuple[Score, ...] = ()

    @property
    def id(self) -> str:
        """`org/name@tag`, or the commit where there is no tag: for people to read."""
        return f"{self.repo}@{self.tag or self.revision}"

    @property
    def pinned_id(self) -> str:
        """`org/name@commit`, for papers and tests."""
        return f"{self.repo}@{self.revision}"

    @property
    def model_hash(self) -> str:
        """SHA-256 of the weights."""
        return self.files[WEIGHTS].sha256


class Manifest(_Part):
    """Published models, by name."""

    version: Literal[1] = 1
    models: dict[_MODEL_NAME, Entry] = {}

    def with_weights(self, sha256: str) -> tuple[str, Entry] | None:
        """The model that has these weights."""
        same = ((name, e) for name, e in self.models.items() if e.model_hash == sha256)
        return next(same, None)

    def at(self, repo: str, revision: str) -> tuple[str, Entry] | None:
        """The model that is published as this commit."""
        there = (repo, revision)
        same = ((name, e) for name, e in self.models.items() if (e.repo, e.revision) == there)
        return next(same, None)


def read(path: str | Path | None = None) -> Manifest:
    """Reads a manifest; the zoo's own by default.

    Raises:
        UsageError: If there is no such file.
        GeorankError: If it is damaged.
    """
    if path is None:
        own = resources.files(PACKAGE) / MANIFEST
        return parse(own.read_text(encoding="utf-8"), where=MANIFEST)
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"No manifest {path}. `georank release` writes one.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise GeorankError(f"{path} is no manifest: {error}.") from error
    return parse(text, where=str(path))


def parse(text: str, *, where: str) -> Manifest:
    """A manifest from its JSON text.

    Raises:
        GeorankError: Says what is wrong, and where.
    """
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        place = plain(".".join(map(str, problem["loc"])) or "the file", 120)
        raise GeorankError(f"{where} is no manifest: {place}: {plain(problem['msg'])}.") from error
    for name, entry in manifest.models.items():
        for needed in (CONFIG, WEIGHTS):
            if needed not in entry.files:
                raise GeorankError(f"{where} is no manifest: {name} lacks the hash of {needed}.")
    return manifest


def make(path: str | Path) -> Manifest:
    """Makes an empty manifest if there is none, and makes sure that it can be added to.

    Raises:
        GeorankError: If what is there is no manifest, or its folder takes no file.
    """
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise GeorankError(f"{path} cannot be written. Choose another file with --manifest.")
    if not path.exists():
        write_text(path, to_json(Manifest()))
    return read(path)


def record(path: str | Path, name: str, entry: Entry) -> bool:
    """Writes a model into a manifest that is there.

    Returns:
        Whether anything changed.

    Raises:
        GeorankError: If what is there is no manifest.
    """
    path = Path(path).resolve()
    # The lock's file stays there: to delete it would let two processes in.
    with FileLock(path.with_name(f".{path.name}.lock")):
        manifest = read(path)
        if manifest.models.get(name) == entry:
            return False
        models = dict(sorted({**manifest.models, name: entry}.items()))
        write_text(path, to_json(Manifest(models=models)))
    return True


def to_json(manifest: Manifest) -> str:
    """The text of a manifest."""
    return json.dumps(manifest.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"


def scores_of(rows: Sequence[Row], model_hash: str) -> tuple[Score, ...]:
    """The scores of a model, of a repeated evaluation the newest."""
    newest: dict[str, Score] = {}
    for row in sorted(rows, key=lambda row: row.when):
        if row.model_hash == model_hash:
            score = Score.of(row)
            settings = score.model_dump_json(exclude={"value", "ci_low", "ci_high"})
            newest[settings] = score
    return tuple(newest[key] for key in sorted(newest))
