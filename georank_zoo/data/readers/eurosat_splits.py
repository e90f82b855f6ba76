"""EuroSAT's published splits: lists of file names, three to a split."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import cast

from georank_zoo.data.patch import Role
from georank_zoo.errors import UsageError
from georank_zoo.tasks.eurosat import CLASSES, LISTS, LISTS_SOURCE


def read_splits(folder: str | Path) -> dict[str, dict[str, Role]]:
    """Reads those of the published splits whose lists lie in a folder.

    A result names its split, so a list of that name must be the published one, to the byte.

    Returns:
        By split, the part of each patch by its name without extension (`AnnualCrop_1`).

    Raises:
        UsageError: If there is no list, one of a split is missing, is not the published one or
            names what is no patch, or a patch stands in two of them.
    """
    folder = Path(folder)
    found = {
        split: _read_split(folder, split)
        for split, lists in LISTS.items()
        if any((folder / name).is_file() for name, _ in lists.values())
    }
    if not found:
        names = ", ".join(name for lists in LISTS.values() for name, _ in lists.values())
        raise UsageError(f"{folder} holds none of the lists {names}. They lie at {LISTS_SOURCE}.")
    return found


def _read_split(folder: Path, split: str) -> dict[str, Role]:
    roles: dict[str, Role] = {}
    for role, (name, md5) in LISTS[split].items():
        for patch in _read_list(folder / name, split, md5):
            if patch in roles:
                other, _ = LISTS[split][roles[patch]]
                raise UsageError(
                    f"Split {split} overlaps: {patch} stands in {folder / other} and, again, in "
                    f"{folder / name}."
                )
            roles[patch] = cast(Role, role)
    return roles


def _read_list(path: Path, split: str, md5: str) -> list[str]:
    if not path.is_file():
        raise UsageError(f"Split {split} lacks the list {path}. It lies at {LISTS_SOURCE}.")
    content = path.read_bytes()
    names = [line.strip() for line in content.decode("utf-8", "replace").splitlines()]
    patches = [name.rpartition(".")[0] for name in names if name]
    unknown = [patch for patch in patches if patch.rpartition("_")[0] not in CLASSES]
    if unknown or not patches:
        example = f" ({unknown[0] or names[0]!r})" if unknown else ""
        raise UsageError(f"{path} is no list of EuroSAT's files{example}.")
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise UsageError(
            f"{path} is not the published list of split {split}: its MD5 is {found}, not {md5}. "
            f"Fetch it from {LISTS_SOURCE}."
        )
    return patches
