"""What a push will do, found out without writing anything to the Hub."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, ModelCard, constants

from georank_zoo.models.config import CARD
from georank_zoo.models.hub import parse_id
from georank_zoo.publish.checks import LocalFile, Publishable
from georank_zoo.publish.repo import MAIN, RemoteRepo, State, check_account, check_write, find_repo
from georank_zoo.utils.errors import HubError, ModelError, UsageError, plain
from georank_zoo.utils.files import cache_folder, write_text
from georank_zoo.utils.hub_errors import HTTPError


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


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What a push will do; nothing has been written yet.

    Attributes:
        model: What is published.
        repo: `org/name`.
        branch: Where the commit goes.
        tag: What the commit will be called besides.
        remote: The repository as it is; None if it will be created.
        stale: Files there that the commit deletes.
        opens: The repository becomes public once all is verified.
    """

    model: Publishable
    repo: str
    branch: str
    tag: str | None
    remote: RemoteRepo | None
    stale: tuple[str, ...]
    opens: bool

    @property
    def files(self) -> tuple[LocalFile, ...]:
        """What the repository will hold."""
        return self.model.files

    def state(self, file: LocalFile) -> State:
        """What the push does to a file."""
        return self.remote.state(file) if self.remote else "new"

    @property
    def sends(self) -> bool:
        """Whether there will be a commit."""
        return bool(self.stale) or not (self.remote and self.remote.holds(self.files))

    @property
    def writes(self) -> bool:
        """Whether anything on the Hub will change."""
        tagged = self.tag is None or (self.remote is not None and self.tag in self.remote.tags)
        return self.sends or self.opens or not tagged


def plan_push(
    model: Publishable,
    repo: str,
    *,
    revision: str = MAIN,
    tag: str | None = None,
    private: bool = False,
    public: bool = False,
    prune: bool = False,
) -> Plan:
    """Looks at everything that may forbid the push, and compares the files with the Hub's.

    Args:
        model: From `check_folder`.
        repo: `org/name`.
        revision: Branch; it is made from `main` if it does not exist.
        tag: Name for the commit.
        private: Leave a new repository private.
        public: Make a private repository public.
        prune: Delete pickles that lie in the repository, in the same commit.

    Raises:
        HubError: If the Hub refuses, does not answer, or holds what forbids the push.
        ModelError: If the Hub does not take the model card.
        UsageError: If the arguments cannot be.
    """
    _check_names(repo, revision, tag)
    if private and public:
        raise UsageError("--private and --public cannot both be.")
    api = HfApi()
    # This first, for it is the one question that the client does not wait for without end.
    remote = find_repo(api, repo, revision)
    cannot_create = check_account(api, repo)
    _validate_card(model.folder / CARD)
    if remote is None:
        if cannot_create:
            raise cannot_create
        return Plan(model, repo, revision, tag, None, (), opens=not private)
    check_write(api, repo)
    if private and not remote.private:
        raise UsageError(
            f"{repo} is public, and a push does not hide it: do that at "
            f"{constants.ENDPOINT}/{repo}/settings, or leave --private out."
        )
    if remote.pickles and not prune:
        names = plain(", ".join(remote.pickles), 500)
        raise HubError(
            f"{repo} holds {names}, which can run code when it is loaded. Say --prune to delete it "
            "in the same commit. Nothing was published."
        )
    opens = remote.private and not private and (public or is_unopened(repo))
    plan = Plan(model, repo, revision, tag, remote, tuple(remote.pickles), opens)
    _check_tag(plan)
    return plan


def _check_names(repo: str, revision: str, tag: str | None) -> None:
    if (parsed := parse_id(repo)) is None:
        raise UsageError(f"{repo!r} is no name of a repository: say org/name.")
    if parsed.revision or str(parsed) != repo:
        raise UsageError(f"Say org/name alone, not {repo!r}; --revision and --tag do the rest.")
    for name in (revision, tag):
        if name is not None:
            parse_id(repo, name)


def _validate_card(path: Path) -> None:
    """Asks the Hub about the card before there is a repository that it could be refused for."""
    try:
        ModelCard(path.read_text(encoding="utf-8")).validate()
    except HTTPError as error:
        logger.info("The Hub did not check %s (%s); it will with the commit.", path, error)
    except ValueError as error:
        raise ModelError(f"The Hub does not take {path}: {' '.join(str(error).split())}") from error


def _check_tag(plan: Plan) -> None:
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
