"""Features of a store as a file, extracted in chunks and resumable.

A `.safetensors` file holds `features` (N, D) float32, not normalized, `lat` and `lon` (N,) float64
degrees (NaN where unknown), `place` and `time` (N,) int64 (Unix seconds, `NO_TIME` where unknown),
in a store of classes `label` (N,) int64 (`NO_LABEL` where unknown), in one of several labels a
patch `labels` (N, C) uint8 (0, 1, `UNKNOWN`), where all classes are whole numbers `class_numbers`
(C,) int64, and in its header, under the one key `georank`, a JSON document: model, settings, store,
versions. Row i is patch i of the store; label k is the class `class_names[k]` of the document. A
`.parquet` file holds the same, and each patch's key and class (see `parquet.py`).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from georank_zoo import bands as s2
from georank_zoo.data.readers.labels.values import whole_numbers
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.data.store.writer import PARTIAL
from georank_zoo.embed.extract import extract_into, warn_of_missing_bands
from georank_zoo.embed.parquet import write_parquet
from georank_zoo.embed.resume import PartialFeatures
from georank_zoo.models.encoder import Encoder, as_encoder
from georank_zoo.models.find import ModelSource
from georank_zoo.models.inference import InferenceSettings
from georank_zoo.utils.environment import versions
from georank_zoo.utils.errors import Interrupted, UsageError
from georank_zoo.utils.leftovers import delete
from georank_zoo.utils.locks import output_lock
from georank_zoo.utils.progress import OnProgress, progress_bar
from georank_zoo.utils.write_errors import explain_write_errors

logger = logging.getLogger(__name__)

FEATURES_FORMAT = "georank-features/1"
TABLE_SUFFIXES = (".safetensors", ".parquet")

# A chunk is what a kill costs: seconds on a CPU, and long enough not to wait for the disk.
CHUNK_SIZE = 1024


@dataclass(frozen=True)
class EmbeddedStore:
    """A file with the features of a store.

    Attributes:
        path: The file.
        patches: Number of patches, N.
        num_features: Length of a feature vector, D.
    """

    path: Path
    patches: int
    num_features: int

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return f"{self.patches} patches, {self.num_features} features each: {self.path}"


def embed_store(
    model: Encoder | ModelSource,
    store: PatchStore | str | Path,
    out: str | Path,
    *,
    image_size: int | None = None,
    batch_size: int = 256,
    chunk_size: int = CHUNK_SIZE,
    device: str | torch.device = "auto",
    overwrite: bool = False,
    progress: bool = True,
    on_progress: OnProgress | None = None,
) -> EmbeddedStore:
    """Embeds all patches of a store into a file.

    Repeated after an interruption, it resumes after the last finished chunk; with the same batch
    size on the same device, the file has the bytes of an uninterrupted run.

    Args:
        model: An encoder, or what `create_model` takes. An encoder is afterwards in its own mode
            and on its own device, as before.
        store: The patches, or the path of their store. Bands are selected by name, those that it
            does not have are fed at their mean.
        out: File to write, `.safetensors` or `.parquet`.
        image_size: Side in pixels that patches are resized to; the model's by default.
        batch_size: Patches per batch.
        chunk_size: Patches after which what has been done is made safe.
        device: Device to run on; `auto` takes an accelerator if there is one.
        overwrite: Replace an existing file, or a partial one of other settings.
        progress: Show a bar if it takes more than a second.
        on_progress: Called with the number of patches done and their total, in place of a bar.

    Raises:
        UsageError: If the file exists, its name ends otherwise, a partial one of other settings
            exists, or store and model have no band in common.
        StoreError: If there is no complete, undamaged store.
        ModelError: If there is no such model, or a feature is NaN or infinite.
        GeorankError: If the disk is full, or another process writes the file.
        Interrupted: On Ctrl-C; the partial file is kept.

    Example:
        >>> import georank_zoo as gz
        >>> import pandas as pd
        >>> done = gz.embed_store("runs/moco-r18", "stores/mine", "out/embeddings.parquet")
        >>> done.patches
        192
        >>> pd.read_parquet(done.path).columns.tolist()
        ['key', 'lat', 'lon', 'geometry', 'place', 'time', 'label', 'class', 'embedding']
    """
    path = Path(out)
    require_file_name(path, TABLE_SUFFIXES)
    partial = path.with_name(path.name + PARTIAL)
    with output_lock(path, partial) as taken:
        require_free_file(path, overwrite=overwrite or taken.finished)
        store = store if isinstance(store, PatchStore) else PatchStore(store)
        encoder = as_encoder(model)
        shape = (len(store), encoder.num_features)
        if not taken.finished:
            settings = encoder.inference_settings(image_size, batch_size, device)
            warn_of_missing_bands(encoder, store.bands, store.path)
            facts = _facts(encoder, store, settings.image_size)
            weights = _weights_digest(encoder)
            file = PartialFeatures(partial, _columns(store), shape, facts, weights)
            with (
                _explain_interruption(partial, chunk_size),
                progress_bar(f"Embedding {store.path}", on_progress, show=progress) as report,
            ):
                file.open_or_resume(overwrite=overwrite)
                _fill(file, encoder, store, settings, chunk_size, report)
                if path.suffix == ".parquet":
                    write_parquet(path, file.arrays(), store.keys, file.facts)
                else:
                    file.path.replace(path)
        delete(partial)
    return EmbeddedStore(path, *shape)


@contextmanager
def _explain_interruption(partial: Path, chunk_size: int) -> Iterator[None]:
    try:
        with explain_write_errors(partial, "Make room and repeat the command to resume it."):
            yield
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"Interrupted. {partial} is kept: repeat the command, and it resumes after the last "
            f"finished chunk of {chunk_size} patches."
        ) from error


def require_file_name(path: Path, suffixes: Sequence[str]) -> None:
    """Refuses a name that cannot be written.

    Raises:
        UsageError: If it ends otherwise or is a folder.
    """
    if path.suffix not in suffixes:
        raise UsageError(f"{path} must end in {' or '.join(suffixes)}.")
    if path.is_dir():
        raise UsageError(f"{path} is a folder. Give the name of a file.")


def require_free_file(path: Path, *, overwrite: bool) -> None:
    """Refuses a file that exists and is not to be replaced.

    Raises:
        UsageError: If it is one.
    """
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists. Pass --overwrite to replace it.")


def model_facts(encoder: Encoder, bands: Sequence[str]) -> dict[str, Any]:
    """Facts of the model, and of the bands that it was given, for a file of features."""
    return {
        "model": encoder.name,
        "model_hash": encoder.model_hash,
        "recipe": encoder.config.recipe if encoder.config else "",
        "bands": list(encoder.model_bands),
        "bands_at_their_mean": list(s2.missing(bands, encoder.model_bands)),
    }


def _facts(encoder: Encoder, store: PatchStore, image_size: int) -> dict[str, Any]:
    header = store.header
    return {
        "format": FEATURES_FORMAT,
        **model_facts(encoder, store.bands),
        "image_size": image_size,
        "store_hash": store.hash,
        "reader": header.reader,
        "level": header.level,
        "source": header.source,
        "license": header.license,
        "class_names": list(store.class_names),
        "versions": versions(),
    }


def _columns(store: PatchStore) -> dict[str, npt.NDArray[Any]]:
    """All columns but the features, by name."""
    columns: dict[str, npt.NDArray[Any]] = {
        "lat": store.latlon[:, 0], "lon": store.latlon[:, 1], "place": store.place,
        "time": store.time,
    }  # fmt: skip
    if store.labels is not None:
        columns["labels"] = store.labels
    elif store.target == "class" and store.class_names:
        columns["label"] = store.label
    # Label 0 may be the class 10: what was a number in the source stays one.
    if {"label", "labels"} & set(columns) and (numbers := whole_numbers(store.class_names)):
        columns["class_numbers"] = np.array(numbers, np.int64)
    return columns


def _fill(
    file: PartialFeatures,
    encoder: Encoder,
    store: PatchStore,
    settings: InferenceSettings,
    chunk_size: int,
    report: OnProgress,
) -> None:
    if file.done:
        logger.info("Resuming %s at patch %d.", file.folder, file.done)
    features = file.arrays()["features"]
    for start in range(file.done, len(store), chunk_size):
        chunk = np.arange(start, min(start + chunk_size, len(store)))

        def on_batch(done: int, _: int, start: int = start) -> None:
            report(start + done, len(store), "")

        extract_into(
            features[start : start + chunk_size], encoder, store, chunk, settings, on_batch
        )
        features.flush()
        file.advance(start + len(chunk))


def _weights_digest(encoder: Encoder) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
