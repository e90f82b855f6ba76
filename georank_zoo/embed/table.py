"""Features of a store as a file, extracted in chunks into a memory map and resumable.

A `.safetensors` file holds `features` (N, D) float32, not normalized, `lat` and `lon` (N,) float64
degrees (NaN where unknown), `place` and `time` (N,) int64 (Unix seconds, `NO_TIME` where unknown),
in a store of classes `label` (N,) int64 (`NO_LABEL` where unknown), in one of several labels a
patch `labels` (N, C) uint8 (0, 1, `UNKNOWN`), and in its header, under the one key `georank`, a
JSON document: model, settings, store, versions. Row i is patch i of the store. A `.parquet` file
holds the same and each patch's key (see `feature_parquet.py`).
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from georank_zoo import bands as s2
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.data.store.writer import PARTIAL
from georank_zoo.embed.extract import extract_into, warn_of_lacking_bands
from georank_zoo.embed.parquet import write_parquet
from georank_zoo.embed.resume import PartialFeatures
from georank_zoo.models.encoder import Encoder
from georank_zoo.utils.environment import versions
from georank_zoo.utils.errors import Interrupted, UsageError
from georank_zoo.utils.files import explain_disk_full

logger = logging.getLogger(__name__)

FORMAT = "georank-features/1"
SUFFIXES = (".safetensors", ".parquet")

# A chunk is what a kill costs: seconds on a CPU, and long enough not to wait for the disk.
CHUNK_SIZE = 1024


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
        "time": store.time,
    }  # fmt: skip
    if store.labels is not None:
        values["labels"] = store.labels
    elif store.target == "class" and store.class_names:
        values["label"] = store.label
    shape = (len(store), encoder.num_features)
    file = PartialFeatures(partial, values, shape, facts, _weights_digest(encoder))
    try:
        with explain_disk_full(partial, "Free some space and repeat the command."):
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
    header = store.header
    return {
        "format": FORMAT,
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


def _shifted(
    on_progress: Callable[[int, int], None] | None, start: int, total: int
) -> Callable[[int, int], None] | None:
    if on_progress is None:
        return None
    return lambda done, _: on_progress(start + done, total)


def _weights_digest(encoder: Encoder) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
