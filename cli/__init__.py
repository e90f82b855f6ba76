"""The command line: thin commands that parse, call the library and show."""

from __future__ import annotations

from .main import main

__all__ = ["main"]
