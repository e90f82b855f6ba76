"""`georank tasks`."""

from __future__ import annotations

import click

from georank_zoo.eval.tasks import TASKS, get_task

_PER_PATCH = {"class": "one class", "labels": "labels", "mask": "a mask"}


@click.command()
@click.argument("name", required=False, metavar="[TASK]")
def tasks(name: str | None) -> None:
    """List the evaluation tasks, or show what is known of one."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from .tables import show_facts

    if name is not None:
        show_facts(get_task(name).table())
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("task", "predicts", "a patch has", "splits of its own"):
        table.add_column(heading, no_wrap=heading != "predicts", overflow="fold")
    for task in TASKS.values():
        table.add_row(
            task.name,
            task.title,
            _PER_PATCH[task.target] if task.classes else "any",
            "\n".join([*task.official, *task.own]) or "none",
        )
    Console(highlight=False).print(table)
