"""What is known of a data set that can be downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Checksum:
    """What a file's content must hash to.

    Attributes:
        algorithm: `sha256` or, where nothing else is published, `md5`.
        hexdigest: As lower-case hex digits.
        published: False if the server tells it before the download and nobody else does.
    """

    algorithm: Literal["sha256", "md5"]
    hexdigest: str
    published: bool = True


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        path: Where it is put, relative to the data set's folder.
        url: None if it can only be fetched by hand.
        size: Bytes, if published.
        checksum: If published.
    """

    path: str
    url: str | None = None
    size: int | None = None
    checksum: Checksum | None = None


@dataclass(frozen=True)
class Archive:
    """One archive, which may be published in parts.

    Attributes:
        parts: In order.
        kind: Format of the parts put together.
        keep_root: Whether a folder that holds all the others belongs to the layout; if not, the
            content of the innermost such folder is what is kept.
        unpacked_bytes: Disk space that the content takes, for the check before the download.
    """

    parts: tuple[RemoteFile, ...]
    kind: Literal["zip", "tar.gz"]
    keep_root: bool = False
    unpacked_bytes: int | None = None


@dataclass(frozen=True)
class HubTree:
    """All files of a folder in a data set repository of the Hub, at a commit.

    The Hub lists them with their sizes and SHA-256.
    """

    repo: str
    revision: str
    folder: str


@dataclass(frozen=True)
class DataSource:
    """A data set: what is downloaded, under which terms, and what to do by hand.

    Attributes:
        name: Its name, which is its reader's name too.
        title: For people.
        license: License of the data, as far as it is stated.
        landing: Page of the data set.
        size: Size of the download, for people.
        files: Files that are used as they are.
        archive: Archive to unpack.
        tree: Folder of the Hub to copy.
        by_hand: Steps that lead to the same folder without this program; `{out}` is the folder.
        note: What to know before.
    """

    name: str
    title: str
    license: str
    landing: str
    size: str
    files: tuple[RemoteFile, ...] = ()
    archive: Archive | None = None
    tree: HubTree | None = None
    by_hand: tuple[str, ...] = ()
    note: str = ""

    @property
    def automatic(self) -> bool:
        """Whether all of it can be downloaded without a person."""
        parts = self.archive.parts if self.archive else ()
        return all(file.url for file in (*self.files, *parts))
