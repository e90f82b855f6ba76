"""Writing files so that nobody ever sees half of one, whatever is killed when."""

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
def explain_disk_full(path: Path, remedy: str) -> Iterator[None]:
    """Says where a disk is full, and what to do; `write` alone does not even name the file.

    Raises:
        GeorankError: In place of the system's error; other errors pass.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise GeorankError(f"The disk is full at {path}. {remedy}") from error
        raise


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Gives a file to write beside `path`; renames it to `path` when the block succeeds.

    Its mode is what the umask says: safetensors, for one, writes for the owner only.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.touch()
        mode = beside.stat().st_mode
        yield beside
        beside.chmod(mode)
        _sync(beside)
        beside.replace(path)
    except SafetensorError as error:
        # safetensors writes in Rust and passes a full disk's error number on as text only.
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(path)) from error
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes beside, then renames."""
    with new_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Gives a folder to fill beside `path`; renames it to `path` when the block succeeds.

    An existing `path` is replaced then, and only then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        for file in beside.rglob("*"):
            if file.is_file():
                _sync(file)
        replace_folder(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def replace_folder(new: Path, path: Path) -> None:
    """Renames a folder to `path`; what stood there is deleted only once it has its place."""
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


def _delete(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _sync(file: Path) -> None:
    # A rename can reach the disk before the content does, and then names an empty file.
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Where fitted clusters are kept: under `XDG_CACHE_HOME`, by default `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "georank-zoo"
