"""`georank features`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .output import say


@click.command()
@click.argument("model")
@click.argument("source", type=click.Path())
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE",
              help="File to write: .safetensors or .parquet for a store, .tif for a "
              "scene.")  # fmt: skip
@click.option("--size", type=click.IntRange(8, 4096), metavar="PIXELS",
              help="Image size that the network gets [default: the model's own].")  # fmt: skip
@click.option("--tile", type=click.IntRange(1), metavar="PIXELS",
              help="Scene: side of a tile [default: the image size].")  # fmt: skip
@click.option("--stride", type=click.IntRange(1), metavar="PIXELS",
              help="Scene: from a tile to the next, and the size of an output pixel [default: the "
              "tile].")  # fmt: skip
@click.option("--bands", metavar="NAMES",
              help="Scene: the file's bands in file order, if it does not name them.")  # fmt: skip
@click.option("--ignore-descriptions", is_flag=True, default=None,
              help="Scene: take --bands in file order, whatever the file calls them.")  # fmt: skip
@click.option("--unit", metavar="dn|reflectance",
              help="Scene: unit of the pixels [default: what the files say, else "
              "dn].")  # fmt: skip
@click.option("--offset", type=click.IntRange(0, 10000), metavar="DN",
              help="Scene: subtract this [default: what the files, the product's XML or the "
              "baseline in a name say: 1000 for processing baseline 04.00 and "
              "later].")  # fmt: skip
@click.option("--radiometry", metavar="auto|options",
              help="Scene: whether what the files and the product say of the numbers must agree "
              "with --unit and --offset, or these alone count [default: auto].")  # fmt: skip
@click.option("--remote", is_flag=True, default=None,
              help="Scene: SOURCE may be at https://, http:// or s3://, or a text file that lists "
              "the addresses of its bands.")  # fmt: skip
@click.option("--max-nodata", type=click.FloatRange(0, 1, max_open=True), metavar="SHARE",
              help="Scene: tiles with more pixels without data, or beyond the edge, are NaN "
              "[default: 0.05].")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(1), default=256, show_default=True,
              help="Images per batch.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|mps",
              help="Device to run on.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def features(
    model: str,
    source: str,
    out: Path,
    size: int | None,
    batch_size: int,
    device: str,
    overwrite: bool,
    **scene: Any,
) -> None:
    """Write the embeddings of a store's patches or of a whole scene.

    MODEL is an export folder, a run folder, or a model on the Hugging Face Hub
    (org/name[@revision]).

    SOURCE is a store, and the file a table with latitude and longitude, or a scene (a multi-band
    GeoTIFF, or a folder with one file a band), and the file a GeoTIFF with one pixel a tile and
    one band a feature. Repeat the command after an interruption: a store resumes where it
    stopped, a scene begins again.
    """
    from georank_zoo.data.files.remote import is_remote, shown
    from georank_zoo.data.store.header import HEADER_FILE
    from georank_zoo.embed.raster import embed_scene
    from georank_zoo.embed.table import embed_store
    from georank_zoo.utils.errors import UsageError

    from .progress import Bar

    if not is_remote(source) and not Path(source).exists():
        raise UsageError(f"There is no {source}. Give a store or a scene.")
    is_store = (Path(source) / HEADER_FILE).is_file()
    scene = {name: value for name, value in scene.items() if value is not None}
    if is_store and scene:
        option = next(iter(scene)).replace("_", "-")
        raise UsageError(f"--{option} is for a scene, and {source} is a store.")
    embed: Any = embed_store if is_store else embed_scene
    with Bar(f"Embedding {shown(source)}") as bar:
        done = embed(
            model, source, out, image_size=size, batch_size=batch_size, device=device,
            overwrite=overwrite, on_progress=bar.update, **scene,
        )  # fmt: skip
    say(str(done))
