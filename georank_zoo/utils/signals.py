"""Signals that end a command: what has been done is kept, and a word says how to go on."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

# A closed terminal and a scheduler's notice end a command like Ctrl-C.
ENDING = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
_received: list[int] = []
# Within this time a second signal is the first one, passed on.
_AGAIN_S = 2.0


def exit_code() -> int:
    """128 and the number of the signal that ended the work; that of SIGINT where none is known."""
    return 128 + (_received[-1] if _received else signal.SIGINT)


@contextmanager
def ending_as_interrupt() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP raise KeyboardInterrupt in the block, as Ctrl-C does.

    So whatever cleans up after Ctrl-C does so when a scheduler ends the command. What is ignored,
    as under `nohup`, stays so.
    """

    def interrupt(number: int, _frame: FrameType | None) -> None:
        _received.append(number)
        signal.signal(number, signal.SIG_IGN)  # the clean-up is not to be cut short
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in ENDING[1:]:
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def note(number: int) -> None:
    """Notes a signal that another process of the same work has received."""
    _received.append(number)


class StopSignal:
    """Turns SIGINT, SIGTERM and SIGHUP into a request, while the block runs.

    A second Ctrl-C is immediate. What else follows is the same request again: launchers pass on
    what a scheduler or a terminal has sent to each process as well.

    A run that stops between steps can save its state; schedulers send SIGTERM before they kill.

    Attributes:
        number: Number of the signal that asked to stop, or 0.
    """

    def __init__(self) -> None:
        self.number = 0
        self._since = 0.0
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether to stop."""
        return self.number > 0

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def _request(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.number:
            _received.append(number)
            self.number, self._since = number, now
        elif number == signal.SIGINT and now - self._since > _AGAIN_S:
            raise KeyboardInterrupt

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
