"""`georank compare`."""

from __future__ import annotations

from pathlib import Path

import click

from .output import say


def _parse_pair(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> list[tuple[str, str]]:
    pairs = []
    for value in values:
        first, equals, second = (part.strip() for part in value.partition("="))
        if not (first and equals and second) or first == second:
            raise click.BadParameter(f"{value!r} is not of the form MODEL=BASELINE.")
        pairs.append((first, second))
    return pairs


@click.command()
@click.argument("results", nargs=-1, required=True, metavar="RESULTS.csv...",
                type=click.Path(exists=True, dir_okay=False, path_type=Path))  # fmt: skip
@click.option("--metric", "metrics", multiple=True, metavar="NAME",
              help="Metric to show; repeatable [default: the first of each task and "
                   "store].")  # fmt: skip
@click.option("--task", "tasks", multiple=True, metavar="NAME",
              help="Task to show; repeatable [default: all].")  # fmt: skip
@click.option("--pair", "pairs", multiple=True, metavar="MODEL=BASELINE", callback=_parse_pair,
              help="Models to subtract; repeatable [default: as their recipes state].")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Folder to write CSV, Markdown, PNG and SVG to.")  # fmt: skip
def compare(
    results: tuple[Path, ...],
    metrics: tuple[str, ...],
    tasks: tuple[str, ...],
    pairs: list[tuple[str, str]],
    out: Path | None,
) -> None:
    """Put results side by side, and models against their baselines.

    Only rows of equal task, data, protocol, split, image size and seed share a column.
    Differences have paired intervals where `georank eval --results` left predictions next to the
    results.
    """
    from georank_zoo.eval.results.compare import compare

    from .tables import show_table

    comparison = compare(*results, metrics=metrics, tasks=tasks, pairs=pairs)
    for table in comparison.tables():
        show_table(table)
    for note in comparison.all_notes():
        say(note)
    if out is not None:
        files = comparison.save(out)
        say(f"Wrote {', '.join(file.name for file in files)} to {out}.")
