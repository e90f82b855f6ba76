"""Lines on the screen."""

from __future__ import annotations

import logging

import click


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
