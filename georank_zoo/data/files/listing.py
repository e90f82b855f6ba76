"""The files of a source folder, the same for all readers and for scenes.

Hidden and trash entries are passed over, links are followed, and what is named like data but
cannot be any is listed with a reason: nothing is lost without a word.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from georank_zoo.utils.errors import plain

logger = logging.getLogger(__name__)

# What file managers, archives and file servers keep for themselves, beside names with a dot.
_TRASH = frozenset(
    (
        "__macosx",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "lost+found",
        "@eadir",
        "@recycle",
        "#recycle",
        "#snapshot",
    )
)
# Of a link that leads nowhere, the name alone tells whether it was a file.
_FILE_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,6}$")

THE_FOLDER = "."  # names the listed folder itself


class BadEntry(NamedTuple):
    """What is named like data and cannot be read.

    Attributes:
        name: Path relative to the source folder, printable.
        reason: As of a `BadItem`.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Level:
    """What lies directly in a folder.

    Attributes:
        files: Names of regular files that were wanted, sorted.
        folders: Names of folders, sorted.
        linked: Those of the folders that are links.
        bad: What cannot be read, by name; `THE_FOLDER` if it is the folder itself.
        hidden: Number of hidden and trash entries.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...]
    linked: frozenset[str]
    bad: tuple[BadEntry, ...]
    hidden: int

    def bad_in(self, folder: str) -> list[BadEntry]:
        """What cannot be read, by path, given the folder's own (empty for the root)."""
        prefix = f"{folder}/" if folder else ""
        return [
            BadEntry(folder or entry if entry == THE_FOLDER else f"{prefix}{entry}", reason)
            for entry, reason in self.bad
        ]


@dataclass(frozen=True)
class Listing:
    """What lies below a folder.

    Attributes:
        root: The folder.
        names: Regular files of the wanted endings, as paths relative to the folder with `/`,
            sorted folder by folder.
        bad: What is named like one and cannot be read.
        hidden: Number of hidden and trash entries, which are not looked into.
    """

    root: Path
    names: tuple[str, ...]
    bad: tuple[BadEntry, ...] = ()
    hidden: int = 0

    @property
    def files(self) -> tuple[Path, ...]:
        """Paths of the files, made when they are asked for: a million take 500 MB."""
        return tuple(self.root / name for name in self.names)

    @property
    def hint(self) -> str:
        """Why there may be less than expected, in brackets after a space; empty if it is plain."""
        facts = [f"{name}: {reason}" for name, reason in self.bad[:3]]
        if self.hidden:
            facts.append(f"{self.hidden} hidden or trash entries are passed over")
        return f" ({'; '.join(facts)})" if facts else ""


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is not meant to be seen, such as `._a.tif`."""
    return name.startswith(".") or name.lower() in _TRASH


def has_suffix(name: str, suffixes: Collection[str]) -> bool:
    """Whether a name has one of these endings (lower case) in any case."""
    return name.lower().endswith(tuple(suffixes))


def list_level(
    folder: Path, wanted: Callable[[str], bool], *, folder_wanted: Callable[[str], bool] = bool
) -> Level:
    """Lists a folder without looking into those in it: one look, however many they are.

    Args:
        folder: The folder.
        wanted: Whether a file of this name is data.
        folder_wanted: Whether a folder of this name is; all by default.
    """
    files, folders, linked, bad, hidden = [], [], set(), [], 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    hidden += 1
                    continue
                kind = _kind(entry)
                if kind == "folder" and folder_wanted(entry.name):
                    folders.append(entry.name)
                    if entry.is_symlink():
                        linked.add(entry.name)
                elif kind == "file" and wanted(entry.name):
                    files.append(entry.name)
                elif kind not in ("folder", "file") and _may_be_data(
                    entry.name, kind, wanted, folder_wanted
                ):
                    bad.append(BadEntry(_printable(entry.name), kind))
    except OSError as error:
        bad.append(BadEntry(THE_FOLDER, f"unreadable folder: {error.strerror}"))
    return Level(
        tuple(sorted(files)), tuple(sorted(folders)), frozenset(linked), tuple(sorted(bad)), hidden
    )


def list_files(root: Path, suffixes: Collection[str]) -> Listing:
    """Lists the files below a folder.

    Links to files and folders are followed, out of the folder too. A folder is listed once: a
    link to one that is listed anyway, or that it lies in, adds nothing. Each name of a file counts.
    A folder that is named like a file is a folder; it is bad if no file lies in it.

    Args:
        root: The folder; it may be hidden itself.
        suffixes: Endings wanted, lower case, such as `.tif`; files in any case have them.
    """
    walk = _Walk(root, suffixes)
    walk.visit("")
    # Real folders come first, so that what a link shows anew is known.
    while walk.links:
        walk.links.sort(key=_order, reverse=True)
        walk.visit(walk.links.pop())
    walk.judge_folders_named_like_files()
    if walk.again:
        logger.warning(
            "%s: %d links lead to folders that are listed already, such as %s: left out.",
            root, len(walk.again), walk.again[0],
        )  # fmt: skip
    names = tuple(sorted(walk.names, key=_order))
    return Listing(root, names, tuple(sorted(walk.bad)), walk.hidden)


class _Walk:
    """The state of one listing."""

    def __init__(self, root: Path, suffixes: Collection[str]) -> None:
        self.root, self.suffixes = root, tuple(suffixes)
        self.names: list[str] = []
        self.bad: list[BadEntry] = []
        self.links: list[str] = []  # folders yet to be followed
        self.again: list[str] = []
        self.hidden = 0
        self._named_like_files: list[str] = []
        self._seen: set[tuple[int, int]] = set()

    def visit(self, start: str) -> None:
        """Lists a folder and all real ones below; those that are links wait."""
        waiting = [start]
        while waiting:
            name = waiting.pop()
            try:
                status = (self.root / name).stat()
            except OSError as error:
                self.bad.append(BadEntry(name, f"unreadable folder: {error.strerror}"))
                continue
            if (identity := (status.st_dev, status.st_ino)) in self._seen:
                self.again.append(name)
                continue
            self._seen.add(identity)
            self._list(name, waiting)

    def _list(self, name: str, waiting: list[str]) -> None:
        prefix = f"{name}/" if name else ""
        level = list_level(self.root / name, self._wanted)
        self.names += [f"{prefix}{file}" for file in level.files]
        self.hidden += level.hidden
        self.bad += level.bad_in(name)
        for folder in level.folders:
            (self.links if folder in level.linked else waiting).append(f"{prefix}{folder}")
            if self._wanted(folder):
                self._named_like_files.append(f"{prefix}{folder}")

    def _wanted(self, name: str) -> bool:
        return has_suffix(name, self.suffixes)

    def judge_folders_named_like_files(self) -> None:
        """Says what became of `x.tif` that is a folder."""
        if not self._named_like_files:
            return
        parts = [name.split("/") for name in self.names]
        used = {"/".join(name[:depth]) for name in parts for depth in range(1, len(name))}
        known = {name for name, _ in self.bad} | set(self.again)
        for name in self._named_like_files:
            if name not in used | known:
                self.bad.append(BadEntry(name, "a folder, not a file"))
        if read := [name for name in self._named_like_files if name in used]:
            logger.warning(
                "%s: %d folders are named like files, such as %s: the files in them are read.",
                self.root, len(read), read[0],
            )  # fmt: skip


def _kind(entry: os.DirEntry[str]) -> str:
    """`file`, `folder`, or why it is neither."""
    if not _is_text(entry.name):
        return "name is not UTF-8"
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        if entry.is_symlink() and not Path(entry.path).exists():
            return "dangling link"
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "dangling link"
        # Such as a link into a folder that is not the user's to read.
        return f"unreadable name: {error.strerror}"
    return "not a regular file"


def _may_be_data(
    name: str, kind: str, wanted: Callable[[str], bool], folder_wanted: Callable[[str], bool]
) -> bool:
    if wanted(name):
        return True
    # It may have been a folder of data, unless it is a socket or named like another file.
    return (
        kind != "not a regular file" and not _FILE_ENDING.search(name) and bool(folder_wanted(name))
    )


def _order(name: str) -> list[str]:
    return name.split("/")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(name: str) -> str:
    return plain(os.fsencode(name).decode(errors="backslashreplace"), 4096)
