"""The folder of a model: local, or in the Hub's cache."""

from __future__ import annotations

import os
from pathlib import Path

from georank_zoo.models.config import CONFIG
from georank_zoo.models.folder import EXPORT
from georank_zoo.models.hub import download_model, parse_id
from georank_zoo.utils.errors import ModelError, UsageError

# What `create_model` takes: a path, or an id on the Hub.
ModelSource = str | os.PathLike[str]

_HUB_PREFIXES = ("hf-hub:", "hf_hub:")


def find_model(source: ModelSource, *, revision: str | None = None, weights: bool = True) -> Path:
    """The folder of a model, which is downloaded if it is on the Hub.

    Args:
        source: Path or id, as for `create_model`.
        revision: Branch, tag or commit on the Hub.
        weights: Download the weights too.

    Raises:
        ModelError: If there is no such model.
        UsageError: If a revision is given of a folder here.
    """
    name = os.fspath(source)
    if is_local(name):
        if revision is not None:
            raise UsageError(f"{name} is a folder here; a revision names a model on the Hub.")
        return _local_folder(Path(name))
    hub_id = parse_id(name, revision)
    if hub_id is None:
        raise ModelError(
            f"No folder {name}, and it is not a model id of the Hub either (org/name). Give an "
            "export folder, a run folder or a model id."
        )
    try:
        return download_model(hub_id, weights=weights)
    except ModelError as error:
        local = "" if name.startswith(_HUB_PREFIXES) else f"There is no folder {name} here. "
        raise ModelError(f"{local}{error}") from error


def is_local(source: ModelSource) -> bool:
    """Whether a source is a path that exists here."""
    name = os.fspath(source)
    return not name.startswith(_HUB_PREFIXES) and Path(name).exists()


def _local_folder(path: Path) -> Path:
    if path.is_file():
        raise ModelError(f"{path} is a file. Give the folder that holds {CONFIG}.")
    for folder in (path, path / EXPORT):
        if (folder / CONFIG).is_file():
            return folder
    raise ModelError(
        f"{path} holds neither {CONFIG} nor {EXPORT}/{CONFIG}: it is not an export and not a "
        "finished run. Write one with `georank export`."
    )
