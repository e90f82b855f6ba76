"""The files of a source folder, the same for all readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Listing:
    """What lies in a folder.

    Attributes:
        files: Regular files of the wanted endings, sorted by their path relative to the folder.
    """

    files: tuple[Path, ...]


def list_files(root: Path, suffixes: Sequence[str]) -> Listing:
    """Lists the files below a folder.

    Args:
        root: The folder.
        suffixes: Endings wanted, lower case, such as `.tif`; files in any case have them.
    """
    found = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )
    return Listing(tuple(found))
