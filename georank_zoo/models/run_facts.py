"""Facts of a run: `run.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from georank_zoo.utils.documents import (
    STRICT,
    Count,
    Positive,
    Sha256,
    open_seal,
    parse_document,
    read_limited,
    seal,
)
from georank_zoo.utils.errors import ModelError
from georank_zoo.utils.files import write_text

_REMEDY = "Put back a copy of it, or train again into another folder."

Seconds = Annotated[float, Field(ge=0)]


class StoreFacts(BaseModel):
    """The store that a run is trained on; see `create_run`."""

    model_config = STRICT

    path: Annotated[str, Field(min_length=1)]
    hash: Sha256
    patches: Positive
    places: Positive
    places_used: Positive
    level: str
    source: str
    license: str
    reader: str = ""
    period: tuple[str, str] | None = None


class RunFacts(BaseModel):
    """Content of `run.json`.

    Attributes:
        recipe: Name of the recipe.
        recipe_hash: Its hash.
        store: What the run is trained on.
        bands: Bands in channel order.
        mean: Mean of each, in reflectance.
        std: Standard deviation of each.
        versions: Versions of packages.
        python: Version of Python.
        status: Where the run stands.
        device: Name of the device.
        processes: Number of processes.
        steps: Optimizer steps, when it is finished or interrupted.
        seconds: Wall time, when it is finished.
        findings: What shows that it learns nothing.
        files: SHA-256 of the files that were written with it; empty in earlier versions.
        checksum: Of all the rest; empty in earlier versions.
    """

    model_config = STRICT

    recipe: str
    recipe_hash: Sha256
    store: StoreFacts
    bands: Annotated[tuple[str, ...], Field(min_length=1)]
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    versions: dict[str, str]
    python: str
    status: Literal["started", "running", "interrupted", "finished"]
    device: str | None = None
    processes: Positive | None = None
    steps: Count | None = None
    seconds: Seconds | None = None
    findings: tuple[str, ...] = ()
    files: dict[str, Sha256] = {}
    checksum: str = ""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if not len(self.bands) == len(self.mean) == len(self.std):
            raise ValueError("bands, mean and std are not of one length")
        if not self.store.places_used <= self.store.places <= self.store.patches:
            raise ValueError("store: more places than patches")
        if self.status in ("interrupted", "finished") and self.steps is None:
            raise ValueError(f"steps: it has none, but is {self.status}")
        if self.status == "finished" and self.seconds is None:
            raise ValueError("seconds: it has none, but is finished")
        return self


def read_facts(path: Path, *, remedy: str = _REMEDY) -> dict[str, Any]:
    """Reads `run.json`.

    Args:
        path: The file.
        remedy: Sentence for messages that says what to do.

    Raises:
        ModelError: If it is missing or damaged; the message names the field.
    """
    text = read_limited(path, error=ModelError, remedy=remedy)
    parse_document(RunFacts, text, where=path, error=ModelError, remedy=remedy)
    return open_seal(text, where=path, error=ModelError, remedy=remedy)


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Writes `run.json`, whole or not at all."""
    write_text(path, json.dumps(seal(facts), indent=2) + "\n")
