"""`georank data overlap`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from .output import say


@click.command()
@click.argument("pretrain_store", type=click.Path(path_type=Path))
@click.argument("eval_store", type=click.Path(path_type=Path))
@click.option("--km", "radii", multiple=True, type=float, metavar="KM",
              help="Radius; repeatable [default: 1 10 50 100 500 1000].")  # fmt: skip
@click.option("--split", metavar="NAME",
              help="Look at the test patches of this split (loo, random, ... as in `eval`), and at "
              "their distances to its training patches too.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Seed of the split.")  # fmt: skip
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
    from georank_zoo.utils.locks import output_lock

    from .tables import show_table

    library.check_radii(radii)
    if out is not None:
        check_figure_path(out)
    radii = radii or library.RADII_KM
    with ExitStack() as locks:
        for path in (csv_path, out):
            if path is not None:
                locks.enter_context(output_lock(path))
        pretrain, evaluation = PatchStore(pretrain_store), PatchStore(eval_store)
        found = library.overlap(pretrain, evaluation, split=split, seed=seed)
        show_table(found.table(radii))
        say("\n".join(found.notes))
        if csv_path is not None:
            found.to_csv(csv_path, radii)
            say(f"Counts: {csv_path}")
        if out is not None:
            what = f"split {found.split} of {eval_store.name}" if found.split else eval_store.name
            draw_overlap(
                out, found, radii=radii, title=f"{what} and pretraining {pretrain_store.name}"
            )
            say(f"Figure: {out}")
