"""Each shipped recipe trains, on a store of two dates and near places."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from georank_zoo.bands import S2_12
from georank_zoo.data.store.patch import Patch
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.data.store.writer import StoreWriter
from georank_zoo.training import trainer
from georank_zoo.training.recipe import Recipe, list_recipes, load_recipe
from georank_zoo.utils.errors import RecipeError, StoreError, UsageError
from georank_zoo.utils.progress import Silent
from tests.support.small_algorithms import SMALL

TINY = [
    "backbone.name=test_resnet", "views.size=16", "train.batch_size=8", "train.steps=3",
    "train.workers=0", "train.precision=fp32", "schedule.warmup_epochs=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PatchStore:
    """24 places in pairs of 5 km, two dates each."""
    rng = np.random.default_rng(0)
    writer = StoreWriter(
        tmp_path_factory.mktemp("shipped") / "store", bands=S2_12, size=16, spec={},
        shard_bytes=10**6,
    )  # fmt: skip
    for place in range(24):
        writer.add(
            [
                Patch(
                    pixels=rng.integers(500, 4000, (12, 16, 16)).astype(np.uint16),
                    lat=place // 2 * 4 + place % 2 * 0.04, lon=place // 2 * 5.0,
                    key=f"{place}/{date}", place=str(place), label=-1,
                )
                for date in range(2)
            ]
        )  # fmt: skip
    return writer.finish(reader="test")


def load(name: str, store: PatchStore, *overrides: str) -> Recipe:
    options = [*TINY, f"data.store={store.path}"]
    plain = load_recipe(name)
    if plain.views.options()["local_views"]:
        options.append("views.local_size=8")
    if plain.data.places:
        options.append("data.places=12")
    if plain.regularizer.name == "geo_classes":
        options.append("regularizer.clusters=3")
    small = SMALL[plain.algorithm.name]
    options += [f"algorithm.{key}={value}" for key, value in small.items()]
    return load_recipe(name, [*options, *overrides])


class Listening(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


@pytest.mark.parametrize("name", list_recipes())
def test_trains(name: str, store: PatchStore, tmp_path: Path) -> None:
    plan = load(name, store)
    run = trainer.train(plan, tmp_path / "run")
    row = run.log.rows()[-1]
    assert row["step"] == 3 and np.isfinite(list(row.values())).all()
    assert (run.path / "export" / "model.safetensors").is_file()
    assert run.facts["store"]["places_used"] == (12 if plan.data.places else 24)
    if plan.regularizer.name != "none":
        assert row[f"loss_{plan.regularizer.name}"] >= 0
    if plan.algorithm.name == "tile2vec":
        assert row["triplets"] == 1  # the batches hold whole pairs


def test_tile2vec_hears_of_places_that_lie_too_far_apart(store: PatchStore, tmp_path: Path) -> None:
    plan = load("tile2vec", store, "data.neighbors_km=1")
    listening = Listening()
    run = trainer.train(plan, tmp_path / "run", reporter=listening)
    assert any("Only 0% of the places" in text for text in listening.texts)
    assert run.log.rows()[-1]["loss"] >= 0


def test_dino_sees_all_its_crops_of_a_store_of_two_dates(
    store: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two dates zipped against six crops drop four of them.
    from georank_zoo.algorithms import DINO

    plan, seen = load("dino", store), []
    forward = DINO.forward

    def watch(self: DINO, views: list[torch.Tensor], latlon: torch.Tensor) -> object:
        seen.append([tuple(view.shape) for view in views])
        return forward(self, views, latlon)

    monkeypatch.setattr(DINO, "forward", watch)
    trainer.train(plan, tmp_path / "run")
    assert seen == 3 * [2 * [(8, 12, 16, 16)] + 4 * [(8, 12, 8, 8)]]


def test_small_crops_below_32_px_are_refused_in_bf16_on_the_cpu(
    store: PatchStore, tmp_path: Path
) -> None:
    plan = load("dino", store, "train.precision=bf16", "views.size=32", "views.local_size=31")
    with pytest.raises(UsageError, match=r"Views of 31 px .* or views\.local_size=32"):
        trainer.train(plan, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_is_written_where_a_store_has_too_few_places(
    store: PatchStore, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="24 places, fewer than the 25"):
        trainer.train(load("study_places_10k", store, "data.places=25"), tmp_path / "run")
    with pytest.raises(RecipeError, match="small crops"):
        load("moco", store, "views.local_views=2")
    assert not (tmp_path / "run").exists()


def test_a_run_of_an_earlier_version_goes_on(store: PatchStore, tmp_path: Path) -> None:
    # Its recipe lacks the keys that are new, and so its hash was another.
    run = trainer.train(load("moco", store), tmp_path / "run")
    text = (run.path / "recipe.yaml").read_text()
    old = [
        line for line in text.splitlines(keepends=True)
        if not line.lstrip().startswith(("local_", "- 0.08", "- 0.25", "places:", "neighbors_km:"))
    ]  # fmt: skip
    assert len(old) == len(text.splitlines()) - 7
    (run.path / "recipe.yaml").write_text("".join(old))
    facts = json.loads((run.path / "run.json").read_text())
    for later in ("files", "checksum"):
        del facts[later]
    (run.path / "run.json").write_text(json.dumps({**facts, "recipe_hash": "0" * 64}))
    trainer.train(load("moco", store), tmp_path / "run", resume=True)
    with pytest.raises(UsageError, match="another recipe"):
        trainer.train(load("moco", store, "seed=1"), tmp_path / "run", resume=True)
