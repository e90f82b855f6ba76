"""`georank release`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from georank_zoo.publish.release import Candidate, Outcome


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...",
                type=click.Path(path_type=Path))  # fmt: skip
@click.option("--org", required=True, help="Organization or user on the Hub.")
@click.option("--results", type=click.Path(path_type=Path, dir_okay=False),
              help="CSV file of `georank eval --results` with the scores of all runs.")  # fmt: skip
@click.option("--tag", help="Name for each commit, such as v1.0.")
@click.option("--manifest", "manifest_path", default="models.json", show_default=True,
              type=click.Path(path_type=Path, dir_okay=False),
              help="Where the published models are noted.")  # fmt: skip
@click.option("--license", metavar="ID",
              help="Of the weights [default: apache-2.0].")  # fmt: skip
@click.option("--dry-run", is_flag=True,
              help="Write the cards, check all, show what would go, send nothing.")  # fmt: skip
@click.option("--private", is_flag=True, help="Leave new repositories private.")
def release(
    runs: tuple[Path, ...],
    org: str,
    results: Path | None,
    tag: str | None,
    manifest_path: Path,
    license: str | None,
    dry_run: bool,
    private: bool,
) -> None:
    """Publish finished RUNs as ORG/<model name>, and note them in a manifest.

    Each is exported if it is not, gets its card from the results, and is checked like `push` does;
    only when all are found good is the first one sent. The same command again goes on after an
    interruption, and writes nothing where all is done.
    """
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from georank_zoo.publish.card.metadata import DEFAULT_LICENSE
    from georank_zoo.publish.release import open_runs, prepare_all
    from georank_zoo.publish.release import release as publish_all
    from georank_zoo.utils.errors import GeorankError

    if not sys.stderr.isatty():
        disable_progress_bars()
    candidates = prepare_all(
        open_runs(runs), org, results=results, tag=tag, private=private,
        license=license or DEFAULT_LICENSE, say=click.echo,
    )  # fmt: skip
    _show_plans(candidates)
    if dry_run:
        click.echo("Dry run: nothing was sent.")
        return
    outcomes = publish_all(candidates, manifest_path, click.echo)
    _show_outcomes(outcomes)
    bad = [outcome for outcome in outcomes if outcome.state in ("failed", "not tried")]
    if bad:
        raise GeorankError(
            "\n".join([*(f"{o.repo}: {o.message}" for o in bad if o.message), _again(bad)])
        )
    click.echo(f"Noted in {manifest_path}: georank models list --manifest {manifest_path}")


def _again(bad: Sequence[Outcome]) -> str:
    return f"{len(bad)} not published. The same command again goes on from there."


def _show_plans(candidates: Sequence[Candidate]) -> None:
    from rich import box
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("repository", "now", "to send", "scores"):
        table.add_column(heading, overflow="fold")
    for candidate in candidates:
        plan = candidate.plan
        sent = [file for file in plan.files if plan.state(file) != "same"]
        size = decimal(sum(file.size for file in sent))
        table.add_row(
            plan.repo + (f" (tag {plan.tag})" if plan.tag else ""),
            ("private" if plan.remote.private else "public") if plan.remote else "new",
            f"{len(sent)} files, {size}" if sent else "nothing",
            str(len(candidate.scores) or "none"),
        )
    Console().print(table)


def _show_outcomes(outcomes: Sequence[Outcome]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("repository", "", "commit"):
        table.add_column(heading, overflow="fold")
    for outcome in outcomes:
        table.add_row(outcome.repo, outcome.state, outcome.commit[:12])
    Console().print(table)
