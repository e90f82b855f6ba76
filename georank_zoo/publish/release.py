"""Publication of several finished runs, each recorded in a catalog.

Every run is checked, and so is everything that may forbid its publication, before the first is
sent. What has been done is on the Hub and in the catalog, so the same release again resumes where
it stopped, and a finished release writes nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.filesize import decimal

from georank_zoo.eval.results import table as results_file
from georank_zoo.eval.results.table import Row
from georank_zoo.models.encoder import create_model
from georank_zoo.models.fingerprint import compare_fingerprint
from georank_zoo.publish.card import folder_card
from georank_zoo.publish.card.facts import Facts
from georank_zoo.publish.card.metadata import DEFAULT_LICENSE, check_license
from georank_zoo.publish.catalog import (
    CATALOG_FILE,
    CatalogEntry,
    CatalogScore,
    FileFacts,
    open_catalog,
    read_catalog,
    record_model,
    scores_of,
)
from georank_zoo.publish.checks import check_publishable
from georank_zoo.publish.plan import PushPlan, plan_push
from georank_zoo.publish.upload import OnMessage, execute_plan
from georank_zoo.training.run import Run, open_run
from georank_zoo.utils.errors import GeorankError, HubError, ModelError, UsageError
from georank_zoo.utils.hub_errors import is_unauthenticated
from georank_zoo.utils.tables import Table

# `recorded`: it was on the Hub already, and only the catalog did not have it.
ReleaseState = Literal["published", "recorded", "unchanged", "failed", "not tried"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PushCandidate:
    """A checked run that can be published.

    Attributes:
        name: Model name.
        plan: Plan of its push.
        license: License of the weights.
        facts: Facts of its card.
        scores: Scores of its weights.
    """

    name: str
    plan: PushPlan
    license: str
    facts: Facts
    scores: tuple[CatalogScore, ...]

    def entry(self, commit: str) -> CatalogEntry:
        """The catalog entry of the model, published as a commit."""
        facts, data = self.facts, self.facts.data
        trained_on = (data.source, f"{data.places_used:,} places") if data else ()
        return CatalogEntry(
            recipe=facts.shipped or "",
            recipe_hash=facts.recipe_hash,
            recipe_changes=tuple(change.key for change in facts.changes),
            trained_on=", ".join(filter(None, trained_on)),
            repo=self.plan.repo,
            revision=commit,
            tag=self.plan.tag,
            license=self.license,
            architecture=facts.network.architecture,
            num_features=facts.network.num_features,
            bands=tuple(entry.band.name for entry in facts.bands),
            image_size=facts.image_size,
            files={
                file.name: FileFacts(sha256=file.sha256, size=file.size) for file in self.plan.files
            },
            scores=self.scores,
        )


@dataclass(frozen=True)
class ReleaseOutcome:
    """The outcome for one run: the commit where it is published, or the error.

    Attributes:
        name: Model name.
        repo: Repository, `org/name`.
        state: State of the run.
        commit: Commit of the model; empty where it is not published.
        message: The error; empty where there is none.
    """

    name: str
    repo: str
    state: ReleaseState
    commit: str = ""
    message: str = ""


@dataclass(frozen=True)
class ReleaseReport:
    """The outcome of a release.

    Attributes:
        candidates: The checked runs.
        outcomes: Outcome of each; empty after a dry run.
    """

    candidates: tuple[PushCandidate, ...]
    outcomes: tuple[ReleaseOutcome, ...]

    @property
    def table(self) -> Table:
        """What became of each run."""
        rows = tuple((each.repo, each.state, each.commit[:12]) for each in self.outcomes)
        return Table("", ("repository", "", "commit"), rows)

    @property
    def unpublished(self) -> tuple[ReleaseOutcome, ...]:
        """The runs that are not published."""
        return tuple(o for o in self.outcomes if o.state in ("failed", "not tried"))

    def raise_for_failures(self) -> None:
        """Raises an error if a run is not published.

        Raises:
            GeorankError: With the error of each.
        """
        if failed := self.unpublished:
            lines = [f"{each.repo}: {each.message}" for each in failed if each.message]
            again = f"{len(failed)} not published. The same command again resumes from there."
            raise GeorankError("\n".join([*lines, again]))


def release_runs(
    paths: Sequence[str | os.PathLike[str]],
    org: str,
    *,
    results: str | os.PathLike[str] | None = None,
    tag: str | None = None,
    private: bool = False,
    license: str = DEFAULT_LICENSE,
    catalog: str | os.PathLike[str] = CATALOG_FILE,
    dry_run: bool = False,
    on_message: OnMessage = logger.info,
    on_plan: Callable[[Table], None] = lambda _: None,
) -> ReleaseReport:
    """Publishes finished runs as `org/<model name>`, and records each in a catalog file.

    Each is exported if it is not, gets its card from the results, and is checked as by `push`;
    only if all pass is the first one sent. One that fails then does not keep the others back,
    unless the Hub no longer knows the token.

    Args:
        paths: Run folders.
        org: Organization or user on the Hub.
        results: CSV file with the scores of all runs. With it, a run without any is an error.
        tag: Tag for each commit, such as `v1.0`.
        private: Whether new repositories stay private.
        license: License of the weights.
        catalog: Catalog file, which is made if there is none.
        dry_run: Whether to write the cards and check everything, but to send nothing.
        on_message: Called with a sentence at each step; logs it by default.
        on_plan: Called with a table of what goes where, before anything is sent.

    Raises:
        UsageError: If one is not a finished run, or two train models of one name.
        GeorankError: If any cannot be published, with what is wrong with each, or the catalog
            cannot be written.
        Interrupted: On Ctrl-C.
    """
    runs = _open_finished([Path(path) for path in paths])
    scores = Path(results) if results is not None else None
    license = check_license(license)
    candidates: list[PushCandidate] = []
    failed = []
    for run in runs:
        try:
            candidates.append(_candidate(run, org, scores, tag, private=private, license=license))
        except GeorankError as error:
            if is_unauthenticated(error):
                raise
            failed.append(f"{run.path}: {error}")
            on_message(f"{run.path}: not ready.")
        else:
            on_message(f"{run.path}: ready.")
    if failed:
        failed.append(f"{len(failed)} of {len(runs)} runs cannot be published: nothing was sent.")
        raise GeorankError("\n".join(failed))
    on_plan(_plan_table(candidates))
    outcomes = [] if dry_run else _publish_all(candidates, Path(catalog), on_message)
    return ReleaseReport(tuple(candidates), tuple(outcomes))


def _open_finished(paths: Sequence[Path]) -> list[Run]:
    runs = [open_run(path) for path in paths]
    seen: dict[str, Path] = {}
    for run in runs:
        status = run.facts.get("status")
        if status != "finished":
            raise UsageError(
                f"{run.path} has not finished (it is {status!r}). Resume it with "
                f"`{run.resume_command}`, or leave it out."
            )
        name = run.recipe.name
        if name in seen:
            raise UsageError(
                f"{seen[name]} and {run.path} are both called {name}, so they would be published "
                "in one repository. Leave one out."
            )
        seen[name] = run.path
    return runs


def _candidate(
    run: Run, org: str, results: Path | None, tag: str | None, *, private: bool, license: str
) -> PushCandidate:
    """Exports a run if it is not, writes its card, and checks all that may forbid its publication.

    Nothing is written to the Hub. The card in the export folder is replaced.

    Raises:
        GeorankError: If the export is damaged or does not give the features of its fingerprint,
            there are no scores, or the Hub would refuse the push.
    """
    name, repo = run.recipe.name, f"{org}/{run.recipe.name}"
    folder = run.exported()
    encoder = create_model(folder)
    compared = compare_fingerprint(encoder)
    if not compared.equal:
        raise ModelError(
            f"{folder} gives other features than when it was exported (they differ by "
            f"{compared.difference:.1e}). Export it again: `georank export {run.path} --overwrite`."
        )
    rows: list[Row] = results_file.read_rows(results) if results else []
    scores = scores_of(rows, encoder.model_hash)
    if results and not scores:
        raise ModelError(
            f"{results} has no row of the weights in {folder} ({encoder.model_hash[:12]}). "
            f"Evaluate them: `georank eval {run.path} --task TASK --results {results}`."
        )
    card = folder_card(folder, results=results, repo=repo, revision=tag, license=license)
    card.write()
    plan = plan_push(check_publishable(folder), repo, tag=tag, private=private)
    return PushCandidate(name, plan, license, card.facts, scores)


def _plan_table(candidates: Sequence[PushCandidate]) -> Table:
    rows = []
    for candidate in candidates:
        plan = candidate.plan
        size = decimal(sum(file.size for file in plan.changed))
        rows.append(
            (
                plan.repo + (f" (tag {plan.tag})" if plan.tag else ""),
                ("private" if plan.remote.private else "public") if plan.remote else "new",
                f"{len(plan.changed)} files, {size}" if plan.changed else "nothing",
                str(len(candidate.scores) or "none"),
            )
        )
    return Table("", ("repository", "now", "to send", "scores"), tuple(rows))


def _publish_all(
    candidates: Sequence[PushCandidate], catalog: Path, on_message: OnMessage
) -> list[ReleaseOutcome]:
    open_catalog(catalog)  # before anything is sent: it may turn out that it cannot be written
    done: list[ReleaseOutcome] = []
    stopped = False
    for candidate in candidates:
        name, repo = candidate.name, candidate.plan.repo
        if stopped:
            done.append(ReleaseOutcome(name, repo, "not tried"))
            continue
        try:
            done.append(_publish(candidate, catalog, on_message))
        except HubError as error:
            done.append(ReleaseOutcome(name, repo, "failed", message=str(error)))
            stopped = is_unauthenticated(error)
    return done


def _publish(candidate: PushCandidate, catalog: Path, on_message: OnMessage) -> ReleaseOutcome:
    name, plan = candidate.name, candidate.plan

    def with_repo(text: str) -> None:
        on_message(f"{plan.repo}: {text}")

    known = read_catalog(catalog).models.get(name)
    head = plan.remote.head if plan.remote else None
    # What the catalog holds was verified by download when it was written there.
    if not plan.writes and head and known == candidate.entry(head):
        with_repo("on the Hub and in the catalog already.")
        return ReleaseOutcome(name, plan.repo, "unchanged", head)
    pushed = execute_plan(plan, with_repo)
    record_model(catalog, name, candidate.entry(pushed.commit))
    state: ReleaseState = "published" if plan.writes else "recorded"
    return ReleaseOutcome(name, plan.repo, state, pushed.commit)
