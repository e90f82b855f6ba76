"""`georank export`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path),
              help="Folder to write [default: export/ in the run folder].")  # fmt: skip
@click.option("--checkpoint", default="last", show_default=True, metavar="last|NAME",
              help="Checkpoint to take, such as step-00000500.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an earlier export.")
def export(run: Path, out: Path | None, checkpoint: str, overwrite: bool) -> None:
    """Write the model of a RUN folder as a folder that timm loads.

    What was written is loaded back with timm and compared bit for bit before it gets its name.
    """
    from georank_zoo.run import Run

    folder = Run.open(run).export(out, checkpoint=checkpoint, overwrite=overwrite)
    click.echo(f"Exported {folder}; timm loads it back bit for bit.")
    click.echo(f"Load it: timm.create_model('local-dir:{folder}', pretrained=True)")
