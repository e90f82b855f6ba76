"""The unfinished download of one file, which a later process can continue."""

from __future__ import annotations

import json
from pathlib import Path

from georank_zoo.utils.files import write_text

SUFFIX = ".partial"
_STATE_SUFFIX = ".partial.json"


class PartialFile:
    """`<target>.partial`, and beside it what was being downloaded.

    Args:
        target: The file that it will be.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + SUFFIX)
        self._state = target.with_name(target.name + _STATE_SUFFIX)

    def size(self) -> int:
        """Bytes that have arrived."""
        return self.path.stat().st_size if self.path.exists() else 0

    def validator(self, url: str, *, checked: bool) -> str:
        """What tells the server which version of the file was begun; empty if it gave nothing.

        Deletes the file if it may not be continued: it is of another URL, or neither a validator
        nor a checksum would tell two halves of different files from one.

        Args:
            url: What is to be downloaded.
            checked: Whether the whole file will be compared with a published checksum.
        """
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            validator = str(state["validator"])
            known = state["url"] == url and (validator != "" or checked)
        except (OSError, ValueError, KeyError, TypeError):
            known = False
        if not known:
            self.discard()
            return ""
        return validator

    def begin(self, url: str, validator: str) -> None:
        """Starts anew."""
        self.path.unlink(missing_ok=True)
        write_text(self._state, json.dumps({"url": url, "validator": validator}))

    def discard(self) -> None:
        """Deletes what has arrived."""
        self.path.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)

    def finish(self) -> None:
        """Renames it to the target."""
        self.path.replace(self.target)
        self._state.unlink(missing_ok=True)
