"""Ctrl-C before the work begins."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType


def end_quietly_during_imports() -> None:
    """Lets Ctrl-C end the process at once where a command still imports its modules.

    There an exception is not safe: some libraries catch it, and others run into errors of their
    own that say nothing of Ctrl-C. Nothing has been begun yet that would need to be ended well.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # ignored: `nohup`, `&`
    if usual and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _handle)


def _handle(number: int, frame: FrameType | None) -> None:
    if _imports(frame):
        sys.stderr.write("Interrupted.\n")
        sys.stderr.flush()
        os._exit(130)
    signal.default_int_handler(number, frame)


def _imports(frame: FrameType | None) -> bool:
    """Whether a module of the command line, and no work of the library, waits for an import."""
    importer: FrameType | None = None
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            importer = frame.f_back
        frame = frame.f_back
    package = __name__.partition(".")[0]
    return importer is not None and importer.f_globals["__name__"].startswith(package)
