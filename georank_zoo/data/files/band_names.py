"""Which band a channel or a file is."""

from __future__ import annotations

from collections.abc import Sequence

from georank_zoo import bands as s2
from georank_zoo.utils.errors import UsageError


def band_names(descriptions: Sequence[str | None]) -> tuple[str, ...] | None:
    """The described bands, canonical where they are Sentinel-2's; None if none of them is."""
    if not all(descriptions):
        return None
    names = []
    for text in descriptions:
        try:
            names.append(s2.canonical(str(text)))
        except UsageError:
            names.append(str(text))
    # "Band 1" or "1" says no more than no description.
    return tuple(names) if set(names) & set(s2.BY_NAME) else None
