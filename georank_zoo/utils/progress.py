"""Progress of long work: callbacks, and the bar of Python and notebooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from tqdm.auto import tqdm

BAR_DELAY_S = 1.0  # work that is done sooner shows no bar

OnProgress = Callable[[int, int | None, str], None]
"""Called with the units done, their total if it is known, and a note such as a file's name."""


@contextmanager
def progress_bar(title: str, on_progress: OnProgress | None, *, show: bool) -> Iterator[OnProgress]:
    """The callback that long work reports to.

    Args:
        title: What is being done.
        on_progress: The caller's own callback, which is then the one; None takes a bar.
        show: Whether to show the bar, which appears after a second.

    Yields:
        The callback.
    """
    if on_progress is not None:
        yield on_progress
        return
    with tqdm(desc=title, disable=not show, delay=BAR_DELAY_S) as bar:

        def update(done: int, total: int | None, note: str = "") -> None:
            bar.total = total
            bar.set_postfix_str(note, refresh=False)
            bar.update(done - bar.n)

        yield update


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


class TrainingBar:
    """A bar with the losses of a run, for Python and notebooks.

    Args:
        title: Name of the run.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: Any = None

    def start(self, total: int, done: int) -> None:
        """Shows the bar."""
        self._bar = tqdm(desc=self._title, total=total, initial=done, unit="step")

    def advance(self, step: int, metrics: dict[str, float]) -> None:
        """Shows the step and the losses."""
        losses = {k.removeprefix("loss_"): v for k, v in metrics.items() if k.startswith("loss")}
        self._bar.set_postfix(losses, refresh=False)
        self._bar.update(step - self._bar.n)
        if step == self._bar.total:
            self._bar.close()

    def message(self, text: str) -> None:
        """Writes a line above the bar."""
        tqdm.write(text)
