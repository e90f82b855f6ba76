"""The synthetic world as a data set: generated on demand, then read as a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from georank_zoo.data.datasets.synthetic import SYNTHETIC
from georank_zoo.data.readers.folder import Folder
from georank_zoo.data.synthetic.world import generate_world, read_world
from georank_zoo.utils.errors import UsageError
from georank_zoo.utils.locks import tidy


class SyntheticWorld(Folder):
    """Reads a generated world."""

    name = SYNTHETIC.name
    level = SYNTHETIC.level
    source = SYNTHETIC.source
    license = SYNTHETIC.license


def open_world(
    root: str | Path,
    *,
    bands: str | Sequence[str] | None = None,
    size: int | None = None,
    places: int | None = None,
    seed: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> SyntheticWorld:
    """Opens the world in a folder; generates it if the folder is empty or does not exist.

    Args:
        root: The folder.
        bands: Bands wanted; all 12 by default.
        size: Patch side in pixels; a world of that size is generated.
        places: Number of places to generate, 1000 by default.
        seed: Source of randomness, 0 by default.
        on_progress: Called with (done, in all) while it is generated and listed.

    Raises:
        UsageError: If the folder holds something else, or a world of other numbers.
    """
    root = Path(root)
    asked = {"size": size, "places": places, "seed": seed}
    chosen = {name: value for name, value in asked.items() if value is not None}
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        generate_world(root, on_progress=on_progress, **chosen)
    tidy(root)
    world = read_world(root)
    if world is None:
        raise UsageError(f"{root} does not hold a synthetic world. Choose an empty folder for it.")
    other = {name: getattr(world, name) for name, v in chosen.items() if getattr(world, name) != v}
    if other:
        has = ", ".join(f"{name} {value}" for name, value in other.items())
        raise UsageError(f"{root} holds a world of {has}. Choose another folder for a new one.")
    return SyntheticWorld(root, bands=bands, labels="parent", on_progress=on_progress)
