"""Fifos that tell whether somebody waits at them, and let go of whoever does."""

from __future__ import annotations

import os
import threading
from pathlib import Path


class Fifo:
    """A fifo in the place of a file; `opened` says whether it was opened for reading.

    Args:
        path: Where it is to lie; a file that lies there is removed.
    """

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        self.opened = False
        self._path = path
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Fifo:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            if not self._path.is_fifo():  # a command has written another file over it
                return
            try:
                # It succeeds only if somebody waits to read, who is given an empty file.
                os.close(os.open(self._path, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                continue
            self.opened = True
