"""Tiny stores and model folders for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import nn

from georank_zoo.bands import S2_12
from georank_zoo.data.store.patch import NO_LABEL, NO_POSITION, Patch
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.data.store.writer import StoreWriter
from georank_zoo.models.export import export_model

MEAN = tuple(0.05 + 0.01 * i for i in range(12))
STD = tuple(0.02 + 0.005 * i for i in range(12))

# timm's own small test network; resnet18 where a test is about what is published.
SMALL = "test_resnet"


def make_store(
    path: Path,
    labels: Sequence[int],
    *,
    places: Sequence[int] | None = None,
    bands: Sequence[str] = S2_12,
    size: int = 16,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    shard_bytes: int = 4 * 12 * 16 * 16 * 2,
) -> PatchStore:
    """A store whose classes differ in brightness, in several shards.

    Band `b` of class `c` lies around DN 1000 + 400 c + 50 b', b' the band's canonical number, so
    that a mixed-up band order shows.
    """
    rng = np.random.default_rng(seed)
    places = range(len(labels)) if places is None else places
    # One item per place, as a reader gives them.
    items: dict[int, list[int]] = {}
    for sample, place in enumerate(places):
        items.setdefault(place, []).append(sample)
    labeled = any(label != NO_LABEL for label in labels)
    names = [f"class{i}" for i in range(max(labels) + 1)] if labeled else []
    writer = StoreWriter(
        path, bands=bands, size=size, spec={}, shard_bytes=shard_bytes,
        class_names=names if class_names is None else class_names,
    )  # fmt: skip
    order = [sorted(S2_12).index(b) if b in S2_12 else 20 for b in bands]
    base = np.array([50 * i for i in order])[:, None, None]
    for place, samples in items.items():
        writer.add(
            [
                Patch(
                    pixels=(
                        1000
                        + 400 * max(labels[sample], 0)
                        + base
                        + rng.integers(0, 300, (len(bands), size, size))
                    ).astype(np.uint16),
                    lat=(place * 7) % 80,
                    lon=(place * 13) % 170,
                    key=f"{place}/{sample}",
                    place=str(place),
                    label=labels[sample],
                )
                for sample in samples
            ]
        )
    return writer.finish(reader="test")


def make_network(architecture: str = SMALL, seed: int = 0) -> nn.Module:
    """A network whose every tensor differs from what timm initializes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = timm.create_model(architecture, in_chans=12, num_classes=0)
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor).mul_(0.02))
    return network


def make_export(
    folder: Path, network: nn.Module | None = None, architecture: str = SMALL, **changes: Any
) -> Path:
    """An export of a network."""
    arguments: dict[str, Any] = {
        "architecture": architecture,
        "bands": S2_12,
        "mean": MEAN,
        "std": STD,
        "image_size": 32,
        "tag": "test",
        "georank": {"name": "moco_georank", "recipe_hash": "0123456789abcdef"},
        **changes,
    }
    return export_model(network or make_network(architecture), folder, **arguments)


def edit_config(folder: Path, **changes: Any) -> None:
    """Changes `config.json`; `section__key=value` reaches into a section, None deletes."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for name, value in changes.items():
        *sections, key = name.split("__")
        target = config
        for section in sections:
            target = target[section]
        if value is None:
            target.pop(key, None)
        else:
            target[key] = value
    path.write_text(json.dumps(config))


def multi_label_store(path, labels, *, roles=None, located=True):
    """A store of several labels a patch; `None` is a patch of unknown labels."""
    classes = len(next(row for row in labels if row is not None))
    writer = StoreWriter(
        path, bands=("B02", "B03"), size=8, spec={}, target="labels", splits=("official",),
        class_names=[f"label{c}" for c in range(classes)],
    )  # fmt: skip
    for number, row in enumerate(labels):
        position = (number % 80, number % 170) if located else (NO_POSITION, NO_POSITION)
        role = roles[number] if roles else None
        bright = 1000 + 500 * sum(c * v for c, v in enumerate(row or ()))
        patch = Patch(
            np.full((2, 8, 8), bright, np.uint16), *position, key=str(number), place="0",
            labels=None if row is None else np.array(row, np.uint8),
            roles={"official": role} if role else {},
        )  # fmt: skip
        writer.add([patch])
    return writer.finish(reader="test")


ROWS = [(1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1)] * 6


PARTS = (["train"] * 4 + ["validation"] * 4 + ["test"] * 4) * 2


def run_facts(store: PatchStore, **of_store: Any) -> dict[str, Any]:
    """What `run.json` says of a run on a store that has just begun."""
    places = store.header.footprints
    known = {"path": str(store.path), "hash": store.hash, "patches": len(store), "places": places}
    known |= {"places_used": places, "level": "L2A", "source": "", "license": "", **of_store}
    return {
        "recipe": "moco", "recipe_hash": "0" * 64, "store": known, "bands": ["B02"], "mean": [0.1],
        "std": [0.1], "versions": {}, "python": "3.11", "status": "started",
    }  # fmt: skip
