"""Values of the environment that the Hub's client cannot use: it reads them when it is imported."""

from __future__ import annotations

import os
import traceback

from georank_zoo.utils.errors import plain

_CLIENT = f"{os.sep}huggingface_hub{os.sep}"
_MODULE = "<module>"


def explain_environment(error: BaseException) -> str | None:
    """Which variables to look at if the client could not be imported; None for other errors.

    Args:
        error: What was raised.
    """
    if not isinstance(error, ValueError):
        return None
    frames = traceback.extract_tb(error.__traceback__)
    if not any(_CLIENT in frame.filename and frame.name == _MODULE for frame in frames):
        return None
    names = ", ".join(sorted(name for name in os.environ if name.startswith("HF_")))
    return (
        f"A variable of the environment holds what huggingface_hub cannot use ({plain(error, 200)})"
        f". Set here: {names or 'none'}. An address must read https://HOST, and a time must be a "
        "whole number of seconds. Correct or unset it."
    )
