"""Models on the Hugging Face Hub: download one, and check what arrived."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from georank_zoo.data.store import sha256_of
from georank_zoo.errors import ModelError, UsageError
from georank_zoo.hub_errors import HTTPError, reason
from georank_zoo.model_config import CONFIG, WEIGHTS, load_config

logger = logging.getLogger(__name__)

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_REVISION = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PATIENCE = 10  # seconds for the Hub's first answer


@dataclass(frozen=True)
class HubId:
    """A model on the Hub: `org/name`, at a branch, tag or commit."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}" if self.revision else self.repo


def parse_id(text: str, revision: str | None = None) -> HubId | None:
    """Reads `org/name[@revision]`, with or without `hf-hub:` before it.

    Returns:
        None if the text has another form.

    Raises:
        UsageError: If it names two revisions, or one that cannot be.
    """
    name, _, own = re.sub(r"^hf[-_]hub:", "", text).partition("@")
    if not _ID.fullmatch(name) or ".." in name:
        return None
    if own and revision and own != revision:
        raise UsageError(f"Two revisions given: {text!r} and {revision!r}. Say one.")
    chosen = own or revision
    if chosen is not None and (not _REVISION.fullmatch(chosen) or ".." in chosen):
        raise UsageError(f"{chosen!r} is no revision: give a branch, a tag or a commit.")
    return HubId(name, chosen)


def download(hub_id: HubId, *, weights: bool = True) -> Path:
    """Downloads `config.json` and `model.safetensors`, and nothing else, to the Hub's cache.

    The config is checked before the weights are asked for, and the weights are taken from the
    config's commit, so both are of one version. A file that is in the cache is not downloaded
    again; without a network the cache is used.

    Args:
        hub_id: The model.
        weights: Download the weights too.

    Returns:
        The folder of that commit in the cache.

    Raises:
        ModelError: If the model, the revision or a file does not exist, the Hub does not
            answer, or the file that arrived is damaged.
    """
    offline = not _answers(hub_id)
    config = _fetch(hub_id, CONFIG, hub_id.revision, offline)
    load_config(config.parent)
    if weights:
        commit = config.parent.name
        check_blob(_fetch(hub_id, WEIGHTS, commit, offline))
    return config.parent


def _answers(hub_id: HubId) -> bool:
    """Whether the Hub answers at all; the download itself would retry for 25 s to find out."""
    try:
        url = hf_hub_url(hub_id.repo, CONFIG, revision=hub_id.revision)
        get_hf_file_metadata(url, timeout=_PATIENCE)
    except (HfHubHTTPError, EntryNotFoundError, FileMetadataError, HFValidationError):
        return True  # what is wrong, the download will say
    except (HTTPError, OSError) as error:
        logger.info("The Hub does not answer (%s); looking into the cache.", error)
        return False
    return True


def _fetch(hub_id: HubId, filename: str, revision: str | None, offline: bool) -> Path:
    where = f"{hub_id} on {constants.ENDPOINT}"
    try:
        return Path(
            hf_hub_download(hub_id.repo, filename, revision=revision, local_files_only=offline)
        )
    except HFValidationError as error:
        raise UsageError(f"{hub_id.repo!r} is no model id of the Hub: {error}") from error
    # The order matters: these are subclasses of each other.
    except GatedRepoError as error:
        raise ModelError(
            f"{where} is gated: ask for access there, then `hf auth login`."
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"No model {where}. Check the spelling; a private one needs `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{hub_id.repo} has no revision {revision!r} on the Hub.") from error
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"Could not get {filename} of {where}: the Hub did not answer, and it is not in the "
            "cache. Check the network, HF_ENDPOINT and HF_HUB_OFFLINE."
        ) from error
    except EntryNotFoundError as error:
        raise ModelError(f"{where} has no {filename}, so it is no model of this kind.") from error
    except HfHubHTTPError as error:
        raise ModelError(f"The Hub refused {filename} of {where}: {reason(error)}.") from error
    except (HTTPError, OSError, RuntimeError) as error:
        raise ModelError(f"The download of {filename} of {where} broke: {error}.") from error


def check_blob(path: Path) -> None:
    """Compares a file of the Hub's cache with its SHA-256.

    The client checks only the size of what it downloads. The blob of a large file is named by
    its SHA-256.

    Raises:
        ModelError: If the content does not match.
    """
    # One link only: the blob itself may be a link to a shared one, named by another hash.
    name = path.readlink().name if path.is_symlink() else ""
    if not _SHA256.fullmatch(name):
        return
    if sha256_of(path) != name:
        blob = path.parent / path.readlink()
        raise ModelError(
            f"{path.name} was damaged on the way: its SHA-256 is not {name}. Delete "
            f"{Path(os.path.normpath(blob))} and try again."
        )
