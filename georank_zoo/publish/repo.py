"""A model repository on the Hub, as it is before and after a push."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from georank_zoo.models.folder import PICKLES
from georank_zoo.publish.checks import LocalFile
from georank_zoo.utils.errors import HubError, UsageError
from georank_zoo.utils.hub_client import guard_client
from georank_zoo.utils.hub_errors import NETWORK_FAILURES, explain

MAIN = constants.DEFAULT_REVISION
PATIENCE = 30.0  # seconds for the Hub's first answer
_WRITERS = ("admin", "write", "contributor")

FileState = Literal["new", "changed", "same", "delete"]


@dataclass(frozen=True)
class RemoteRepo:
    """What a branch of a repository holds.

    Attributes:
        name: Repository, `org/name`.
        private: Whether only its owners see it.
        branch: Branch asked for; one that does not exist holds what `main` does.
        branch_exists: Whether the branch exists.
        head: Commit of the branch; None if it has none yet.
        files: SHA-256 of a large file, git's SHA-1 of a small one, by path.
        branches: Commits by branch.
        tags: Commits by tag.
    """

    name: str
    private: bool
    branch: str
    branch_exists: bool
    head: str | None
    files: dict[str, str]
    branches: dict[str, str]
    tags: dict[str, str]

    @property
    def pickles(self) -> list[str]:
        """Files that can run code when they are loaded."""
        return sorted(p for p in self.files if PurePosixPath(p).suffix.lower() in PICKLES)

    def state(self, file: LocalFile) -> FileState:
        """What a push would do to a file."""
        there = self.files.get(file.name)
        if there is None:
            return "new"
        return "same" if there in (file.sha256, file.git_sha1) else "changed"

    def holds(self, files: Iterable[LocalFile]) -> bool:
        """Whether the branch has all these files, with this content."""
        return self.branch_exists and all(self.state(file) == "same" for file in files)


def find_repo(api: HfApi, name: str, branch: str = MAIN) -> RemoteRepo | None:
    """Looks a repository up; None if there is none that this token may see.

    Raises:
        HubError: If the Hub does not answer, or the repository has been renamed.
        UsageError: If the branch's name is that of a tag or a commit.
    """
    guard_client()
    try:
        info = api.model_info(name, files_metadata=True, timeout=PATIENCE)
        refs = api.list_repo_refs(name)
        branches = {ref.name: ref.target_commit for ref in refs.branches}
        tags = {ref.name: ref.target_commit for ref in refs.tags}
        if branch != MAIN and branch in branches:
            info = api.model_info(name, files_metadata=True, revision=branch)
    except GatedRepoError as error:  # one of the next, but it is there
        raise HubError(explain(error, name)) from error
    except RepositoryNotFoundError:
        return None
    except NETWORK_FAILURES as error:
        raise HubError(explain(error, name)) from error
    if info.id != name:
        raise HubError(f"{name} has been renamed to {info.id}: push there.")
    if branch in tags or (branch not in branches and _is_commit(branch)):
        raise UsageError(
            f"{branch!r} is a {'tag' if branch in tags else 'commit'}, and commits go to branches: "
            "--revision takes a branch, --tag names the new commit."
        )
    return RemoteRepo(
        name=name,
        private=bool(info.private),
        branch=branch,
        branch_exists=branch in branches,
        head=info.sha,
        files={
            entry.rfilename: entry.lfs.sha256 if entry.lfs else str(entry.blob_id)
            for entry in info.siblings or ()
        },
        branches=branches,
        tags=tags,
    )


def _is_commit(text: str) -> bool:
    return len(text) == 40 and set(text) <= set("0123456789abcdef")


def check_account(api: HfApi, repo: str) -> HubError | None:
    """Asks who the token belongs to.

    Returns:
        Why this account cannot create `repo`, if it cannot; it may still write to one that exists.

    Raises:
        HubError: If there is no token, the Hub does not know it, or it does not answer.
    """
    guard_client()
    namespace = repo.split("/")[0]
    try:
        account = api.whoami()
        orgs = {org["name"]: org.get("roleInOrg") for org in account.get("orgs", ())}
        own = str(account["name"])
        role = account.get("auth", {}).get("accessToken", {}).get("role")
    except NETWORK_FAILURES as error:
        raise HubError(explain(error, repo)) from error
    if role == "read":
        return HubError(
            f"The token of {own} can only read. Make one with write access at "
            f"{constants.ENDPOINT}/settings/tokens, then `hf auth login`."
        )
    writable = [own, *(org for org, role in orgs.items() if role in (None, *_WRITERS))]
    if namespace in writable:
        return None
    known = "You have only read access to it" if namespace in orgs else f"You are {own}"
    return HubError(
        f"You cannot create a model in {namespace!r}, or your token does not cover it. {known}; "
        f"you can publish to: {', '.join(writable)}."
    )


def check_write(api: HfApi, repo: str) -> None:
    """Asks the Hub whether this token may write to an existing repository.

    Raises:
        HubError: If it may not.
    """
    try:
        api.auth_check(repo, write=True)
    except NETWORK_FAILURES as error:
        raise HubError(explain(error, repo)) from error
