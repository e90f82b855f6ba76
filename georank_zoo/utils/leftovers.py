"""Names under which outputs are filled before they are renamed, and what kills leave there."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

_LEFT = re.compile(r"\.(?P<name>.+)\.(\d+(-scratch)?|old)\.tmp", re.DOTALL)


def temporary_beside(path: Path) -> Path:
    """Name beside an output under which this process fills it before it is renamed."""
    return path.with_name(f".{short(path.name)}.{os.getpid()}.tmp")


def scratch_beside(path: Path) -> Path:
    """Name of a folder beside an output for what its making takes."""
    return path.with_name(f".{short(path.name)}.{os.getpid()}-scratch.tmp")


def old_beside(path: Path) -> Path:
    """Name beside a folder that it has while another takes its place."""
    return path.with_name(f".{short(path.name)}.old.tmp")


def short(name: str) -> str:
    """A name that leaves room for what is put around it: file systems allow 255 bytes."""
    return name if len(os.fsencode(name)) <= 200 else name[:40]


def clear_leftovers(path: Path) -> None:
    """Deletes what killed processes left of an output, whose lock this process holds.

    A folder that was about to be replaced when its process died gets its name back.
    """
    old = old_beside(path)
    if old.exists() and not path.exists():
        old.rename(path)
    for name, left in leftovers_in(path.parent):
        if name == short(path.name):
            delete(left)


def leftovers_in(folder: Path) -> list[tuple[str, Path]]:
    """The unfinished outputs in a folder: the (short) name of each, and where it lies."""
    names = []
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        names = [(entry.name, _LEFT.fullmatch(entry.name)) for entry in entries]
    return [(found["name"], folder / name) for name, found in names if found]


def delete(path: Path) -> None:
    """Deletes a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
