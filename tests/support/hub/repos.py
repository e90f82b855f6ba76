"""Users, repositories, commits and blobs of the local Hub."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

# As the Hub's .gitattributes of a new repository has it, as far as tests use them.
LARGE = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".tar", ".zip"}
GITATTRIBUTES = "".join(f"*{s} filter=lfs diff=lfs merge=lfs -text\n" for s in sorted(LARGE))

_numbers = itertools.count()


@dataclass(frozen=True)
class User:
    """Who a token stands for.

    Attributes:
        orgs: Role (`admin`, `write`, `contributor` or `read`) by organization.
        role: What the token may do: `read` or `write`.
    """

    name: str
    orgs: dict[str, str] = field(default_factory=dict)
    role: str = "write"

    def belongs_to(self, namespace: str) -> bool:
        return namespace == self.name or namespace in self.orgs

    def may_write(self, namespace: str) -> bool:
        own = namespace == self.name or self.orgs.get(namespace) in ("admin", "write")
        return own and self.role == "write"


@dataclass(frozen=True)
class Blob:
    """A file's content; a large one lies in storage and is named by its SHA-256."""

    content: bytes
    large: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def blob_id(self) -> str:
        """Git's SHA-1 of the file, or of the pointer to it that git sees."""
        if not self.large:
            return git_sha1(self.content)
        return git_sha1(
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\n"
            f"size {len(self.content)}\n".encode()
        )

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.blob_id

    @property
    def lfs(self) -> dict[str, Any] | None:
        if not self.large:
            return None
        return {"sha256": self.sha256, "size": len(self.content), "pointerSize": 134}


def git_sha1(content: bytes) -> str:
    sha = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return sha.hexdigest()


def is_large(path: str) -> bool:
    return PurePosixPath(path).suffix in LARGE


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    title: str
    files: dict[str, Blob]


@dataclass
class Repo:
    """A model repository; a new one has a first commit with `.gitattributes`, as on the Hub."""

    name: str
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.commit(
            "main", "initial commit", {".gitattributes": Blob(GITATTRIBUTES.encode(), False)}
        )

    @property
    def namespace(self) -> str:
        return self.name.split("/")[0]

    @property
    def head(self) -> Commit:
        return self.commits[self.branches["main"]]

    def at(self, revision: str) -> Commit | None:
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(oid)

    def commit(self, branch: str, title: str, files: dict[str, Blob]) -> Commit:
        """Adds a commit that holds exactly these files."""
        parent = self.branches.get(branch)
        oid = hashlib.sha1(
            f"{self.name} {next(_numbers)} {title}".encode(), usedforsecurity=False
        ).hexdigest()
        self.commits[oid] = Commit(oid, parent, title, dict(files))
        self.branches[branch] = oid
        return self.commits[oid]

    def history(self, revision: str) -> list[Commit]:
        """Commits up to a revision, the newest first."""
        found: list[Commit] = []
        commit = self.at(revision)
        while commit:
            found.append(commit)
            commit = self.commits.get(commit.parent or "")
        return found
