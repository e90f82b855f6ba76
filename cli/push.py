"""`georank push`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from georank_zoo.publish.checks import LocalFile
    from georank_zoo.publish.plan import Plan


@click.command()
@click.argument("source", metavar="RUN|FOLDER", type=click.Path(path_type=Path))
@click.argument("repo", metavar="ORG/NAME")
@click.option("--dry-run", is_flag=True,
              help="Write and check the folder, show what would go, send nothing.")  # fmt: skip
@click.option("--private", is_flag=True, help="Leave a new repository private.")
@click.option("--public", is_flag=True, help="Make a private repository public.")
@click.option("--tag", help="Name for the commit, such as v1.0.")
@click.option("--revision", default="main", show_default=True, metavar="BRANCH",
              help="Branch to commit to; made from main if there is none.")  # fmt: skip
@click.option("--prune", is_flag=True,
              help="Delete pickles that lie in the repository, in the same commit.")  # fmt: skip
def push(
    source: Path,
    repo: str,
    dry_run: bool,
    private: bool,
    public: bool,
    tag: str | None,
    revision: str,
    prune: bool,
) -> None:
    """Publish the model of a RUN folder, or of the FOLDER of an export, as ORG/NAME.

    The folder is loaded with timm before it is sent, and again from the Hub after. A new
    repository stays private until that has gone well. All goes in one commit, or nothing; the
    same command again goes on after an interruption, and sends nothing that is there already.
    """
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from georank_zoo.models.config import CONFIG
    from georank_zoo.publish.checks import check_folder
    from georank_zoo.publish.plan import plan_push
    from georank_zoo.publish.push import publish
    from georank_zoo.training.run import open_run
    from georank_zoo.utils.errors import HubError, UsageError

    if not sys.stderr.isatty():
        disable_progress_bars()
    if not source.is_dir():
        raise UsageError(f"No folder {source}. Give a run folder, or the folder of an export.")
    folder = source
    if not (source / CONFIG).is_file():
        run = open_run(source)
        if run.facts.get("status") != "finished":
            click.echo("The training has not finished; this is its last checkpoint.", err=True)
        folder = run.exported()
    model = check_folder(folder, repo=repo)
    click.echo(f"{folder}: timm loads it, with the same features as georank-zoo.")
    try:
        plan = plan_push(
            model, repo, revision=revision, tag=tag, private=private, public=public, prune=prune
        )
    except HubError:
        if dry_run:
            _show_files(model.files)
        raise
    _show_files(plan.files, plan)
    click.echo(_what_happens(plan))
    if dry_run:
        click.echo("Dry run: nothing was sent.")
        return
    done = publish(plan, click.echo)
    click.echo(
        f"Published and verified: {done.url}" if plan.writes else f"Verified, unchanged: {done.url}"
    )
    if done.private:
        click.echo("Only its owners see it; --public opens it.")
    click.echo(f"Load it:    timm.create_model('{done.timm_id}', pretrained=True)")
    click.echo(f"In a paper: timm.create_model('{done.pinned_id}', pretrained=True)")


def _show_files(files: Iterable[LocalFile], plan: Plan | None = None) -> None:
    from rich import box
    from rich.console import Console
    from rich.filesize import decimal
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("file", no_wrap=True)
    table.add_column("size", justify="right")
    table.add_column("on the Hub" if plan else "")
    for file in files:
        table.add_row(file.name, decimal(file.size), plan.state(file) if plan else "")
    for path in plan.stale if plan else ():
        table.add_row(escape(path), "", "delete")
    Console().print(table)


def _what_happens(plan: Plan) -> str:
    if plan.remote is None:
        seen = "new, private until it is verified" + (", then public" if plan.opens else "")
    else:
        seen = "private" if plan.remote.private else "public"
        seen += ", becomes public" if plan.opens else ""
    tag = f", tag {plan.tag}" if plan.tag else ""
    same = "" if plan.sends else ": nothing to send"
    return f"{plan.repo} ({seen}), branch {plan.branch}{tag}{same}."
