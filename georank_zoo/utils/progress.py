"""How a run tells of its progress; only the command line has a reporter that prints."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Shows the progress of a run."""

    def start(self, total: int, done: int) -> None:
        """The run begins, `done` of `total` steps being taken already."""

    def advance(self, step: int, metrics: dict[str, float]) -> None:
        """Steps were taken; `metrics` are the means over them."""

    def message(self, text: str) -> None:
        """Something worth a line happened."""


class Silent:
    """Shows nothing."""

    def start(self, total: int, done: int) -> None:
        """Ignores it."""

    def advance(self, step: int, metrics: dict[str, float]) -> None:
        """Ignores it."""

    def message(self, text: str) -> None:
        """Ignores it."""
