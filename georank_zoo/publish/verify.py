"""Download and verification of published models.

Three things are compared: the bytes with the catalog's SHA-256, the weights with the network that
config.json describes, and the features of fixed images with the fingerprint of the export.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from georank_zoo.models.config import CONFIG, WEIGHTS
from georank_zoo.models.encoder import create_model
from georank_zoo.models.find import find_model
from georank_zoo.models.fingerprint import FINGERPRINT_TOLERANCE, compare_fingerprint
from georank_zoo.models.folder import check_model_folder
from georank_zoo.models.hub import HubId, fetch_file, parse_id
from georank_zoo.publish.catalog import Catalog, CatalogEntry, FileFacts, read_catalog
from georank_zoo.publish.checks import NEEDED, OPTIONAL
from georank_zoo.utils.errors import ModelError, UsageError, unknown_name
from georank_zoo.utils.files import new_folder, sha256_of
from georank_zoo.utils.leftovers import temporary_beside
from georank_zoo.utils.locks import MOMENT, output_lock
from georank_zoo.utils.write_errors import explain_write_errors


@dataclass(frozen=True)
class ModelVerification:
    """A model that passed verification.

    Attributes:
        folder: Folder of the model.
        name: Name in the catalog; None for a model that is not in it.
        entry: Catalog entry of the model.
        files: Names of the files whose bytes were compared with the catalog.
        model_hash: SHA-256 of the weights.
        difference: Relative difference of the features from the fingerprint.
    """

    folder: Path
    name: str | None
    entry: CatalogEntry | None
    files: tuple[str, ...]
    model_hash: str
    difference: float

    def __str__(self) -> str:
        if self.entry:
            files = f"{', '.join(self.files)}: as published ({self.entry.pinned_id})"
        else:
            files = f"not compared: no published model has {self.model_hash[:12]}..."
        compared = f"difference {self.difference:.1e}, allowed {FINGERPRINT_TOLERANCE:.0e}"
        return "\n".join(
            [
                f"{self.folder}",
                f"  files     {files}",
                "  weights   every tensor fits the config",
                f"  features  as exported ({compared})",
                f"Verified: {self.name}." if self.name else "Verified against its own export.",
            ]
        )


def pull_model(
    name: str,
    out: str | os.PathLike[str],
    *,
    catalog: Catalog | str | os.PathLike[str] | None = None,
) -> ModelVerification:
    """Downloads a published model, of the catalog's commit, into a folder of its own.

    The folder is written under a temporary name and renamed when everything is verified. An
    interrupted download is resumed.

    Args:
        name: Name in the catalog.
        out: New folder. If it holds this very model, that is verified and nothing is downloaded.
        catalog: Catalog, or its file; None is the zoo's own.

    Raises:
        ModelError: If a file cannot be downloaded, or differs from the catalog.
        UsageError: If the catalog has no such model, or `out` holds something else.
    """
    catalog, out = _catalog(catalog), Path(out)
    entry = _entry(name, catalog)
    with output_lock(out, temporary_beside(out), wait=MOMENT):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            if not (out / CONFIG).is_file() or not (out / WEIGHTS).is_file():
                raise UsageError(f"{out} holds something else. Choose another folder with --out.")
            return verify_model(out, catalog=catalog, name=name)
        source = _download(name, entry)
        remedy = "Choose another folder with --out."
        with explain_write_errors(out, remedy), new_folder(out) as temporary:
            for file in entry.files:
                shutil.copyfile(source / file, temporary / file)
            check_model_folder(temporary, allowed=NEEDED + OPTIONAL)
            found = _verify(temporary, name, entry)
    return replace(found, folder=out)


def verify_model(
    source: str | os.PathLike[str],
    *,
    catalog: Catalog | str | os.PathLike[str] | None = None,
    name: str | None = None,
) -> ModelVerification:
    """Verifies that a model is what was published, or at least what was exported.

    Args:
        source: Folder (an export, a run, or one that `pull_model` wrote), name of a published
            model, or `org/name[@revision]` on the Hub. The first that exists is taken.
        catalog: Catalog, or its file; None is the zoo's own.
        name: Published model that it has to be. Without it, a model with none of the catalog's
            weights is compared with its own fingerprint alone.

    Raises:
        ModelError: If the model cannot be downloaded, or is not what was published.
        UsageError: If there is no such model.
    """
    catalog = _catalog(catalog)
    if name is not None:
        _entry(name, catalog)  # a wrong name is reported before a download
    if Path(source).exists():
        folder = find_model(source)
        check_model_folder(folder, allowed=NEEDED + OPTIONAL)
        known = catalog.with_weights(sha256_of(folder / WEIGHTS))
    elif str(source) in catalog.models:
        known = (str(source), catalog.models[str(source)])
        folder = _download(*known)
    else:
        hub_id = parse_id(str(source))
        if hub_id is None:
            raise _unknown(str(source), catalog)
        folder = find_model(source)
        weights = catalog.with_weights(sha256_of(folder / WEIGHTS))
        known = catalog.at(hub_id.repo, folder.name) or weights
    if name is not None:
        known = (name, catalog.models[name])
    return _verify(folder, *(known or (None, None)))


def _catalog(given: Catalog | str | os.PathLike[str] | None) -> Catalog:
    return given if isinstance(given, Catalog) else read_catalog(given)


def _entry(name: str, catalog: Catalog) -> CatalogEntry:
    if name not in catalog.models:
        raise _unknown(name, catalog)
    return catalog.models[name]


def _unknown(name: str, catalog: Catalog) -> UsageError:
    if catalog.models:
        return unknown_name("model", name, catalog.models)
    return UsageError(
        f"No model {name!r}: the catalog has no published model yet. Give an existing folder, or "
        "org/name on the Hub."
    )


def _download(name: str, entry: CatalogEntry) -> Path:
    """Downloads a model of the catalog: its folder in the Hub's cache."""
    hub_id = HubId(entry.repo, entry.revision)
    for file, facts in _in_order(entry):
        path = fetch_file(hub_id, file, entry.revision, max_bytes=facts.size)
        _compare(path, facts.sha256, name)
    return path.parent


def _in_order(entry: CatalogEntry) -> list[tuple[str, FileFacts]]:
    """The config first and the weights last: they are downloaded only if all else is right."""
    return sorted(entry.files.items(), key=lambda f: (f[0] != CONFIG, f[0] == WEIGHTS, f[0]))


def _verify(folder: Path, name: str | None, entry: CatalogEntry | None) -> ModelVerification:
    compared = []
    for file, facts in _in_order(entry) if entry else ():
        # Card and recipe may be left out of a copy; nothing is loaded from them.
        if (folder / file).exists() or file in (CONFIG, WEIGHTS):
            _compare(folder / file, facts.sha256, str(name))
            compared.append(file)
    encoder = create_model(folder)
    found = compare_fingerprint(encoder)
    if not found.equal:
        raise ModelError(
            f"{folder} gives other features than when it was exported: they differ by "
            f"{found.difference:.1e} of their length, and {FINGERPRINT_TOLERANCE:.0e} is allowed. "
            "The files are damaged or were changed, or timm or torch compute another network from "
            "them."
        )
    return ModelVerification(
        folder, name, entry, tuple(compared), encoder.model_hash, found.difference
    )


def _compare(path: Path, sha256: str, name: str) -> None:
    if not path.is_file():
        raise ModelError(f"{path} is missing, so {path.parent} is not {name}.")
    found = sha256_of(path)
    if found != sha256:
        raise ModelError(
            f"{path} is not the {path.name} of {name}: its SHA-256 begins with {found[:12]}, the "
            f"catalog's with {sha256[:12]}. It was damaged or changed."
        )
