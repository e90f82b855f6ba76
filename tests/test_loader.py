"""Batches as a function of (seed, step), whatever the processes, workers and restarts."""

from pathlib import Path

import numpy as np
import pytest
import torch

from georank_zoo.data.loader import PlaceBatches, iterate
from georank_zoo.data.store import PatchStore
from georank_zoo.errors import StoreError
from tests.helpers import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PatchStore:
    # Places 0-9 have two dates, places 10-20 have one.
    places = [*range(10), *range(10), *range(10, 21)]
    return make_store(tmp_path_factory.mktemp("loader") / "store", [0] * 31, places=places)


def batches(store: PatchStore, **changes: object) -> PlaceBatches:
    settings = {
        "bands": store.bands, "batch_size": 6, "seed": 1, "temporal": True, "views": 2, "draws": 8,
    }  # fmt: skip
    return PlaceBatches(store, **{**settings, **changes})


def test_an_epoch_visits_each_place_once(store: PatchStore) -> None:
    data = batches(store)
    assert data.per_epoch == 3
    for epoch in range(4):
        seen = np.concatenate([data.patches(3 * epoch + i)[0] for i in range(3)])
        assert len(set(store.place[seen])) == 18
    first, second = (data.patches(i)[0] for i in (0, 3))
    assert set(store.place[first]) != set(store.place[second])  # another order


def test_two_dates_of_a_place_are_two_patches_of_it(store: PatchStore) -> None:
    data = batches(store)
    shown = np.concatenate([data.patches(i) for i in range(30)], axis=1)
    assert np.array_equal(store.place[shown[0]], store.place[shown[1]])
    twice = store.place[shown[0]] < 10
    assert (shown[0] != shown[1])[twice].all() and (shown[0] == shown[1])[~twice].all()
    # Either date comes first.
    assert len(set(shown[0][store.place[shown[0]] == 3])) == 2
    assert len(batches(store, temporal=False).patches(0)) == 1


def test_content(store: PatchStore) -> None:
    data = batches(store, bands=("B04", "B02"))
    batch = data[4]
    patches = data.patches(4)
    assert batch["images"].shape == (2, 6, 2, 16, 16) and batch["images"].dtype == torch.uint16
    expected = store.read(patches[1], ("B04", "B02"))
    np.testing.assert_array_equal(batch["images"][1].numpy(), expected)
    np.testing.assert_array_equal(batch["latlon"].numpy(), store.latlon[patches[0]])
    assert batch["uniform"].shape == (6, 2, 8)


def test_processes_share_the_batch_of_one(store: PatchStore) -> None:
    whole = batches(store)[5]
    parts = [batches(store, rank=rank, processes=3)[5] for rank in range(3)]
    for key, axis in (("images", 1), ("latlon", 0), ("uniform", 0)):
        joined = torch.cat([part[key] for part in parts], dim=axis)
        assert torch.equal(joined.float(), whole[key].float())


def test_parts_share_the_batch_of_a_step(store: PatchStore) -> None:
    whole = batches(store)[4]
    data = batches(store, parts=2)
    assert data.per_epoch == batches(store).per_epoch
    joined = torch.cat([data[number]["uniform"] for number in (8, 9)])
    assert torch.equal(joined, whole["uniform"])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_late_start_gives_the_same_batches(store: PatchStore, workers: int) -> None:
    data = batches(store)
    late = list(iterate(data, 7, 10, workers=workers, pin_memory=False))
    assert len(late) == 3
    for number, batch in zip(range(7, 10), late, strict=True):
        assert torch.equal(batch["images"].int(), data[number]["images"].int())
        assert torch.equal(batch["uniform"], data[number]["uniform"])


def test_seed_and_step_change_the_draws(store: PatchStore) -> None:
    base = batches(store)[0]["uniform"]
    assert not torch.equal(base, batches(store)[1]["uniform"])
    assert not torch.equal(base, batches(store, seed=2)[0]["uniform"])


def test_too_few_places(store: PatchStore) -> None:
    with pytest.raises(StoreError, match="21 places, fewer than a batch of 32"):
        batches(store, batch_size=32)


def test_lacking_band(tmp_path: Path) -> None:
    rgb = make_store(tmp_path / "rgb", [0] * 4, bands=("B04", "B03", "B02"))
    with pytest.raises(StoreError, match="lacks band"):
        batches(rgb, bands=("B04", "B11"))
