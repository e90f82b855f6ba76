"""The command line: thin commands that parse, call the library and show."""

from __future__ import annotations

import sys

try:
    from .main import main
except KeyboardInterrupt:  # this early there is nobody else to catch it
    sys.stderr.write("Interrupted.\n")
    sys.exit(130)

__all__ = ["main"]
