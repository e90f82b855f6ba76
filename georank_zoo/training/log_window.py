"""Means of the logged values between two rows of the log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel

from georank_zoo.utils.documents import (
    STRICT,
    Count,
    Sha256,
    open_seal,
    parse_document,
    read_limited,
    seal,
)
from georank_zoo.utils.errors import ModelError
from georank_zoo.utils.files import write_text

UNLOGGED = "unlogged.json"
Values = list[dict[str, float]]

_REMEDY = "Delete it to go on: the next row of the log is then a mean over fewer steps."


class LogWindow:
    """The steps since the last row of the log.

    A row holds means over all of its steps, of which an interruption may lie in the middle: what
    was found before it is kept in a file, and the row of the resumed run is that of an undisturbed
    one.

    Attributes:
        last: Embeddings (B, D) and positions (B, 2) of the last batch.
    """

    last: tuple[torch.Tensor, torch.Tensor]

    def __init__(self) -> None:
        self._earlier: Values = []
        self._parts: list[dict[str, torch.Tensor]] = []
        self._step = 0
        self._began = 0.0

    def __bool__(self) -> bool:
        """Whether a step was taken."""
        return bool(self._parts)

    def restart(self, step: int, earlier: Values | None = None) -> None:
        """Begins anew after a step, with what an interrupted process had not logged up to it."""
        self._earlier, self._parts = earlier or [], []
        self._step, self._began = step, time.monotonic()

    def pause(self, seconds: float) -> None:
        """Leaves out a time in which no step was taken."""
        self._began += seconds

    def add(self, logs: dict[str, torch.Tensor]) -> None:
        """Adds the scalars of a part of a batch, still on the device."""
        self._parts.append(logs)

    def values(self, mean: Callable[[torch.Tensor], torch.Tensor]) -> Values:
        """The scalars of each part of a batch, as means over the processes.

        Args:
            mean: Takes that mean, element by element.
        """
        names = list(self._parts[0])
        mine = [torch.stack([part[name].float() for name in names]) for part in self._parts]
        rows = mean(torch.stack(mine)).tolist()
        return [*self._earlier, *(dict(zip(names, row, strict=True)) for row in rows)]

    def elapsed(self, step: int) -> tuple[int, float]:
        """Number of steps of this process up to this one, and the seconds that they took."""
        return step - self._step, time.monotonic() - self._began


class _Unlogged(BaseModel):
    """Content of `unlogged.json`."""

    model_config = STRICT

    step: Count
    values: Values
    checksum: Sha256


@dataclass(frozen=True)
class UnloggedFile:
    """What a run had not yet logged when it was interrupted, in a file of its folder.

    Attributes:
        path: The file; it need not exist.
    """

    path: Path

    def write(self, step: int, values: Values) -> None:
        """Keeps the values of the steps since the last row, up to a step."""
        write_text(self.path, json.dumps(seal({"step": step, "values": values})) + "\n")

    def read(self, step: int) -> Values:
        """The values up to a step; none if the run was not interrupted there.

        Raises:
            ModelError: If the file is damaged.
        """
        if not self.path.exists():
            return []
        text = read_limited(self.path, error=ModelError, remedy=_REMEDY)
        found = parse_document(_Unlogged, text, where=self.path, error=ModelError, remedy=_REMEDY)
        open_seal(text, where=self.path, error=ModelError, remedy=_REMEDY)
        return found.values if found.step == step else []


def means(values: Values) -> dict[str, float]:
    """The mean of each scalar."""
    return {name: sum(row[name] for row in values) / len(values) for name in values[0]}
