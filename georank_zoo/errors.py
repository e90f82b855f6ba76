"""The errors that a user can cause, and how the command line ends on each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GeorankError(Exception):
    """Something failed for a reason that the message explains."""

    exit_code = 1


class UsageError(GeorankError, ValueError):
    """The caller asked for something that cannot be: wrong name, value or file."""

    exit_code = 2


class Interrupted(GeorankError):
    """The user stopped the work; the message says how to go on with it."""

    exit_code = 130


class RecipeError(UsageError):
    """A recipe does not follow the schema."""


class StoreError(GeorankError):
    """A patch store is missing, damaged or does not fit its use."""


class ModelError(GeorankError):
    """A model folder is missing, damaged, unsafe or does not reload exactly."""


class HubError(GeorankError):
    """The Hub refuses, does not answer, or holds something else than what was sent."""


def unknown_name(kind: str, name: object, valid: Iterable[str]) -> UsageError:
    """The error for a name that is not in a registry, with the nearest valid one."""
    choices = sorted(valid)
    close = difflib.get_close_matches(str(name).lower(), [c.lower() for c in choices], n=1)
    hint = next((f" Did you mean {c!r}?" for c in choices if close and c.lower() == close[0]), "")
    return UsageError(f"Unknown {kind} {name!r}.{hint} Choose from: {', '.join(choices)}.")
