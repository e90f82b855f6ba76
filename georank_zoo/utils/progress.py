"""Progress of long work: callbacks, and the bar of Python and notebooks."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from tqdm.std import TqdmWarning

with warnings.catch_warnings():  # without ipywidgets the bar is text, in a notebook too
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm

# Without a rate: units of work differ from one task to the next, such as shares of a job.
_SHARE = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
BAR_DELAY_S = 1.0  # work that is done sooner shows no bar

OnProgress = Callable[[int, int | None, str], None]
"""Called with the units done, their total if it is known, and a note such as a file's name."""


@contextmanager
def progress_bar(title: str, on_progress: OnProgress | None, *, show: bool) -> Iterator[OnProgress]:
    """The callback that long work reports to.

    Args:
        title: Name of the work.
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
            bar.bar_format = _SHARE if total else None
            bar.set_postfix_str(note, refresh=False)
            bar.update(done - bar.n)

        yield update


class Reporter(Protocol):
    """Progress display of a training run."""

    def start(self, total: int, done: int) -> None:
        """The run begins, `done` of `total` steps being taken already."""

    def advance(self, step: int, metrics: dict[str, float]) -> None:
        """Steps were taken; `metrics` are the means over them."""

    def message(self, text: str) -> None:
        """Something worth a line happened."""

    def close(self) -> None:
        """The run ended or failed; nothing follows."""


class Silent:
    """A display that shows nothing."""

    def start(self, total: int, done: int) -> None:
        """Ignores it."""

    def advance(self, step: int, metrics: dict[str, float]) -> None:
        """Ignores it."""

    def message(self, text: str) -> None:
        """Ignores it."""

    def close(self) -> None:
        """Ignores it."""


class TrainingBar:
    """A bar with the losses and the speed of a run, on stderr or in a notebook.

    Args:
        title: Name of the run.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: Any = None

    def start(self, total: int, done: int) -> None:
        """Shows the bar."""
        self._bar = tqdm(
            desc=self._title, total=total, initial=done, unit="step", dynamic_ncols=True
        )

    def advance(self, step: int, metrics: dict[str, float]) -> None:
        """Shows the step, the losses and the images per second."""
        self._bar.set_postfix_str(training_note(metrics), refresh=False)
        self._bar.update(step - self._bar.n)

    def message(self, text: str) -> None:
        """Writes a line above the bar."""
        tqdm.write(text, file=sys.stderr)  # stdout is for results

    def close(self) -> None:
        """Leaves the bar as it is; without it, a notebook would show an interrupted run as live."""
        if self._bar is not None:
            self._bar.close()


def training_note(metrics: dict[str, float]) -> str:
    """Losses and images per second in a few words."""
    losses = [
        f"{name.removeprefix('loss_')} {value:.3f}"
        for name, value in metrics.items()
        if name.startswith("loss")
    ]
    return " ".join([*losses, f"{metrics['images_per_s']:.0f} img/s"])
