"""Files: atomic writes, links, hashes and the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from georank_zoo.utils.leftovers import delete, old_beside, temporary_beside
from georank_zoo.utils.locks import MOMENT, holds, output_lock
from georank_zoo.utils.write_errors import explain_write_errors


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary file in the folder of `path`, renamed to `path` when the block succeeds.

    So nobody ever sees half of a file, whatever is killed when. Its mode is that of the file that
    it replaces, or follows the umask: safetensors, for one, writes for the owner only.
    Where the output is not locked yet, it is.

    Raises:
        GeorankError: If the disk is full, nothing may be written there or another process writes
            the file.
    """
    temporary = temporary_beside(path)
    with _alone(path), explain_write_errors(path):
        try:
            temporary.touch()
            mode = (path if path.exists() else temporary).stat().st_mode
            yield temporary
            temporary.chmod(mode)
            _sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder next to `path`, renamed to `path` when the block succeeds.

    An existing `path` is replaced then, and only then. Where the output is not locked yet, it is.

    Raises:
        GeorankError: As `new_file`.
    """
    temporary = temporary_beside(path)
    with _alone(path, temporary), explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        delete(temporary)
        temporary.mkdir()
        try:
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _sync(file)
            replace_folder(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(new: Path, path: Path) -> None:
    """Renames a folder to `path`; a folder there before is deleted after the renaming only.

    The caller holds the lock of `path`; a kill between the two renamings is mended by the next to
    take it.
    """
    old = old_beside(path)
    if path.exists():
        # Left by a kill after the second rename; without `path` it may be all there is.
        delete(old)
        path.rename(old)
    try:
        new.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
    delete(old)


def leads_out(path: Path) -> bool:
    """Whether an existing file is a link to somewhere outside its folder.

    A snapshot in the Hub's cache is a folder of links to `../../blobs`, and that is its own.
    """
    if not path.is_symlink():
        return False
    home = path.parent.resolve()
    target = Path(os.path.normpath(home / path.readlink()))
    if home.parent.name == "snapshots" and target.parent == home.parent.parent / "blobs":
        return False
    return not path.resolve().is_relative_to(home)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """The cache of georank-zoo, in `XDG_CACHE_HOME` or, by default, `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "georank-zoo"


def _alone(path: Path, *beside: Path) -> AbstractContextManager[object]:
    """The output's lock, or nothing in a folder whose lock is held."""
    if holds(path.parent):
        return nullcontext()
    return output_lock(path, *beside, wait=MOMENT)


def _sync(file: Path) -> None:
    # A rename can reach the disk before the content does, and then names an empty file.
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
