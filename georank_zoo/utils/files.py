"""Files: atomic writes, full disks, links, hashes and the cache."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from georank_zoo.utils.errors import GeorankError


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary file in the folder of `path`, renamed to `path` when the block succeeds.

    So nobody ever sees half of a file, whatever is killed when. Its mode follows the umask:
    safetensors, for one, writes for the owner only.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)
        _sync(temporary)
        temporary.replace(path)
    except SafetensorError as error:
        # safetensors writes in Rust and passes a full disk's error number on as text only.
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder next to `path`, renamed to `path` when the block succeeds.

    An existing `path` is replaced then, and only then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
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
    """Renames a folder to `path`; a folder there before is deleted after the renaming only."""
    aside = path.with_name(f".{path.name}.old.tmp")
    if path.exists():
        # Left by a kill after the second rename; without `path` it may be all there is.
        _delete(aside)
        path.rename(aside)
    try:
        new.rename(path)
    finally:
        if aside.exists() and not path.exists():
            aside.rename(path)
    _delete(aside)


@contextmanager
def explain_disk_full(path: Path, remedy: str) -> Iterator[None]:
    """Turns the system's error on a full disk into one that names the file and the remedy.

    Args:
        path: File or folder that the block writes.
        remedy: Sentence that says what to do.

    Raises:
        GeorankError: In place of the system's error; other errors pass.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise GeorankError(f"The disk is full at {path}. {remedy}") from error
        raise


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


def _delete(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _sync(file: Path) -> None:
    # A rename can reach the disk before the content does, and then names an empty file.
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
