"""Lines on the screen."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from types import TracebackType

import click

_PYTHONS_FORM = warnings.formatwarning


def say(text: str, *, err: bool = False) -> None:
    """Shows lines; what a stranger wrote in them is no command to the terminal."""
    from georank_zoo.utils.untrusted_text import terminal_text

    click.echo(terminal_text(text), err=err)


class PrintableFormatter(logging.Formatter):
    """The form of warnings: the same gate."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        from georank_zoo.utils.untrusted_text import terminal_text

        return terminal_text(super().format(record))


def show_warnings() -> None:
    """Sends warnings of the library to stderr, unless the program has its own logging."""
    if not logging.root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(PrintableFormatter())
        logging.root.addHandler(handler)


def guard_python() -> None:
    """Sends what Python itself writes, its warnings and tracebacks, through the gate."""
    warnings.formatwarning = _format_warning
    sys.excepthook = _show_traceback


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int,
    line: str | None = None,
) -> str:  # fmt: skip
    from georank_zoo.utils.untrusted_text import terminal_text

    return terminal_text(_PYTHONS_FORM(message, category, filename, lineno, line))


def _show_traceback(
    kind: type[BaseException], error: BaseException, where: TracebackType | None
) -> None:
    say("".join(traceback.format_exception(kind, error, where)).rstrip("\n"), err=True)
