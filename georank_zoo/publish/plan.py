"""The plan of a push, made without writing anything to the Hub."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, ModelCard, constants
from rich.filesize import decimal

from georank_zoo.models.config import CARD
from georank_zoo.models.hub import parse_id
from georank_zoo.publish.checks import CheckedFolder, LocalFile
from georank_zoo.publish.repo import (
    MAIN,
    FileState,
    RemoteRepo,
    check_account,
    check_write,
    find_repo,
)
from georank_zoo.utils.errors import HubError, ModelError, UsageError, plain
from georank_zoo.utils.files import cache_folder, write_text
from georank_zoo.utils.hub_errors import HTTPError, reason, without_credentials
from georank_zoo.utils.tables import Table

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PushPlan:
    """What a push will do; nothing has been written yet.

    Attributes:
        model: Checked folder that is published.
        repo: Repository, `org/name`.
        branch: Branch of the commit.
        tag: Tag of the commit.
        remote: The repository as it is; None if it will be created.
        stale: Files in the repository that the commit deletes.
        makes_public: Whether the repository becomes public once everything is verified.
    """

    model: CheckedFolder
    repo: str
    branch: str
    tag: str | None
    remote: RemoteRepo | None
    stale: tuple[str, ...]
    makes_public: bool

    @property
    def files(self) -> tuple[LocalFile, ...]:
        """Files that the repository will hold."""
        return self.model.files

    def state(self, file: LocalFile) -> FileState:
        """What the push does to a file."""
        return self.remote.state(file) if self.remote else "new"

    @property
    def changed(self) -> tuple[LocalFile, ...]:
        """Files that the push sends."""
        return tuple(file for file in self.files if self.state(file) != "same")

    @property
    def sends(self) -> bool:
        """Whether there will be a commit."""
        return bool(self.stale) or not (self.remote and self.remote.holds(self.files))

    @property
    def writes(self) -> bool:
        """Whether anything on the Hub will change."""
        tagged = self.tag is None or (self.remote is not None and self.tag in self.remote.tags)
        return self.sends or self.makes_public or not tagged

    @property
    def table(self) -> Table:
        """The files, with what the push does to each."""
        sent = ((file.name, decimal(file.size), str(self.state(file))) for file in self.files)
        deleted = ((plain(path), "", "delete") for path in self.stale)
        return Table("", ("file", "size", "on the Hub"), (*sent, *deleted))

    @property
    def summary(self) -> str:
        """Repository, branch and tag, in a sentence."""
        if self.remote is None:
            seen = "new, private until it is verified"
            seen += ", then public" if self.makes_public else ""
        else:
            seen = "private" if self.remote.private else "public"
            seen += ", becomes public" if self.makes_public else ""
        tag = f", tag {self.tag}" if self.tag else ""
        same = "" if self.sends else ": nothing to send"
        return f"{self.repo} ({seen}), branch {self.branch}{tag}{same}."


def file_table(files: Iterable[LocalFile]) -> Table:
    """Files with their sizes, where it is not known what a push does to them."""
    return Table("", ("file", "size"), tuple((file.name, decimal(file.size)) for file in files))


def mark_public_pending(repo: str) -> None:
    """Notes, before a repository is created, that it becomes public when it is verified."""
    path = _pending_note(repo)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, f"{constants.ENDPOINT}/{repo}\n")


def is_public_pending(repo: str) -> bool:
    """Whether an interrupted push created this repository and did not make it public."""
    return _pending_note(repo).is_file()


def clear_public_pending(repo: str) -> None:
    """Forgets the note, once the repository has the visibility that was asked for."""
    _pending_note(repo).unlink(missing_ok=True)


def _pending_note(repo: str) -> Path:
    name = hashlib.sha256(f"{constants.ENDPOINT}/{repo}".encode()).hexdigest()
    return cache_folder() / "public-pending" / name


def plan_push(
    model: CheckedFolder,
    repo: str,
    *,
    revision: str = MAIN,
    tag: str | None = None,
    private: bool = False,
    public: bool = False,
    prune: bool = False,
) -> PushPlan:
    """Checks everything that may forbid the push, and compares the files with the Hub's.

    Args:
        model: Checked folder, from `check_publishable`.
        repo: Repository, `org/name`.
        revision: Branch; it is made from `main` if it does not exist.
        tag: Tag for the commit.
        private: Whether a new repository stays private.
        public: Whether a private repository becomes public.
        prune: Whether pickles in the repository are deleted, in the same commit.

    Raises:
        HubError: If the Hub refuses, does not answer, or holds what forbids the push.
        ModelError: If the Hub does not take the model card.
        UsageError: If an argument is invalid, or `private` and `public` are both set.
    """
    check_names(repo, revision, tag)
    if private and public:
        raise UsageError("--private and --public exclude each other: pass one of them.")
    api = HfApi()
    # This first, for it is the one question that the client does not wait for without end.
    remote = find_repo(api, repo, revision)
    cannot_create = check_account(api, repo)
    _validate_card(model.folder / CARD)
    if remote is None:
        if cannot_create:
            raise cannot_create
        return PushPlan(model, repo, revision, tag, None, (), makes_public=not private)
    check_write(api, repo)
    if private and not remote.private:
        raise UsageError(
            f"{repo} is public, and a push does not make it private: do that at "
            f"{constants.ENDPOINT}/{repo}/settings, or leave --private out."
        )
    if remote.pickles and not prune:
        names = plain(", ".join(remote.pickles), 500)
        raise HubError(
            f"{repo} holds {names}, which can run code when loaded. Pass --prune to delete them in "
            "the same commit. Nothing was published."
        )
    makes_public = remote.private and not private and (public or is_public_pending(repo))
    plan = PushPlan(model, repo, revision, tag, remote, tuple(remote.pickles), makes_public)
    _check_tag(plan)
    return plan


def check_names(repo: str, revision: str = MAIN, tag: str | None = None) -> None:
    """Checks the names of a repository, a branch and a tag.

    Raises:
        UsageError: If one is invalid.
    """
    if (parsed := parse_id(repo)) is None:
        raise UsageError(f"{repo!r} is not the name of a repository: pass org/name.")
    if parsed.revision or str(parsed) != repo:
        raise UsageError(
            f"Pass org/name alone, not {repo!r}; --revision takes the branch and --tag the tag."
        )
    for name in (revision, tag):
        if name is not None:
            parse_id(repo, name)


def _validate_card(path: Path) -> None:
    """Asks the Hub about the card before there is a repository that it could be refused for."""
    try:
        ModelCard(path.read_text(encoding="utf-8")).validate()
    except (HTTPError, OSError) as error:
        logger.info("The Hub did not check %s (%s); it will with the commit.", path, reason(error))
    except ValueError as error:
        said = without_credentials(" ".join(str(error).split()))
        raise ModelError(f"The Hub does not accept {path}: {said}") from error


def _check_tag(plan: PushPlan) -> None:
    if plan.tag is None or plan.remote is None:
        return
    there = plan.remote.tags.get(plan.tag)
    if plan.tag in plan.remote.branches:
        raise UsageError(f"{plan.repo} has a branch {plan.tag!r}: choose another name for the tag.")
    if there is not None and (plan.sends or there != plan.remote.head):
        raise HubError(
            f"The tag {plan.tag!r} of {plan.repo} is another commit, {there[:12]}, and people rely "
            "on it: choose another tag. Nothing was published."
        )
