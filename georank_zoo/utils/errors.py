"""Errors with a message for the user, and the exit code of each."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable

# Line ends, and the joiners without which Persian words and some emoji fall apart.
_SHOWN = "\n\u200c\u200d"


class GeorankError(Exception):
    """Base of the errors whose message explains what failed and what to do."""

    exit_code = 1
    said_elsewhere = False  # by another process of the same run


class UsageError(GeorankError, ValueError):
    """A wrong name, value or file was given."""

    exit_code = 2


class Interrupted(GeorankError):
    """The user stopped the work; the message says how to continue it."""

    exit_code = 130


class RecipeError(UsageError):
    """A recipe does not follow the schema."""


class StoreError(GeorankError):
    """A patch store is missing, damaged or does not fit its use."""


class BadItem(GeorankError):
    """A source item cannot be used. The message reads `kind` or `kind: detail`.

    Reports group reasons by the kind, so it names no file and no number.
    """


class DownloadError(GeorankError):
    """A data set could not be downloaded or unpacked, or what was downloaded is damaged."""


class ModelError(GeorankError):
    """A model folder is missing, damaged, unsafe or does not reload exactly."""


class HubError(GeorankError):
    """The Hub refuses, does not answer, or holds other content than was sent."""


def unknown_name(kind: str, name: object, valid: Iterable[str]) -> UsageError:
    """Error for a name that is not in a registry, with the nearest valid one.

    Args:
        kind: Kind of the name, such as `recipe`.
        name: Name that was given.
        valid: Valid names.
    """
    choices = sorted(valid)
    known = [choice.lower() for choice in choices]
    given = name[:80].lower() if isinstance(name, str) else ""
    close = difflib.get_close_matches(given, known, n=1)
    hint = next((f" Did you mean {c!r}?" for c in choices if close and c.lower() == close[0]), "")
    return UsageError(f"Unknown {kind} {brief(name)}.{hint} Choose from: {', '.join(choices)}.")


def plain(text: object, limit: int = 80) -> str:
    """Untrusted text for a message: short, on one line, without control characters.

    A name in a downloaded file may hold escape sequences that a terminal obeys.
    """
    escaped = printable(str(text)[: limit + 1]).replace("\n", r"\n")
    return escaped if len(escaped) <= limit else f"{escaped[: limit - 3]}..."


def printable(text: str) -> str:
    """Text of many lines whose other control characters are spelled out, and no letter changed."""
    return "".join(
        c if c.isprintable() or c in _SHOWN else c.encode("unicode_escape").decode() for c in text
    )


def brief(value: object, limit: int = 80) -> str:
    """Untrusted value for a message.

    Lists that hold each other many times, which a few lines of YAML can write, are not spelled out.
    """
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 3, limit, limit
    return plain(short.repr(value), limit)
