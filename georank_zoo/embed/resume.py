"""Unfinished feature files: the folder `<path>.partial`, from which an extraction resumes.

It holds the finished file's own bytes, with the rows to come zero, and a count of the rows that are
safe on the disk: killed at any moment, no more than a chunk is lost.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
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
from georank_zoo.utils.errors import UsageError
from georank_zoo.utils.files import new_folder, write_text

_FILE, _PROGRESS = "features.safetensors", "progress.json"
_DTYPES = {"F64": "<f8", "I64": "<i8", "F32": "<f4", "U8": "u1"}
_ZEROS = 2**20  # bytes written at a time
_ROWS = 2**12  # rows hashed at a time


class _Progress(BaseModel):
    """Content of `progress.json`.

    Attributes:
        done: Number of patches whose features are on the disk.
        features: SHA-256 of these rows.
        weights: Identifies the model's weights.
        facts: What the file's header will say.
        checksum: Of all the rest.
    """

    model_config = STRICT

    done: Count
    features: Sha256
    weights: str
    facts: dict[str, Any]
    checksum: Sha256


@dataclass(frozen=True)
class _Column:
    """Where a tensor lies in the file."""

    kind: str  # of safetensors
    shape: tuple[int, ...]
    offset: int  # in bytes

    @property
    def end(self) -> int:
        return self.offset + int(np.prod(self.shape)) * np.dtype(_DTYPES[self.kind]).itemsize

    def map(self, path: Path) -> np.memmap[Any, Any]:
        """The tensor, for reading and writing."""
        return np.memmap(path, _DTYPES[self.kind], "r+", self.offset, self.shape)


class PartialFeatures:
    """A feature file that is not finished.

    Args:
        folder: `<path>.partial`.
        values: All columns but the features, by name.
        shape: Shape (N, D) of the features.
        facts: For the header; what they say must not change before the file is finished.
        weights: Identifies the model's weights.

    Attributes:
        path: The file.
        done: Number of patches whose features are on the disk.
    """

    def __init__(
        self,
        folder: Path,
        values: dict[str, npt.NDArray[Any]],
        shape: tuple[int, int],
        facts: dict[str, Any],
        weights: str,
    ) -> None:
        self.folder, self.path = folder, folder / _FILE
        self.facts, self.weights = facts, weights
        self.done = 0
        self._digest = hashlib.sha256()  # of the rows that are done
        self._values = values
        kinds = {np.dtype(dtype): kind for kind, dtype in _DTYPES.items()}
        tensors = {name: (kinds[value.dtype], value.shape) for name, value in values.items()}
        self._header, self._columns = _layout({**tensors, "features": ("F32", shape)}, facts)
        self._size = max(column.end for column in self._columns.values())

    def open_or_resume(self, *, overwrite: bool) -> None:
        """Resumes what an interrupted run of the same settings has left, or begins.

        Raises:
            UsageError: If there is something else, which may not be replaced.
        """
        found = self._found(overwrite)
        changed = self._changed(found) if found else []
        if changed and not overwrite:
            raise UsageError(
                f"{self.folder} was begun with other settings ({', '.join(changed)}). Repeat them "
                "to resume it, or pass --overwrite to begin again."
            )
        if found and not changed and self._is_whole(found):
            self.done = found.done
            return
        self._digest = hashlib.sha256()
        with new_folder(self.folder) as temporary:
            self._create(temporary)

    def _is_whole(self, found: _Progress) -> bool:
        """Whether the file is what was begun: its finished rows, and all that was known before."""
        rows = self._columns["features"].shape[0]
        if self.path.stat().st_size != self._size or found.done > rows:
            return False
        with self.path.open("rb") as file:
            if file.read(len(self._header)) != self._header:
                return False
        arrays = self.arrays()
        self._hash_rows(0, found.done)
        return self._digest.hexdigest() == found.features and all(
            # As bytes, for no NaN equals another.
            arrays[name].tobytes() == value.tobytes()
            for name, value in self._values.items()
        )

    def _hash_rows(self, first: int, end: int) -> None:
        """Adds rows of the features to their hash, a few at a time."""
        features = self.arrays()["features"]
        for start in range(first, end, _ROWS):
            self._digest.update(features[start : min(start + _ROWS, end)].tobytes())

    def _found(self, overwrite: bool) -> _Progress | None:
        progress = self.folder / _PROGRESS
        if self.folder.exists() and not progress.is_file():
            raise UsageError(f"{self.folder} is in the way. Choose another name for the file.")
        if not self.path.is_file():
            # There is none, or the file got its name and a kill came before the rest was deleted.
            return None
        remedy = f"Pass --overwrite to begin again, or delete {self.folder}."
        try:
            text = read_limited(progress, error=UsageError, remedy=remedy)
            found = parse_document(_Progress, text, where=progress, error=UsageError, remedy=remedy)
            open_seal(text, where=progress, error=UsageError, remedy=remedy)
        except UsageError:
            if overwrite:
                return None
            raise
        return found

    def _create(self, folder: Path) -> None:
        path = folder / _FILE
        with path.open("wb") as file:
            # Every byte is written: on a full disk, a write into a hole of a mapped file kills
            # the process instead of failing.
            file.write(self._header)
            for start in range(len(self._header), self._size, _ZEROS):
                file.write(bytes(min(_ZEROS, self._size - start)))
        for name, value in self._values.items():
            array = self._columns[name].map(path)
            array[:] = value
            array.flush()
        write_text(folder / _PROGRESS, self._progress())

    def _changed(self, found: _Progress) -> list[str]:
        facts = found.facts
        changed = [name for name in self.facts if facts.get(name) != self.facts[name]]
        # A model made in memory has no file whose hash would tell it from another.
        return changed or (["weights"] if found.weights != self.weights else [])

    def arrays(self) -> dict[str, np.memmap[Any, Any]]:
        """The columns, mapped from the file for reading and writing."""
        return {name: column.map(self.path) for name, column in self._columns.items()}

    def advance(self, done: int) -> None:
        """Notes that the features of the first `done` patches are on the disk."""
        self._hash_rows(self.done, done)
        self.done = done
        write_text(self.folder / _PROGRESS, self._progress())

    def _progress(self) -> str:
        state = {
            "done": self.done,
            "features": self._digest.hexdigest(),
            "weights": self.weights,
            "facts": self.facts,
        }
        return json.dumps(seal(state), indent=2) + "\n"


def _layout(
    tensors: dict[str, tuple[str, tuple[int, ...]]], facts: dict[str, Any]
) -> tuple[bytes, dict[str, _Column]]:
    """Header of the safetensors file, and where each tensor lies behind it."""
    columns: dict[str, _Column] = {}
    end = 0
    # The widest numbers first, so that all are aligned.
    for name, (kind, shape) in sorted(
        tensors.items(), key=lambda item: -np.dtype(_DTYPES[item[1][0]]).itemsize
    ):
        columns[name] = _Column(kind, shape, end)
        end = columns[name].end
    entries = {
        name: {"dtype": c.kind, "shape": list(c.shape), "data_offsets": [c.offset, c.end]}
        for name, c in columns.items()
    }
    text = json.dumps({"__metadata__": {"georank": json.dumps(facts)}, **entries}).encode()
    text += b" " * (-len(text) % 8)
    header = struct.pack("<Q", len(text)) + text
    return header, {
        name: dataclasses.replace(c, offset=c.offset + len(header)) for name, c in columns.items()
    }
