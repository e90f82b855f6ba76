"""`georank push`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import say

if TYPE_CHECKING:
    from georank_zoo.publish.plan import PushPlan


@click.command()
@click.argument("source", metavar="RUN|FOLDER", type=click.Path(path_type=Path))
@click.argument("repo", metavar="ORG/NAME")
@click.option("--dry-run", is_flag=True,
              help="Write and check the folder, show the plan, send nothing.")  # fmt: skip
@click.option("--private", is_flag=True, help="Leave a new repository private.")
@click.option("--public", is_flag=True, help="Make a private repository public.")
@click.option("--tag", help="Tag for the commit, such as v1.0.")
@click.option("--revision", default="main", show_default=True, metavar="BRANCH",
              help="Branch to commit to; made from main if there is none.")  # fmt: skip
@click.option("--prune", is_flag=True,
              help="Delete pickles in the repository, in the same commit.")  # fmt: skip
@click.option("--force", is_flag=True,
              help="Publish a model whose training ended with a warning.")  # fmt: skip
def push(
    source: Path,
    repo: str,
    dry_run: bool,
    private: bool,
    public: bool,
    tag: str | None,
    revision: str,
    prune: bool,
    force: bool,
) -> None:
    """Publish the model of a RUN folder, or of the FOLDER of an export, as ORG/NAME.

    The folder is loaded with timm before it is sent, and again from the Hub after. A new
    repository stays private until that has succeeded. Everything goes in one commit, or nothing
    does; the same command again resumes after an interruption, and sends only what is missing.
    """
    from georank_zoo.publish.push import push as push_model

    from .progress import quiet_hub_bars
    from .tables import show_table

    quiet_hub_bars()
    report = push_model(
        source, repo, dry_run=dry_run, private=private, public=public, tag=tag, revision=revision,
        prune=prune, force=force, on_message=say, on_plan=_show_plan,
    )  # fmt: skip
    if report.plan is None:
        show_table(report.files)
    say("\n".join(report.lines))


def _show_plan(plan: PushPlan) -> None:
    from .tables import show_table

    show_table(plan.table, left=3)
    say(plan.summary)
