"""`georank export`."""

from __future__ import annotations

from pathlib import Path

import click

from .output import say


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "kind", type=click.Choice(["timm", "onnx"]), default="timm",
              show_default=True, help="A folder for timm, or one ONNX file.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path),
              help="Folder or file to write [default: export/ or model.onnx in the run "
                   "folder].")  # fmt: skip
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

    is_run = (run / FACTS).is_file()
    if kind == "timm":
        folder = open_run(run).export(out, checkpoint=checkpoint, overwrite=overwrite)
        say(f"Exported {folder}; timm loads it back bit for bit.")
        say(f"Load it: timm.create_model('local-dir:{folder}', pretrained=True)")
        return
    from georank_zoo.models.onnx import ONNX_TOLERANCE, export_onnx, onnx_facts

    if is_run:
        file = open_run(run).export_onnx(out, checkpoint=checkpoint, overwrite=overwrite)
    elif out is None or checkpoint != "last":
        raise click.UsageError(
            f"{run} is not a run folder: pass --out FILE.onnx, and no --checkpoint."
        )
    else:
        file = export_onnx(run, out, overwrite=overwrite)
    bands = onnx_facts(file)["bands"]
    say(
        f"Exported {file}; onnxruntime gives torch's features, within {ONNX_TOLERANCE:g} of the "
        "largest."
    )
    say(
        f"It takes reflectance (DN / 10000), (batch, {len(bands)}, height, width), of the bands "
        f"{', '.join(bands)}."
    )
