"""Remembers the repositories that a push created private and has not opened yet.

On the Hub, one that an interrupted push left private looks like one that is private on purpose.
Only this note tells them apart; without it a repository stays as it is.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from huggingface_hub import constants

from georank_zoo.files import write_text
from georank_zoo.geo_clusters import cache_folder


def remember_unopened(repo: str) -> None:
    """Notes, before a repository is created, that it is to be public in the end."""
    path = _note(repo)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, f"{constants.ENDPOINT}/{repo}\n")


def is_unopened(repo: str) -> bool:
    """Whether a push of ours created this repository and did not come to open it."""
    return _note(repo).is_file()


def forget_unopened(repo: str) -> None:
    """The repository is as it was wanted."""
    _note(repo).unlink(missing_ok=True)


def _note(repo: str) -> Path:
    name = hashlib.sha256(f"{constants.ENDPOINT}/{repo}".encode()).hexdigest()
    return cache_folder() / "unopened" / name
