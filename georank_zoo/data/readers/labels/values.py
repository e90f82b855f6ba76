"""What a label is: missing words, numbers, the spelling and the order of classes."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

# What pandas, geopandas, R and spreadsheets write for nothing; compared without case.
_NOTHING = frozenset(
    ("", "none", "nan", "-nan", "na", "n/a", "<na>", "null", "nat", "#n/a", "#na", "#value!")
)
# A code such as 007 stays as it is, and so does 1.10, which is not 1.1 in a legend.
_WHOLE = re.compile(r"([+-]?(?:0|[1-9]\d*))\.0*(?:[eE][+-]?00+)?", re.ASCII)
# numpy.savetxt writes 2 as 2.000000000000000000e+00, and 12 as 1.2...e+01.
_SCIENTIFIC = re.compile(r"[+-]?\d\.\d+[eE][+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)
_EXACT = 2**53  # whole numbers up to here are exact in float64


def class_of(text: str) -> str | None:
    """The class that a cell names, or None where it names none.

    Empty, None, nan, NA, N/A, <NA> and null, in any case, are none. Whole numbers are written
    without decimals: 1.0 is 1. Equal letters have one encoding (Unicode NFC).
    """
    name = folder_class(text)
    return None if name.casefold() in _NOTHING else name


def folder_class(name: str) -> str:
    """The class of a folder's name, which is a name even where it reads NA or None."""
    name = unicodedata.normalize("NFC", name).strip("\ufeff").strip()
    if whole := _WHOLE.fullmatch(name):
        number = whole[1].removeprefix("+")
        return "0" if number == "-0" else number
    if _SCIENTIFIC.fullmatch(name) and (value := float(name)).is_integer() and abs(value) < _EXACT:
        return str(int(value))
    return name


def whole_numbers(names: Iterable[str]) -> tuple[int, ...] | None:
    """The numbers that all the classes are; None if one of them is no whole number."""
    names = tuple(names)
    if not names or not all(re.fullmatch(r"-?(?:0|[1-9]\d{0,17})", n, re.ASCII) for n in names):
        return None
    return tuple(int(name) for name in names)


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """The classes 0, 1, ...: numbers by their value, then other names in alphabetical order."""

    def key(name: str) -> tuple[bool, float, str]:
        is_number = _NUMBER.fullmatch(name) is not None
        return (not is_number, float(name) if is_number else 0.0, name)

    return tuple(sorted(set(names), key=key))


def look_alikes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Classes that differ only in case, spaces, underscores, hyphens or leading zeros."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        bare = re.sub(r"[\s_-]+", " ", name.casefold())
        groups[bare.lstrip("0") or "0" if bare.isdecimal() else bare].append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]
