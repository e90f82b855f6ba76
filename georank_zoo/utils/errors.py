"""Errors with a message for the user, and the exit code of each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Messages take names of strangers through these.
from georank_zoo.utils.untrusted_text import brief as brief
from georank_zoo.utils.untrusted_text import plain as plain
from georank_zoo.utils.untrusted_text import printable as printable
from georank_zoo.utils.untrusted_text import terminal_text


class GeorankError(Exception):
    """Base of the errors whose message explains what failed and what to do.

    The names of files and the like in it are shown, and not obeyed; see `untrusted_text`.
    """

    exit_code = 1
    said_elsewhere = False  # by another process of the same run

    def __str__(self) -> str:
        return terminal_text(super().__str__())


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
