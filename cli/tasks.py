"""`georank tasks`."""

from __future__ import annotations

import click

from georank_zoo.eval.tasks import TASKS, get_task


@click.command()
@click.argument("name", required=False, metavar="[TASK]")
def tasks(name: str | None) -> None:
    """List the evaluation tasks, or show what is known of one."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if name is not None:
        console.print(_facts(name))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("task", "predicts", "a patch has", "splits of its own"):
        table.add_column(heading, no_wrap=heading != "predicts", overflow="fold")
    for task in TASKS.values():
        per_patch = {"class": "one class", "labels": "labels", "mask": "a mask"}
        table.add_row(
            task.name,
            task.title,
            per_patch[task.target] if task.classes else "any",
            "\n".join([*task.official, *task.own]) or "none",
        )
    console.print(table)


def _facts(name: str) -> object:
    from rich.table import Table

    from georank_zoo.data.datasets.base import DEFAULT_METRICS

    task = get_task(name)
    table = Table(show_header=False, box=None, title=task.title, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    dataset = task.dataset
    rows = {
        "Prepared by": f"georank data prepare {dataset.name}",
        "Source": dataset.source,
        "License": dataset.license,
        "License by": dataset.license_source,
        "Files": dataset.layout,
        "Bands, in the files": " ".join(dataset.bands),
        "Unit": " ".join(part for part in (dataset.unit, dataset.level) if part),
        "Size": f"{dataset.image_size} px" if dataset.image_size else "",
        "Classes": ", ".join(task.classes),
        "Metrics": ", ".join(task.metrics or DEFAULT_METRICS[task.target]),
        "Default split": task.split,
        **{f"Split {split}": source for split, source in {**task.official, **task.own}.items()},
        "Notes": "\n".join(task.notes),
    }
    if task.published is not None:
        published = task.published
        rows[f"Published, {published.metric}"] = (
            "\n".join(f"{score:6.2f}  {method}" for method, score in published.scores.items())
            + f"\n{published.protocol}; {published.source}"
        )
    for fact, value in rows.items():
        if value:
            table.add_row(fact, value)
    return table
