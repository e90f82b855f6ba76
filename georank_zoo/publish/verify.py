"""Get a published model, and find out whether it is what was published.

Three things are compared: the bytes with the manifest's SHA-256, the weights with the network that
config.json describes, and the features of fixed images with the fingerprint of the export.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from georank_zoo.models import fingerprint
from georank_zoo.models.config import CONFIG, WEIGHTS
from georank_zoo.models.encoder import create_model, find_model
from georank_zoo.models.folder import check_folder
from georank_zoo.models.hub import HubId, fetch, parse_id
from georank_zoo.publish.catalog import Entry, FileFacts, Manifest
from georank_zoo.publish.checks import NEEDED, OPTIONAL
from georank_zoo.utils.errors import ModelError, UsageError, unknown_name
from georank_zoo.utils.files import explain_disk_full, new_folder, sha256_of


@dataclass(frozen=True)
class Verified:
    """A model that is what it should be.

    Attributes:
        folder: Where it lies.
        name: In the manifest; None for a model that is not of it.
        entry: What the manifest says of it.
        files: Names of the files whose bytes were compared with the manifest.
        model_hash: SHA-256 of the weights.
        difference: Of the features from the fingerprint, relative.
    """

    folder: Path
    name: str | None
    entry: Entry | None
    files: tuple[str, ...]
    model_hash: str
    difference: float


def pull(name: str, out: Path, *, manifest: Manifest) -> Verified:
    """Downloads a published model, of the manifest's commit, into a folder of its own.

    The folder is written beside and gets its name when all is verified. A download that broke
    goes on where it was.

    Args:
        name: In the manifest.
        out: The folder to be. If it holds this very model, it is verified and nothing is sent.
        manifest: Where the model is looked up.

    Raises:
        ModelError: If a file cannot be had, or is not the manifest's.
        UsageError: If the manifest has no such model, or something else lies in `out`.
    """
    entry = _entry(name, manifest)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not (out / CONFIG).is_file() or not (out / WEIGHTS).is_file():
            raise UsageError(f"{out} holds something else. Choose another folder with --out.")
        return verify(out, manifest=manifest, name=name)
    source = _download(name, entry)
    with explain_disk_full(out, "Choose another folder with --out."), new_folder(out) as beside:
        for file in entry.files:
            shutil.copyfile(source / file, beside / file)
        check_folder(beside, allowed=NEEDED + OPTIONAL)
        found = _verify(beside, name, entry)
    return Verified(out, name, entry, found.files, found.model_hash, found.difference)


def verify(source: str | Path, *, manifest: Manifest, name: str | None = None) -> Verified:
    """Finds out whether a model is what was published, or at least what was exported.

    Args:
        source: A folder here (an export, a run, what `pull` wrote), the name of a published
            model, or `org/name[@revision]` on the Hub. The first that exists is meant.
        manifest: What is published.
        name: The model of the manifest that it has to be. Without it, a folder or a model on the
            Hub that has none of the manifest's weights is compared with its own fingerprint
            alone.

    Raises:
        ModelError: If it cannot be had, or something is not as it should be.
        UsageError: If there is no such model.
    """
    if name is not None:
        _entry(name, manifest)  # a wrong name is told before a download
    if Path(source).exists():
        folder = find_model(source)
        check_folder(folder, allowed=NEEDED + OPTIONAL)
        known = manifest.with_weights(sha256_of(folder / WEIGHTS))
    elif str(source) in manifest.models:
        known = (str(source), manifest.models[str(source)])
        folder = _download(*known)
    else:
        hub_id = parse_id(str(source))
        if hub_id is None:
            raise _unknown(str(source), manifest)
        folder = find_model(source)
        weights = manifest.with_weights(sha256_of(folder / WEIGHTS))
        known = manifest.at(hub_id.repo, folder.name) or weights
    if name is not None:
        known = (name, manifest.models[name])
    return _verify(folder, *(known or (None, None)))


def _entry(name: str, manifest: Manifest) -> Entry:
    if name not in manifest.models:
        raise _unknown(name, manifest)
    return manifest.models[name]


def _unknown(name: str, manifest: Manifest) -> UsageError:
    if manifest.models:
        return unknown_name("model", name, manifest.models)
    return UsageError(
        f"No model {name!r}: the manifest has no published model yet. Give a folder that exists "
        "here, or org/name on the Hub."
    )


def _download(name: str, entry: Entry) -> Path:
    """Fetches a model of the manifest: its folder in the Hub's cache."""
    hub_id = HubId(entry.repo, entry.revision)
    for file, facts in _in_order(entry):
        path = fetch(hub_id, file, entry.revision, max_bytes=facts.size)
        _compare(path, facts.sha256, name)
    return path.parent


def _in_order(entry: Entry) -> list[tuple[str, FileFacts]]:
    """The config first and the weights last: they are asked for only where all else is right."""
    return sorted(entry.files.items(), key=lambda f: (f[0] != CONFIG, f[0] == WEIGHTS, f[0]))


def _verify(folder: Path, name: str | None, entry: Entry | None) -> Verified:
    compared = []
    for file, facts in _in_order(entry) if entry else ():
        # Card and recipe may be left out of a copy; nothing is loaded from them.
        if (folder / file).exists() or file in (CONFIG, WEIGHTS):
            _compare(folder / file, facts.sha256, str(name))
            compared.append(file)
    encoder = create_model(folder)
    found = fingerprint.compare(encoder)
    if not found.equal:
        raise ModelError(
            f"{folder} gives other features than when it was exported: they differ by "
            f"{found.difference:.1e} of their length, and {fingerprint.TOLERANCE:.0e} are "
            "allowed. The files are damaged or were changed, or timm or torch compute "
            "another network from them."
        )
    return Verified(folder, name, entry, tuple(compared), encoder.model_hash, found.difference)


def _compare(path: Path, sha256: str, name: str) -> None:
    if not path.is_file():
        raise ModelError(f"{path} is missing, so {path.parent} is not {name}.")
    found = sha256_of(path)
    if found != sha256:
        raise ModelError(
            f"{path} is not the {path.name} of {name}: its SHA-256 begins with {found[:12]}, the "
            f"manifest's with {sha256[:12]}. It was damaged or changed."
        )
