"""The working directory that examples, snippets and notebooks of the documentation run in."""

from __future__ import annotations

import shutil
from pathlib import Path

from georank_zoo.data.prepare import prepare
from georank_zoo.data.readers import open_reader
from georank_zoo.data.synthetic.world import generate_world
from georank_zoo.training import trainer
from georank_zoo.training.recipe import load_recipe
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
        plan = load_recipe(name, TINY, data=str(folder / "stores" / "mine"))
        trainer.train(plan, folder / "runs" / plan.name)
    return folder
