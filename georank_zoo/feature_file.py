"""Features of a store as a file, extracted in chunks into a memory map and resumable.

A `.safetensors` file holds `features` (N, D) float32, not normalised, `lat` and `lon` (N,) float64
degrees, `place` and `time` (N,) int64 (Unix seconds, `NO_TIME` where unknown), in a labelled store
`label` (N,) int64 (`NO_LABEL` where unknown), and in its header, under the one key `georank`, a
JSON document: model, settings, store, versions. Row i is patch i of the store. A `.parquet` file
holds the same and each patch's key (see `feature_parquet.py`).

While it is being extracted, `<path>.partial` is a folder of the finished file's own bytes, with
the rows to come zero, and a count of the rows that are safe on the disk.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from georank_zoo import bands as s2
from georank_zoo.data.store import PatchStore
from georank_zoo.data.writer import PARTIAL
from georank_zoo.environment import versions
from georank_zoo.errors import Interrupted, UsageError
from georank_zoo.feature_parquet import write_parquet
from georank_zoo.features import extract_into, warn_of_lacking_bands
from georank_zoo.files import new_folder, telling_of_full_disk, write_text
from georank_zoo.zoo import Encoder

logger = logging.getLogger(__name__)

FORMAT = "georank-features/1"
SUFFIXES = (".safetensors", ".parquet")

# A chunk is what a kill costs: seconds on a CPU, and long enough not to wait for the disk.
CHUNK_SIZE = 4096

_FILE, _PROGRESS = "features.safetensors", "progress.json"
_DTYPES = {"F64": "<f8", "I64": "<i8", "F32": "<f4"}
_ZEROS = 16 * 2**20  # bytes written at a time


def extract_to(
    path: str | Path,
    encoder: Encoder,
    store: PatchStore,
    *,
    image_size: int | None = None,
    batch_size: int = 256,
    chunk_size: int = CHUNK_SIZE,
    device: str | torch.device = "cpu",
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Embeds all patches of a store into a file.

    Repeated after an interruption, it goes on after the last finished chunk; with the same batch
    size on the same device, the file has the bytes of an uninterrupted run.

    Args:
        path: File to write, `.safetensors` or `.parquet`.
        encoder: The model; it is moved to the device.
        store: The patches. Bands are selected by name, those that lack are fed at their mean.
        image_size: Side in pixels that patches are resized to; the model's by default.
        batch_size: Patches per batch.
        chunk_size: Patches after which what has been done is made safe.
        device: Where to run.
        overwrite: Replace an existing file, or a partial one of other settings.
        on_progress: Called with the number of patches done and their total.

    Returns:
        The path.

    Raises:
        UsageError: If the file exists, its name ends otherwise, a partial one of other settings
            exists, or store and model have no band in common.
        ModelError: If a feature is NaN or infinite.
        GeorankError: If the disk is full.
        Interrupted: On Ctrl-C; the partial file is kept.
    """
    path = Path(path)
    require_free(path, SUFFIXES, overwrite=overwrite)
    encoder.shared_bands(store.bands)
    warn_of_lacking_bands(encoder, store)
    partial = path.with_name(path.name + PARTIAL)
    facts = _facts(encoder, store, encoder.image_size if image_size is None else image_size)
    values: dict[str, npt.NDArray[Any]] = {
        "lat": store.latlon[:, 0], "lon": store.latlon[:, 1], "place": store.place,
        "time": store.time, **({"label": store.label} if store.class_names else {}),
    }  # fmt: skip
    shape = (len(store), encoder.num_features)
    file = _Partial(partial, values, shape, facts, _weights_digest(encoder))
    try:
        with telling_of_full_disk(partial, "Free some space and repeat the command."):
            file.begin_or_go_on(overwrite=overwrite)
            if file.done:
                logger.info("Going on with %s at patch %d.", partial, file.done)
            features = file.arrays()["features"]
            for start in range(file.done, len(store), chunk_size):
                samples = np.arange(start, min(start + chunk_size, len(store)))
                extract_into(
                    features[start : start + chunk_size], encoder, store, samples=samples,
                    image_size=facts["image_size"], batch_size=batch_size, device=device,
                    on_progress=_shifted(on_progress, start, len(store)),
                )  # fmt: skip
                features.flush()
                file.advance(int(samples[-1]) + 1)
            if path.suffix == ".parquet":
                write_parquet(path, file.arrays(), store.keys, file.facts)
            else:
                file.path.replace(path)
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"Interrupted. {partial} is kept: repeat the command, and it goes on after the last "
            f"finished chunk of {chunk_size} patches."
        ) from error
    shutil.rmtree(partial)
    return path


def require_free(path: Path, suffixes: Sequence[str], *, overwrite: bool) -> None:
    """Refuses a name that cannot be written.

    Raises:
        UsageError: If it ends otherwise, is a folder, or exists and is not to be replaced.
    """
    if path.suffix not in suffixes:
        raise UsageError(f"{path} must end in {' or '.join(suffixes)}.")
    if path.is_dir():
        raise UsageError(f"{path} is a folder. Give the name of a file.")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists. Say --overwrite to replace it.")


def model_facts(encoder: Encoder, bands: Sequence[str]) -> dict[str, Any]:
    """What a file of features says of the model, and of the bands that it was given."""
    return {
        "model": encoder.name,
        "model_hash": encoder.model_hash,
        "recipe": encoder.config.recipe if encoder.config else "",
        "bands": list(encoder.model_bands),
        "bands_at_their_mean": list(s2.missing(bands, encoder.model_bands)),
    }


def _facts(encoder: Encoder, store: PatchStore, image_size: int) -> dict[str, Any]:
    manifest = store.manifest
    return {
        "format": FORMAT,
        **model_facts(encoder, store.bands),
        "image_size": image_size,
        "store_hash": store.hash,
        "reader": manifest.reader,
        "level": manifest.level,
        "source": manifest.source,
        "licence": manifest.licence,
        "class_names": list(store.class_names),
        "versions": versions(),
    }


def _shifted(
    on_progress: Callable[[int, int], None] | None, start: int, total: int
) -> Callable[[int, int], None] | None:
    if on_progress is None:
        return None
    return lambda done, _: on_progress(start + done, total)


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


class _Partial:
    """The folder of a file that is not finished.

    Args:
        folder: `<path>.partial`.
        values: All columns but the features, by name.
        shape: Of the features (N, D).
        facts: For the header; what they say must not change before the file is finished.
        weights: Identifies the model's weights.
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
        self._values = values
        shapes = {name: value.shape for name, value in values.items()}
        self._header, self._columns = _layout({**shapes, "features": shape}, facts)
        self._size = max(column.end for column in self._columns.values())

    def begin_or_go_on(self, *, overwrite: bool) -> None:
        """Takes up what an interrupted run of the same settings has left, or begins.

        Raises:
            UsageError: If there is something else, which may not be replaced.
        """
        found = self._found()
        changed = self._changed(found) if found else []
        if changed and not overwrite:
            raise UsageError(
                f"{self.folder} was begun with other settings ({', '.join(changed)}). Repeat them "
                "to go on with it, or say --overwrite to begin again."
            )
        if found and not changed:
            self.done = int(found["done"])
            return
        with new_folder(self.folder) as beside:
            self._create(beside)

    def _found(self) -> dict[str, Any]:
        progress = self.folder / _PROGRESS
        if self.folder.exists() and not progress.is_file():
            raise UsageError(f"{self.folder} is in the way. Choose another name for the file.")
        if not self.path.is_file():
            # There is none, or the file got its name and a kill came before the rest was deleted.
            return {}
        try:
            return dict(json.loads(progress.read_text(encoding="utf-8")))
        except ValueError as error:
            raise UsageError(f"{progress} is damaged. Delete {self.folder}.") from error

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

    def _changed(self, found: dict[str, Any]) -> list[str]:
        facts = found["facts"]
        changed = [name for name in self.facts if facts.get(name) != self.facts[name]]
        # A model made in memory has no file whose hash would tell it from another.
        return changed or (["weights"] if found["weights"] != self.weights else [])

    def arrays(self) -> dict[str, np.memmap[Any, Any]]:
        """The columns, mapped from the file for reading and writing."""
        return {name: column.map(self.path) for name, column in self._columns.items()}

    def advance(self, done: int) -> None:
        """Notes that the features of the first `done` patches are on the disk."""
        self.done = done
        write_text(self.folder / _PROGRESS, self._progress())

    def _progress(self) -> str:
        state = {"done": self.done, "weights": self.weights, "facts": self.facts}
        return json.dumps(state, indent=2) + "\n"


def _layout(
    shapes: dict[str, tuple[int, ...]], facts: dict[str, Any]
) -> tuple[bytes, dict[str, _Column]]:
    """Header of the safetensors file, and where each tensor lies behind it."""
    kinds = {"lat": "F64", "lon": "F64", "features": "F32"}
    # The features last: all others take whole multiples of 8 bytes, so all are aligned.
    columns: dict[str, _Column] = {}
    end = 0
    for name, shape in shapes.items():
        columns[name] = _Column(kinds.get(name, "I64"), shape, end)
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


def _weights_digest(encoder: Encoder) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
