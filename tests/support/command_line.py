"""The command line in this process."""

from __future__ import annotations

from georank_cli.main import _run


def run(*arguments: object) -> int:
    return _run([str(a) for a in arguments], False)
