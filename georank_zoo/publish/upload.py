"""A planned push carried out: one commit, verified by download, or nothing.

A new repository is private until its files have come back from the Hub unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    hf_hub_download,
)

from georank_zoo.models.reload import TIMM_ERRORS, timm_features
from georank_zoo.publish.plan import PushPlan, clear_public_pending, mark_public_pending
from georank_zoo.publish.repo import MAIN, RemoteRepo, find_repo
from georank_zoo.utils.errors import HubError, Interrupted
from georank_zoo.utils.files import cache_folder, sha256_of
from georank_zoo.utils.hub_errors import NETWORK_FAILURES, explain, reason, status
from georank_zoo.utils.leftovers import delete, scratch_beside
from georank_zoo.utils.locks import MOMENT, output_lock
from georank_zoo.utils.write_errors import explain_write_errors

AGAIN = "Run the same command again"
OnMessage = Callable[[str], None]


@dataclass(frozen=True)
class PushedModel:
    """A verified model on the Hub.

    Attributes:
        repo: Repository, `org/name`.
        commit: Commit of the model.
        revision: Tag or branch, which may be moved; empty for `main`.
        private: Whether only its owners see it.
    """

    repo: str
    commit: str
    revision: str
    private: bool

    @property
    def url(self) -> str:
        """Page of the commit."""
        return f"{constants.ENDPOINT}/{self.repo}/tree/{self.commit}"

    @property
    def timm_id(self) -> str:
        """Id for timm.create_model."""
        return f"hf-hub:{self.repo}" + (f"@{self.revision}" if self.revision else "")

    @property
    def pinned_id(self) -> str:
        """Id for timm.create_model, pinned to the commit."""
        return f"hf-hub:{self.repo}@{self.commit}"


def execute_plan(plan: PushPlan, on_message: OnMessage) -> PushedModel:
    """Carries a plan out.

    Args:
        plan: Plan, from `plan_push`.
        on_message: Called with a sentence at each step.

    Raises:
        HubError: If the Hub refuses, breaks off, or returns something other than what was sent.
            The message says what has been published and what to do.
        Interrupted: On Ctrl-C.
    """
    api = HfApi()
    try:
        remote = plan.remote or _create(api, plan, on_message)
        if plan.sends or remote.head is None:
            commit = _commit(api, plan, remote, on_message)
        else:
            commit = remote.head
        on_message(f"Downloading {commit[:12]} into an empty cache and loading it with timm.")
        _verify(plan, commit, private=remote.private)
        _finish(api, plan, commit, on_message)
    except KeyboardInterrupt as error:
        raise Interrupted(f"Interrupted. {AGAIN}: it resumes from there.") from error
    revision = plan.tag or (plan.branch if plan.branch != MAIN else "")
    private = remote.private and not plan.makes_public
    return PushedModel(plan.repo, commit, revision, private=private)


def _create(api: HfApi, plan: PushPlan, on_message: OnMessage) -> RemoteRepo:
    on_message(f"Creating {plan.repo}, private until it is verified.")
    if plan.makes_public:
        mark_public_pending(plan.repo)
    try:
        api.create_repo(plan.repo, private=True)
    except NETWORK_FAILURES as error:
        if status(error) == 409:
            clear_public_pending(plan.repo)
            raise HubError(
                f"{plan.repo} already exists (409): somebody else created it while this push ran, "
                "or your token does not cover it. Nothing of yours was published. Look at "
                f"{constants.ENDPOINT}/{plan.repo}, then push again."
            ) from error
        raise HubError(f"{explain(error, plan.repo)} Nothing was published. {AGAIN}.") from error
    remote = find_repo(api, plan.repo, plan.branch)
    if remote is None:
        raise HubError(f"{plan.repo} was created but is not there. {AGAIN}.")
    return remote


def _commit(api: HfApi, plan: PushPlan, remote: RemoteRepo, on_message: OnMessage) -> str:
    """Sends what differs, as one commit on top of the one that the plan was made for."""
    changed = [file for file in plan.files if remote.state(file) != "same"]
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        *(CommitOperationAdd(file.name, file.path) for file in changed),
        *(CommitOperationDelete(path) for path in plan.stale),
    ]
    on_message(f"Sending {len(changed)} file(s) as one commit.")
    try:
        if plan.branch != MAIN and plan.branch not in remote.branches:
            api.create_branch(plan.repo, branch=plan.branch, revision=remote.head)
        info = api.create_commit(
            plan.repo,
            operations,
            commit_message=_message(plan),
            revision=plan.branch,
            parent_commit=remote.head,
        )
    except NETWORK_FAILURES as error:
        return _check_commit(api, plan, remote, error, on_message)
    return str(info.oid)


def _message(plan: PushPlan) -> str:
    config = plan.model.config
    return f"Publish {config.recipe or config.architecture} with georank-zoo"


def _check_commit(
    api: HfApi, plan: PushPlan, before: RemoteRepo, error: Exception, on_message: OnMessage
) -> str:
    """After a failed commit: it may have arrived, and only the answer was lost."""
    said = explain(error, plan.repo)
    try:
        now = find_repo(api, plan.repo, plan.branch)
    except HubError as second:
        raise HubError(f"{said} Whether the commit arrived is not known. {AGAIN}.") from second
    if now and now.head and now.holds(plan.files) and not set(plan.stale) & set(now.files):
        on_message("The commit had arrived although its answer was lost.")
        return now.head
    if now and now.branch_exists and now.head != before.head:
        raise HubError(
            f"{plan.repo} changed while this push ran (412): nothing of yours was published. Look "
            f"at {constants.ENDPOINT}/{plan.repo}/commits/{plan.branch}, then push again."
        ) from error
    raise HubError(f"{said} Nothing was published. {AGAIN}.") from error


def _verify(plan: PushPlan, commit: str, *, private: bool) -> None:
    """Downloads the commit as a stranger would, compares every byte, and loads it with timm."""
    stays = f"{plan.repo} stays private." if private else "It can be seen by all."
    place = cache_folder() / "push" / plan.repo.replace("/", "--")
    cache = scratch_beside(place)  # what a kill leaves of it, the next push clears
    with output_lock(place, cache, wait=MOMENT):
        try:
            with explain_write_errors(cache, f"Published as {commit[:12]}. {stays} {AGAIN}."):
                found = _downloaded_features(plan, commit, cache, stays)
        except NETWORK_FAILURES + TIMM_ERRORS as error:
            raise HubError(
                f"Published as {commit[:12]}, but the check by download failed: "
                f"{reason(error).rstrip('.')}. {stays} {AGAIN}: it checks and finishes."
            ) from error
        finally:
            delete(cache)
    if not torch.equal(found, plan.model.features):
        raise HubError(
            f"Published as {commit[:12]}, but timm computes other features from there than from "
            f"{plan.model.folder}. {stays}"
        )


def _downloaded_features(plan: PushPlan, commit: str, cache: Path, stays: str) -> torch.Tensor:
    for file in plan.files:
        path = hf_hub_download(plan.repo, file.name, revision=commit, cache_dir=cache)
        if sha256_of(Path(path)) != file.sha256:
            raise HubError(
                f"{file.name} came back from {plan.repo} with other content than was sent. "
                f"Published as {commit[:12]}, but not finished. {stays} {AGAIN}; if that does not "
                "help, delete the file there first."
            )
    return timm_features(f"hf-hub:{plan.repo}@{commit}", plan.model.config, cache=str(cache))


def _finish(api: HfApi, plan: PushPlan, commit: str, on_message: OnMessage) -> None:
    """Sets the tag, and makes the repository public last."""
    if plan.tag and not (plan.remote and plan.tag in plan.remote.tags):
        on_message(f"Tagging it {plan.tag}.")
        try:
            api.create_tag(plan.repo, tag=plan.tag, revision=commit)
        except NETWORK_FAILURES as error:
            now = _find_again(api, plan)
            if now is None or now.tags.get(plan.tag) != commit:
                taken = now is not None and plan.tag in now.tags
                why = "was given to another commit meanwhile" if taken else "could not be set"
                what = "Choose another one" if taken else f"{AGAIN}: it finishes"
                raise HubError(
                    f"Published as {commit[:12]}, but the tag {plan.tag!r} {why}: "
                    f"{explain(error, plan.repo)} {what}."
                ) from error
    if plan.makes_public:
        on_message(f"Making {plan.repo} public.")
        try:
            api.update_repo_settings(plan.repo, private=False)
        except NETWORK_FAILURES as error:
            now = _find_again(api, plan)
            if now is None or now.private:
                raise HubError(
                    f"Published as {commit[:12]}, but {plan.repo} is still private: "
                    f"{explain(error, plan.repo)} {AGAIN}: it finishes."
                ) from error
    clear_public_pending(plan.repo)


def _find_again(api: HfApi, plan: PushPlan) -> RemoteRepo | None:
    try:
        return find_repo(api, plan.repo, plan.branch)
    except HubError:
        return None
