"""The working directory that examples, snippets and notebooks of the documentation run in."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from torchgeo.datasets import EuroSAT

from georank_zoo.bands import S2_12
from georank_zoo.data.datasets.eurosat import EUROSAT
from georank_zoo.data.prepare import prepare
from georank_zoo.data.readers import open_reader
from georank_zoo.data.synthetic.world import generate_world
from georank_zoo.training import recipe, trainer
from tests.support import trees
from tests.support.card_parts import TINY


def make_folder(folder: Path) -> Path:
    """Fills a folder.

    my_geotiffs/ (a generated world of 96 places x 2 dates, 12 bands, 32 px, 8 classes);
    stores/mine and stores/eurosat, both its store; runs/moco-r18 and runs/georank-moco-r18, tiny
    finished runs on it.
    """
    generate_world(folder / "my_geotiffs", places=96, seasons=2, size=32, seed=0)
    store = prepare(open_reader("synthetic", folder / "my_geotiffs"), folder / "stores" / "mine")
    shutil.copytree(store.store.path, folder / "stores" / "eurosat")
    for name in ("moco", "moco_georank"):
        plan = recipe.load(name, TINY, {"data.store": str(folder / "stores" / "mine")})
        trainer.train(plan, folder / "runs" / plan.name)
    return folder


def make_documented_folder(folder: Path) -> Path:
    """The same, and what the README and the pages of docs/ speak of.

    data/eurosat (EuroSAT in miniature: 40 patches, 60 km apart) and stores/eurosat from it; the
    same where torchgeo expects it; scene.tif (12 bands, 128 px, with the offset of baseline 04.00).
    """
    make_folder(folder)
    shutil.rmtree(folder / "stores" / "eurosat")
    for place, name in enumerate(EUROSAT.classes * 4):
        trees.write_tif(
            folder / "data" / "eurosat" / name / f"{name}_{place // 10 + 1}.tif",
            trees.noise((13, 64, 64), place) + np.uint16(50 * (place % 10)),
            left=300_000 + 60_000 * (place % 7),
            top=4_500_000 + 60_000 * (place // 7),
        )
    prepare(open_reader("eurosat", folder / "data" / "eurosat"), folder / "stores" / "eurosat")
    shutil.copytree(folder / "data" / "eurosat", folder / "data" / EuroSAT.base_dir)
    files = sorted((folder / "data" / "eurosat").rglob("*.tif"))
    names = "".join(f"{path.stem}.jpg\n" for path in files)
    (folder / "data" / "eurosat-train.txt").write_text(names)
    trees.write_tif(
        folder / "scene.tif", trees.noise((12, 128, 128)) + np.uint16(1000), descriptions=S2_12
    )
    return folder
