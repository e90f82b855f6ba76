"""What tables and features have in common: rows, and which column means what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from georank_zoo.utils.errors import UsageError, plain

# The first of each is the documented one, and counts before the others.
FILE = ("filename", "file", "path", "filepath")
LABEL = ("label", "class")
LATITUDE = ("lat", "latitude")
LONGITUDE = ("lon", "longitude", "lng", "long")


@dataclass(frozen=True)
class LabelRow:
    """A row of a table, or a feature.

    Attributes:
        where: Where it stands, for messages: `line 3`, `feature 3`.
        file: The file that it names; empty if none.
        label: Its label as it is written; empty if none.
        position: Latitude and longitude in degrees.
    """

    where: str
    file: str
    label: str
    position: tuple[float, float] | None = None


def find_column(columns: Sequence[str], names: Sequence[str], path: Path) -> str | None:
    """The one column of a meaning, or None.

    Args:
        columns: The columns as they are written.
        names: Names of the meaning, compared without case, spaces, underscores and hyphens.
        path: The file, for the message.

    Raises:
        UsageError: If several columns have it. Of a file's name and its path the name counts.
    """
    found = [column for column in columns if _bare(column) in names]
    documented = [column for column in found if _bare(column) == FILE[0]]
    found = documented if names is FILE and documented else found
    if len(found) > 1:
        raise UsageError(
            f"{path} has {len(found)} columns of one meaning: {quoted(found)}. Rename or remove "
            "all but one."
        )
    return found[0] if found else None


def quoted(names: Sequence[str]) -> str:
    """Names for a message."""
    shown = [f"'{plain(name)}'" for name in names[:20]]
    return ", ".join(shown + ["..."] * (len(names) > 20)) or "none"


def _bare(column: str) -> str:
    return re.sub(r"[\s_\-\"'\ufeff]+", "", column).casefold()
