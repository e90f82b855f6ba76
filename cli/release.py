"""`georank release`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from .output import say


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...",
                type=click.Path(path_type=Path))  # fmt: skip
@click.option("--org", required=True, help="Organization or user on the Hub.")
@click.option("--results", type=click.Path(path_type=Path, dir_okay=False),
              help="CSV file of `georank eval --results` with the scores of all runs.")  # fmt: skip
@click.option("--tag", help="Tag for each commit, such as v1.0.")
@click.option("--catalog", default="models.json", show_default=True,
              type=click.Path(path_type=Path, dir_okay=False),
              help="File that the published models are recorded in.")  # fmt: skip
@click.option("--license", metavar="ID",
              help="License of the weights [default: apache-2.0].")  # fmt: skip
@click.option("--dry-run", is_flag=True,
              help="Write the cards, check everything, show the plan, send nothing.")  # fmt: skip
@click.option("--private", is_flag=True, help="Leave new repositories private.")
def release(
    runs: tuple[Path, ...],
    org: str,
    results: Path | None,
    tag: str | None,
    catalog: Path,
    license: str | None,
    dry_run: bool,
    private: bool,
) -> None:
    """Publish finished RUNs as ORG/<model name>, and record them in a catalog.

    Each is exported if it is not, gets its card from the results, and is checked as by `push`;
    only if all pass is the first one sent. The same command again resumes after an interruption,
    and writes nothing where everything is done.
    """
    from georank_zoo.publish.card.metadata import DEFAULT_LICENSE
    from georank_zoo.publish.release import release_runs

    from .progress import quiet_hub_bars
    from .tables import show_table

    quiet_hub_bars()
    report = release_runs(
        runs, org, results=results, tag=tag, private=private, license=license or DEFAULT_LICENSE,
        catalog=catalog, dry_run=dry_run, on_message=say,
        on_plan=partial(show_table, left=4),
    )  # fmt: skip
    if dry_run:
        say("Dry run: nothing was sent.")
        return
    show_table(report.table, left=3)
    report.raise_for_failures()
    say(f"Recorded in {catalog}: georank models list --catalog {catalog}")
