"""`georank export`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "kind", type=click.Choice(["timm", "onnx"]), default="timm",
              show_default=True, help="A folder for timm, or one ONNX file.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path),
              help="What to write [default: export/ or model.onnx in the run folder].")  # fmt: skip
@click.option("--checkpoint", default="last", show_default=True, metavar="last|NAME",
              help="Checkpoint to take, such as step-00000500.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an earlier export.")
def export(run: Path, kind: str, out: Path | None, checkpoint: str, overwrite: bool) -> None:
    """Write the model of a RUN folder as a folder that timm loads, or as ONNX.

    What was written is loaded back with timm and compared bit for bit before it gets its name;
    an ONNX file is run by onnxruntime and compared with torch. For ONNX, RUN may be an export
    folder or a model on the Hugging Face Hub too.
    """
    from georank_zoo.models.folder import FACTS
    from georank_zoo.training.run import open_run

    if kind == "timm":
        folder = open_run(run).export(out, checkpoint=checkpoint, overwrite=overwrite)
        click.echo(f"Exported {folder}; timm loads it back bit for bit.")
        click.echo(f"Load it: timm.create_model('local-dir:{folder}', pretrained=True)")
    elif (run / FACTS).is_file():
        # Not the run's export/: it may be of another checkpoint, or not be there yet.
        with tempfile.TemporaryDirectory() as temporary:
            model = open_run(run).export(Path(temporary) / "model", checkpoint=checkpoint)
            _export_onnx(model, out or run / "model.onnx", overwrite)
    else:
        if out is None or checkpoint != "last":
            raise click.UsageError(
                f"{run} is not a run folder: pass --out FILE.onnx, and no --checkpoint."
            )
        _export_onnx(run, out, overwrite)


def _export_onnx(model: Path, out: Path, overwrite: bool) -> None:
    from georank_zoo.models.encoder import create_model
    from georank_zoo.models.onnx import ONNX_TOLERANCE, export_onnx, require_packages

    require_packages()
    encoder = create_model(model)
    export_onnx(encoder, out, overwrite=overwrite)
    click.echo(
        f"Exported {out}; onnxruntime gives torch's features, within {ONNX_TOLERANCE:g} of the "
        "largest."
    )
    click.echo(
        f"It takes reflectance (DN / 10000), (batch, {len(encoder.model_bands)}, height, width), "
        f"of the bands {', '.join(encoder.model_bands)}."
    )
