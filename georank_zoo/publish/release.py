"""Publish several finished runs, and note each in a manifest.

Every run is checked, and everything that may forbid its publication is looked for, before the first
is sent. What has been done is on the Hub and in the manifest, so the same release again goes on
where it stopped, and a release that is done writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from georank_zoo.eval.results import table as results_file
from georank_zoo.eval.results.table import Row
from georank_zoo.models import fingerprint
from georank_zoo.models.encoder import create_model
from georank_zoo.publish import card as cards
from georank_zoo.publish import catalog as manifest
from georank_zoo.publish.card.gather import folder_facts
from georank_zoo.publish.card.metadata import DEFAULT_LICENSE, check_license
from georank_zoo.publish.catalog import Entry, FileFacts, Score
from georank_zoo.publish.checks import check_folder
from georank_zoo.publish.plan import Plan, plan_push
from georank_zoo.publish.push import Say, publish
from georank_zoo.training.run import Run
from georank_zoo.utils.errors import GeorankError, HubError, ModelError, UsageError
from georank_zoo.utils.hub_errors import is_unauthenticated

# `noted`: it was on the Hub already, and only the manifest did not know.
State = Literal["published", "noted", "unchanged", "failed", "not tried"]


@dataclass(frozen=True)
class Candidate:
    """A run that may be published.

    Attributes:
        name: Of the model.
        plan: What its push will do.
        license: Of the weights.
        scores: Its rows of the results.
    """

    name: str
    plan: Plan
    license: str
    scores: tuple[Score, ...]

    def entry(self, commit: str) -> Entry:
        """What the manifest says of it, once it is this commit."""
        facts = folder_facts(self.plan.model.folder)
        data = facts.data
        trained_on = (data.source, f"{data.places_used:,} places") if data else ()
        return Entry(
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
class Outcome:
    """What became of a run: the commit where it is published, or what went wrong."""

    name: str
    repo: str
    state: State
    commit: str = ""
    message: str = ""


def open_runs(paths: Sequence[Path]) -> list[Run]:
    """Opens the runs of a release.

    Raises:
        UsageError: If one is no run, has not finished, or two train models of one name.
    """
    runs = [Run.open(path) for path in paths]
    seen: dict[str, Path] = {}
    for run in runs:
        status = run.facts.get("status")
        if status != "finished":
            raise UsageError(
                f"{run.path} has not finished (it is {status!r}). Go on with it: `georank train "
                f"{run.path / 'recipe.yaml'} --out {run.path} --resume`, or leave it out."
            )
        name = run.recipe.name
        if name in seen:
            raise UsageError(
                f"{seen[name]} and {run.path} are both called {name}, and so is where they would "
                "be published. Leave one out."
            )
        seen[name] = run.path
    return runs


def prepare_all(
    runs: Sequence[Run],
    org: str,
    *,
    results: Path | None = None,
    tag: str | None = None,
    private: bool = False,
    license: str = DEFAULT_LICENSE,
    say: Say = lambda _: None,
) -> list[Candidate]:
    """Prepares all runs, and tells of every one that cannot be published.

    Args:
        runs: From `open_runs`.
        org: As for all but the last, see `prepare`.
        results: Where the scores are.
        tag: Name of the commits to be.
        private: Leave new repositories private.
        license: Of the weights.
        say: Called with a sentence for each run.

    Raises:
        GeorankError: If any cannot be published, with what is wrong with each.
    """
    candidates, failed = [], []
    for run in runs:
        try:
            candidates.append(
                prepare(run, org, results=results, tag=tag, private=private, license=license)
            )
        except GeorankError as error:
            if is_unauthenticated(error):
                raise
            failed.append(f"{run.path}: {error}")
            say(f"{run.path}: not ready.")
        else:
            say(f"{run.path}: ready.")
    if failed:
        failed.append(f"{len(failed)} of {len(runs)} runs cannot be published: nothing was sent.")
        raise GeorankError("\n".join(failed))
    return candidates


def prepare(
    run: Run,
    org: str,
    *,
    results: Path | None = None,
    tag: str | None = None,
    private: bool = False,
    license: str = DEFAULT_LICENSE,
) -> Candidate:
    """Exports a run if it is not, writes its card, and checks all that may forbid its publication.

    Nothing is written to the Hub. The card in the export folder is replaced.

    Args:
        run: A finished one.
        org: Organization or user on the Hub; the model's name follows.
        results: Where the scores are. With it, a run without any is an error.
        tag: Name of the commit to be.
        private: Leave a new repository private.
        license: Of the weights.

    Raises:
        GeorankError: If the export is damaged or does not give the features of its fingerprint,
            there are no scores, or the Hub would refuse the push.
    """
    name, repo = run.recipe.name, f"{org}/{run.recipe.name}"
    folder = run.exported()
    encoder = create_model(folder)
    compared = fingerprint.compare(encoder)
    if not compared.equal:
        raise ModelError(
            f"{folder} gives other features than when it was exported (they differ by "
            f"{compared.difference:.1e}). Export it again: `georank export {run.path} --overwrite`."
        )
    rows: list[Row] = results_file.read_rows(results) if results else []
    scores = manifest.scores_of(rows, encoder.model_hash)
    if results and not scores:
        raise ModelError(
            f"{results} has no row of the weights in {folder} ({encoder.model_hash[:12]}). "
            f"Evaluate them: `georank eval {run.path} --task TASK --results {results}`."
        )
    cards.write_folder(folder, results=results, repo=repo, revision=tag, license=license)
    plan = plan_push(check_folder(folder), repo, tag=tag, private=private)
    return Candidate(name, plan, check_license(license), scores)


def release(
    candidates: Sequence[Candidate], path: Path, say: Say = lambda _: None
) -> list[Outcome]:
    """Publishes candidates one after the other, and notes each in the manifest.

    One that fails does not keep the others back, unless the Hub does not know the token any more.

    Args:
        candidates: From `prepare`.
        path: The manifest.
        say: Called with a sentence at each step.

    Raises:
        GeorankError: If the manifest cannot be written.
        Interrupted: On Ctrl-C.
    """
    manifest.make(path)  # before anything is sent: it may turn out that it cannot be written
    done: list[Outcome] = []
    stopped = False
    for candidate in candidates:
        name, repo = candidate.name, candidate.plan.repo
        if stopped:
            done.append(Outcome(name, repo, "not tried"))
            continue
        try:
            done.append(_release(candidate, path, say))
        except HubError as error:
            done.append(Outcome(name, repo, "failed", message=str(error)))
            stopped = is_unauthenticated(error)
    return done


def _release(candidate: Candidate, path: Path, say: Say) -> Outcome:
    name, plan = candidate.name, candidate.plan

    def say_where(text: str) -> None:
        say(f"{plan.repo}: {text}")

    known = manifest.read(path).models.get(name)
    head = plan.remote.head if plan.remote else None
    # What the manifest holds was verified by download when it was written there.
    if not plan.writes and head and known == candidate.entry(head):
        say_where("on the Hub and in the manifest already.")
        return Outcome(name, plan.repo, "unchanged", head)
    published = publish(plan, say_where)
    manifest.record(path, name, candidate.entry(published.commit))
    state: State = "published" if plan.writes else "noted"
    return Outcome(name, plan.repo, state, published.commit)
