"""What the numbers of a file mean: scale and offset of each band, and who says so."""

from __future__ import annotations

from dataclasses import dataclass

from georank_zoo import bands as s2


@dataclass(frozen=True)
class Radiometry:
    """How the numbers of a file become reflectance: number * scale + offset, band by band.

    Attributes:
        scale: Reflectance per count (bands,), in channel order.
        offset: Reflectance at a number of zero (bands,), in channel order.
        source: What said so, in words, such as `processing baseline 05.09 in the name`.
    """

    scale: tuple[float, ...]
    offset: tuple[float, ...]
    source: str


def uniform(bands: int, *, offset: float = 0.0, source: str) -> Radiometry:
    """Digital numbers, reflectance = DN / 10000 + offset, in every band."""
    return Radiometry((1 / s2.DN_PER_REFLECTANCE,) * bands, (offset,) * bands, source)
