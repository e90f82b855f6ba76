"""Ctrl-C, and a scheduler's SIGTERM, before the work begins."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_ENDING = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Lets a signal end the process at once where a command still imports its modules.

    There an exception is not safe: some libraries catch it, and others run into errors of their
    own that say nothing of Ctrl-C. Nothing has been begun yet that would need to be ended well.
    Elsewhere, signals do what they did before.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {int(number): signal.getsignal(number) for number in _ENDING}

    def handle(number: int, frame: FrameType | None) -> None:
        if _imports(frame):
            sys.stderr.write("Interrupted.\n")
            sys.stderr.flush()
            os._exit(128 + number)
        before[number](number, frame)

    for number, handler in before.items():
        if callable(handler):  # not what is ignored, as under `nohup`, or ends the process anyway
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)


def _imports(frame: FrameType | None) -> bool:
    """Whether a module of the command line, and no work of the library, waits for an import."""
    importer: FrameType | None = None
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            importer = frame.f_back
        frame = frame.f_back
    package = __name__.partition(".")[0]
    return importer is not None and importer.f_globals["__name__"].startswith(package)
