"""Models on the Hugging Face Hub: ids, downloads, and checks of what arrived."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import (
    HfFileMetadata,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
)
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

from georank_zoo.models.config import CONFIG, MAX_CONFIG_BYTES, WEIGHTS, load_config
from georank_zoo.models.folder import largest_weights
from georank_zoo.utils.errors import ModelError, UsageError
from georank_zoo.utils.files import sha256_of
from georank_zoo.utils.hub_client import guard_client
from georank_zoo.utils.hub_errors import (
    NETWORK_FAILURES,
    causes,
    explain,
    is_offline,
    status,
    without_credentials,
)
from georank_zoo.utils.write_errors import explain_write_errors

logger = logging.getLogger(__name__)

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_REVISION = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")
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
        raise UsageError(f"Two revisions given: {text!r} and {revision!r}. Give one.")
    chosen = own or revision
    if chosen is not None and (not _REVISION.fullmatch(chosen) or ".." in chosen):
        raise UsageError(f"{chosen!r} is not a revision: give a branch, a tag or a commit.")
    return HubId(name, chosen)


def download_model(hub_id: HubId, *, weights: bool = True) -> Path:
    """Downloads `config.json` and `model.safetensors`, and nothing else, to the Hub's cache.

    The config is checked before the weights are asked for, and the weights are taken from the
    config's commit, so both are of one version. No file is asked for that is larger than it can
    be. A file that is in the cache is not downloaded again; without a network the cache is used.

    Args:
        hub_id: The model.
        weights: Download the weights too.

    Returns:
        The folder of that commit in the cache.

    Raises:
        ModelError: If the model, the revision or a file does not exist, the Hub does not
            answer, or the file that arrived is damaged.
    """
    config = fetch_file(hub_id, CONFIG, hub_id.revision, max_bytes=MAX_CONFIG_BYTES)
    model = load_config(config.parent)
    if weights:
        commit = config.parent.name
        fetch_file(hub_id, WEIGHTS, commit, max_bytes=largest_weights(model))
    return config.parent


def fetch_file(hub_id: HubId, filename: str, revision: str | None, *, max_bytes: int) -> Path:
    """Downloads one file to the Hub's cache, unless it is there, and compares it with its hash.

    Args:
        hub_id: The model.
        filename: The file.
        revision: Branch, tag or commit.
        max_bytes: A larger file is not asked for.

    Returns:
        The file, in the folder of its commit in the cache.

    Raises:
        ModelError: If the model, the revision or the file does not exist, the Hub does not
            answer, or what arrived is damaged.
    """
    guard_client()
    silence, remote = _look(hub_id, filename, revision)
    if remote is not None and remote.size is not None and remote.size > max_bytes:
        raise ModelError(
            f"{filename} of {_where(hub_id)} has {remote.size} bytes, but at most "
            f"{max_bytes} can be part of this model. It was not downloaded."
        )
    path = _download(hub_id, filename, revision, silence=silence)
    # The branch may have moved since: what was said then is of another file.
    etag = remote.etag if remote and remote.commit_hash == path.parent.name else None
    check_blob(path, etag)
    return path


def _look(
    hub_id: HubId, filename: str, revision: str | None
) -> tuple[Exception | None, HfFileMetadata | None]:
    """Why the Hub does not answer, if it does not, and what it says of a file.

    The download itself would retry for 25 s to find out.
    """
    try:
        url = hf_hub_url(hub_id.repo, filename, revision=revision)
        return None, get_hf_file_metadata(url, timeout=_PATIENCE)
    except (HfHubHTTPError, EntryNotFoundError, FileMetadataError, HFValidationError):
        return None, None  # what is wrong, the download will say
    except NETWORK_FAILURES as error:
        logger.info("%s Looking into the cache.", explain(error, hub_id.repo, writing=False))
        return error, None


def _where(hub_id: HubId) -> str:
    return f"{hub_id} on {without_credentials(constants.ENDPOINT)}"


def _download(
    hub_id: HubId, filename: str, revision: str | None, *, silence: Exception | None
) -> Path:
    where = _where(hub_id)
    try:
        return Path(
            hf_hub_download(
                hub_id.repo, filename, revision=revision, local_files_only=silence is not None
            )
        )
    except HFValidationError as error:
        raise UsageError(f"{hub_id.repo!r} is not a model id of the Hub: {error}") from error
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
        raise ModelError(_not_cached(f"{filename} of {where}", hub_id, silence or error)) from error
    except EntryNotFoundError as error:
        raise ModelError(
            f"{where} has no {filename}, so it is not a model of this kind. No other "
            "file is read, and no pickle ever."
        ) from error
    except NETWORK_FAILURES as error:
        _raise_if_of_the_disk(error)
        said = explain(error, hub_id.repo, writing=False)
        raise ModelError(f"Could not get {filename} of {where}. {said}") from error


def _not_cached(what: str, hub_id: HubId, silence: Exception) -> str:
    """Why a file that is not in the cache could not be had."""
    if is_offline(silence):
        return f"{what} is not in the cache, and HF_HUB_OFFLINE is set: unset it to download."
    cause = next(
        (c for c in causes(silence) if status(c) is not None), silence.__cause__ or silence
    )
    said = explain(cause, hub_id.repo, writing=False)
    return f"Could not get {what}, and it is not in the cache. {said}"


def _raise_if_of_the_disk(error: Exception) -> None:
    """A full disk is no failure of the network."""
    if type(error) is OSError:
        with suppress(OSError), explain_write_errors(Path(constants.HF_HUB_CACHE)):
            raise error


def check_blob(path: Path, etag: str | None = None) -> None:
    """Compares a file of the Hub's cache with its hash.

    The client checks only the size of what it downloads. The Hub names a large file by its
    SHA-256 and a small one by git's SHA-1, in its answer and in the name of the cached blob.

    Args:
        path: The file, or the link to its blob.
        etag: The Hub's name of its content; where there is none, only the blob's name is compared.

    Raises:
        ModelError: If the content does not match.
    """
    # One link only: the blob itself may be a link to a shared one, named by another hash.
    blob = Path(os.path.normpath(path.parent / path.readlink())) if path.is_symlink() else path
    for name in {blob.name, etag or ""}:
        if (_SHA256.fullmatch(name) and sha256_of(path) != name) or (
            _SHA1.fullmatch(name) and name not in _sha1s_of(path)
        ):
            raise ModelError(
                f"{path.name} was damaged on the way: its hash is not {name}. Delete {blob} and "
                "try again."
            )


def _sha1s_of(path: Path) -> tuple[str, str]:
    """The hash of a small file as git makes it, and the plain one, which some mirrors give."""
    content = path.read_bytes()
    git = b"blob %d\0" % len(content)
    first, second = (
        hashlib.sha1(start + content, usedforsecurity=False).hexdigest() for start in (git, b"")
    )
    return first, second
