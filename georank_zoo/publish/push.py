"""Publishing a model folder on the Hub: one commit, verified, or nothing.

Everything that can be wrong is checked before anything is written. A new repository is private
until its files have come back from the Hub unchanged. After an interruption, the same call resumes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from georank_zoo.models.config import CONFIG
from georank_zoo.publish.checks import check_publishable
from georank_zoo.publish.plan import PushPlan, check_names, file_table, plan_push
from georank_zoo.publish.repo import MAIN
from georank_zoo.publish.upload import OnMessage, PushedModel, execute_plan
from georank_zoo.training.run import open_run
from georank_zoo.utils.errors import HubError, UsageError
from georank_zoo.utils.hub_errors import is_offline
from georank_zoo.utils.tables import Table
from georank_zoo.utils.untrusted_text import html_text, terminal_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PushReport:
    """The outcome of a push.

    Attributes:
        plan: Plan of the push, carried out or not; None after a dry run without the Hub.
        model: The model on the Hub; None after a dry run.
        files: Files that are published, with their sizes.
        unchecked: What a dry run without the Hub could not check.
    """

    plan: PushPlan | None
    model: PushedModel | None
    files: Table
    unchecked: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """The outcome in sentences."""
        if self.plan is None:
            return (
                "Dry run without the Hub, because HF_HUB_OFFLINE is set: the folder can be "
                "published, and nothing was sent.",
                f"Not checked: {'; '.join(self.unchecked)}. Unset HF_HUB_OFFLINE to check it.",
            )
        if self.model is None:
            return ("Dry run: nothing was sent.",)
        done = "Published and verified" if self.plan.writes else "Verified, unchanged"
        hidden = ("Only its owners see it; --public makes it public.",)
        return (
            f"{done}: {self.model.url}",
            *(hidden if self.model.private else ()),
            f"Load it:    timm.create_model('{self.model.timm_id}', pretrained=True)",
            f"In a paper: timm.create_model('{self.model.pinned_id}', pretrained=True)",
        )

    def __str__(self) -> str:
        summary = [self.plan.summary] if self.plan else []
        return terminal_text("\n".join([self._table.to_text(), *summary, *self.lines]))

    def _repr_html_(self) -> str:
        lines = "".join(f"<br>{html_text(line)}" for line in self.lines)
        summary = html_text(self.plan.summary) if self.plan else ""
        return f"{self._table.to_html()}<p>{summary}{lines}</p>"

    @property
    def _table(self) -> Table:
        return self.plan.table if self.plan else self.files


def push(
    source: str | os.PathLike[str],
    repo: str,
    *,
    dry_run: bool = False,
    private: bool = False,
    public: bool = False,
    tag: str | None = None,
    revision: str = MAIN,
    prune: bool = False,
    force: bool = False,
    on_message: OnMessage = logger.info,
    on_plan: Callable[[PushPlan], None] = lambda _: None,
) -> PushReport:
    """Publishes the model of a run, or of an export folder, on the Hugging Face Hub.

    The folder is loaded with timm before it is sent, and again from the Hub after; a new
    repository stays private until then. Everything goes in one commit, or nothing does. The same
    call again resumes after an interruption, and sends only what is missing.

    Args:
        source: Run, run folder or export folder; what is missing (export, card) is written.
        repo: Repository on the Hub, `org/name`.
        dry_run: Whether to check everything, but to send nothing. Without the Hub (HF_HUB_OFFLINE)
            the folder alone is checked, and the report says what was not.
        private: Whether a new repository stays private.
        public: Whether a private repository becomes public.
        tag: Tag for the commit, such as `v1.0`.
        revision: Branch of the commit; it is made from `main` if it does not exist.
        prune: Whether pickles in the repository are deleted, in the same commit.
        force: Whether a model is published whose training ended with a warning.
        on_message: Called with a sentence at each step; logs it by default.
        on_plan: Called with the plan before anything is sent.

    Raises:
        HubError: If the Hub refuses or breaks off; says what has been published and what to do.
        ModelError: If the folder is damaged or unsafe, or timm computes other features from it.
        UsageError: If there is no such folder or an argument is invalid.

    Example:
        >>> import georank_zoo as gz
        >>> gz.push("runs/moco-r18", "org/moco-r18", dry_run=True)  # doctest: +SKIP
        >>> gz.push("runs/moco-r18", "moco-r18", dry_run=True)
        Traceback (most recent call last):
        georank_zoo...UsageError: 'moco-r18' is not the name of a repository: pass org/name.
    """
    folder = _find_export(Path(source), on_message)
    check_names(repo, revision, tag)
    model = check_publishable(folder, repo=repo, force=force)
    on_message(f"{folder}: timm loads it, with the same features as georank-zoo.")
    files = file_table(model.files)
    try:
        plan = plan_push(
            model, repo, revision=revision, tag=tag, private=private, public=public, prune=prune
        )
    except HubError as error:
        if dry_run and is_offline(error):
            return PushReport(None, None, files, _unchecked(repo, revision, tag))
        if dry_run:
            on_message(files.to_text())
        raise
    on_plan(plan)
    return PushReport(plan, None if dry_run else execute_plan(plan, on_message), files)


def _unchecked(repo: str, revision: str, tag: str | None) -> tuple[str, ...]:
    """What only the Hub can tell."""
    return (
        "your token and what it may write",
        f"whether {repo} exists, and which files of its branch {revision} differ",
        *((f"whether the tag {tag} is taken",) if tag else ()),
        "whether the Hub takes the model card",
    )


def _find_export(source: Path, on_message: OnMessage) -> Path:
    """The export in a folder; that of a run is written if there is none."""
    if not source.is_dir():
        raise UsageError(f"No folder {source}. Give a run folder, or the folder of an export.")
    if (source / CONFIG).is_file():
        return source
    run = open_run(source)
    if run.facts.get("status") != "finished":
        on_message("The training has not finished; this is its last checkpoint.")
    return run.exported()
