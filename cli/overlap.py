"""`georank data overlap`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from georank_zoo.eval.splits.overlap import Overlap


@click.command()
@click.argument("pretrain_store", type=click.Path(path_type=Path))
@click.argument("eval_store", type=click.Path(path_type=Path))
@click.option("--km", "radii", multiple=True, type=float, metavar="KM",
              help="Radius; repeatable [default: 1 10 50 100 500 1000].")  # fmt: skip
@click.option("--split", metavar="NAME",
              help="Look at the test patches of this split (loo, random, ... as in `eval`), and at "
              "their distances to its training patches too.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Of the split.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="PNG|SVG",
              help="Draw a map and a histogram.")  # fmt: skip
@click.option("--csv", "csv_path", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the counts.")  # fmt: skip
def overlap(
    pretrain_store: Path,
    eval_store: Path,
    radii: tuple[float, ...],
    split: str | None,
    seed: int,
    out: Path | None,
    csv_path: Path | None,
) -> None:
    """Count the evaluation patches that lie near pretraining places.

    `georank eval --min-km` leaves them out.
    """
    from georank_zoo.data.store.patch_store import PatchStore
    from georank_zoo.eval.splits import overlap as library
    from georank_zoo.eval.splits.overlap_figure import draw_overlap
    from georank_zoo.utils.figures import check_figure_path

    library.check_radii(radii)
    if out is not None:
        check_figure_path(out)
    radii = radii or library.RADII_KM
    pretrain, evaluation = PatchStore(pretrain_store), PatchStore(eval_store)
    found = library.overlap(pretrain, evaluation, split=split, seed=seed)
    _show(found, radii)
    if csv_path is not None:
        csv_path.parent.mkdir(parents=True, exist_ok=True)
        found.to_csv(csv_path, radii)
        click.echo(f"Counts: {csv_path}")
    if out is not None:
        what = f"split {found.split} of {eval_store.name}" if found.split else eval_store.name
        draw_overlap(out, found, radii=radii, title=f"{what} and pretraining {pretrain_store.name}")
        click.echo(f"Figure: {out}")


def _show(found: Overlap, radii: tuple[float, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    from georank_zoo.eval.splits.overlap import summary

    rows = found.within(radii)
    kinds = list(dict.fromkeys(row.near for row in rows))
    title = "Near, within km"
    table = Table(title=title, title_justify="left")
    table.add_column("km", justify="right")
    for near in kinds:
        table.add_column(f"{near}: patches", justify="right")
        table.add_column("places", justify="right")
    for radius in dict.fromkeys(row.km for row in rows):
        cells = []
        for row in (row for row in rows if row.km == radius):
            cells += [_share(row.patches_within, row.patches)]
            cells += [_share(row.places_within, row.places)]
        table.add_row(f"{radius:g}", *cells)
    Console().print(table)
    which = f"test patches of split {found.split}" if found.split else "patches of the store"
    km = summary(found.km)
    click.echo(
        f"{rows[0].patches} {which}, {rows[0].places} places; {len(found.pretrain_latlon)} "
        f"pretraining positions. To the nearest: {km['min']:.3g} to {km['max']:.5g} km, median "
        f"{km['median']:.4g} km. Great-circle distances between patch centers."
    )
    if found.train_km is not None:
        click.echo("training: training patches of the split that are of another place.")


def _share(count: int, total: int) -> str:
    return f"{count} ({100 * count / total:.1f} %)"
