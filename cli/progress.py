"""Progress on the screen: a live line on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from georank_zoo.utils.progress import training_note
from georank_zoo.utils.untrusted_text import plain, terminal_text

# In a log, more lines than this would bury what matters.
LOG_SECONDS = 15.0


def quiet_hub_bars() -> None:
    """Keeps the Hub's own bars out of a log."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()


class Bar:
    """Progress of one piece of work, to stderr.

    Args:
        title: Name of the work.
        total: Units of work, if known.
    """

    def __init__(self, title: str, total: int | None = None) -> None:
        self._title = title = plain(title)
        self._console = Console(file=sys.stderr)
        self._live = self._console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._live,
        )
        self._task: TaskID = self._progress.add_task(title, total=total, note="")
        self._total = total
        self._written = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._progress.stop()

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Shows that `done` units of `total` are done."""
        note = plain(note, 300)
        self._total = total if total is not None else self._total
        self._progress.update(self._task, completed=done, total=self._total, note=note)
        finished = done == self._total
        if not self._live and (finished or time.monotonic() - self._written > LOG_SECONDS):
            self._written = time.monotonic()
            of = f"/{self._total}" if self._total is not None else ""
            line = f"{self._title}: {done}{of} {note}".rstrip()
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    def message(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(terminal_text(text), highlight=False, markup=False, soft_wrap=True)


class TrainingProgress(Bar):
    """The trainer's reporter: a bar with losses and images per second."""

    def __enter__(self) -> Self:
        # Not yet: of several processes only the one that reports shows a bar.
        return self

    def start(self, total: int, done: int) -> None:
        """The run begins."""
        self._progress.start()
        self.update(done, total)

    def advance(self, step: int, metrics: dict[str, float]) -> None:
        """Shows the losses and the speed."""
        self.update(step, note=training_note(metrics))
