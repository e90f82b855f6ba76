"""Batches as a function of (seed, step), whatever the processes, workers and restarts."""

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from georank_zoo.data.store.patch import Patch
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.data.store.writer import StoreWriter
from georank_zoo.training.batches import PlaceBatches, iterate
from georank_zoo.training.pairing import order_in_pairs
from georank_zoo.utils.errors import StoreError
from georank_zoo.utils.rng import stream
from tests.support.models import make_store
from tests.support.oracles import haversine_km
from tests.support.trees import noise


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


def test_footprints_that_overlap_are_samples_of_their_own(tmp_path: Path) -> None:
    # Half of each of the squares of 80 m lies on the next one: one place, four samples.
    writer = StoreWriter(tmp_path / "s", bands=("B02",), size=8, spec={})
    for n, date in itertools.product(range(4), range(2)):
        lat = n * 40 / 110_574
        writer.add([Patch(noise((1, 8, 8), 2 * n + date), lat, 0.0, key=f"{n} {date}", place="")])
    store = writer.finish(reader="test")
    assert (store.header.places, store.header.footprints) == (1, 4)
    data = batches(store, batch_size=4)
    assert (data.places, data.per_epoch) == (4, 1)
    one, other = data.patches(0) // 2
    assert sorted(one) == [0, 1, 2, 3] and np.array_equal(one, other)


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
    with pytest.raises(StoreError, match="missing band"):
        batches(rgb, bands=("B04", "B11"))


def test_one_view_reads_one_date(store: PatchStore) -> None:
    two, one = batches(store), batches(store, views=1)
    for number in range(4):
        assert np.array_equal(one.patches(number), two.patches(number)[:1])


def shown_places(data: PlaceBatches) -> set[int]:
    """The places of some epochs."""
    numbers = range(5 * data.per_epoch)
    return {int(place) for n in numbers for place in data.store.place[data.patches(n)].flat}


def test_subsets_of_one_seed_are_nested(store: PatchStore) -> None:
    seen = {n: shown_places(batches(store, subset=n)) for n in (6, 9, 15, 21)}
    assert [len(places) for places in seen.values()] == [6, 9, 15, 21]
    assert seen[6] < seen[9] < seen[15] < seen[21]
    assert seen[9] != shown_places(batches(store, subset=9, seed=2))
    assert batches(store, subset=9).per_epoch == 1 and batches(store, subset=9).places == 9
    # All the places by their number are all the places.
    whole, counted = batches(store), batches(store, subset=21)
    assert all(np.array_equal(whole.patches(n), counted.patches(n)) for n in range(6))


def test_positions_are_those_of_the_places_trained_on(store: PatchStore) -> None:
    data = batches(store, subset=9)
    expected = {tuple(store.latlon[store.place == place][0]) for place in shown_places(data)}
    assert len(data.latlon) == 9 and {tuple(row) for row in data.latlon} == expected


def test_a_subset_beyond_the_store(store: PatchStore) -> None:
    with pytest.raises(StoreError, match=r"21 places, fewer than the 22 of `data\.places`"):
        batches(store, subset=22)
    with pytest.raises(StoreError, match=r"`data\.places` takes 5, fewer than a batch of 6"):
        batches(store, subset=5)


def scattered(count: int = 300, seed: int = 0) -> npt.NDArray[np.float64]:
    """Positions: clusters of 20 km at all latitudes and the date line, and lone places."""
    rng = np.random.default_rng(seed)
    centers = np.stack((rng.uniform(-85, 85, 30), rng.uniform(-180, 180, 30)), axis=1)
    centers[0] = [10.0, 180.0]
    chosen = centers[rng.integers(0, 30, count)]
    offset = rng.uniform(-0.09, 0.09, (count, 2))
    offset[:, 1] /= np.cos(np.radians(chosen[:, 0]))
    latlon = chosen + offset
    latlon[:, 1] = (latlon[:, 1] + 180) % 360 - 180
    latlon[-10:] = np.stack((np.linspace(-80, 80, 10), np.linspace(-170, 170, 10)), axis=1)
    return latlon


@pytest.mark.parametrize("count", [300, 301, 2, 1])
def test_an_order_in_pairs_holds_each_place_once_and_near_ones_together(count: int) -> None:
    latlon = scattered(max(count, 20))[:count]
    km = haversine_km(latlon)
    order, pairs = order_in_pairs(latlon, 15.0, stream(0, "order", 0))
    assert sorted(order) == list(range(count))
    first, second = order[: count // 2 * 2].reshape(-1, 2).T
    near = (km[first, second] > 0) & (km[first, second] <= 15)
    assert near.sum() >= pairs
    # Of the places that have a neighbor at all, nearly all stand beside one.
    able = ((km > 0) & (km <= 15)).any(axis=1).sum()
    assert 2 * pairs >= 0.9 * able - 2
    assert count < 300 or able > 200


def test_orders_in_pairs_are_random_and_mixed() -> None:
    latlon = scattered()
    km = haversine_km(latlon)
    orders = [order_in_pairs(latlon, 15.0, stream(0, "order", epoch))[0] for epoch in (0, 0, 1)]
    assert np.array_equal(orders[0], orders[1]) and not np.array_equal(orders[0], orders[2])
    partners = [{frozenset(pair) for pair in order.reshape(-1, 2).tolist()} for order in orders[1:]]
    assert len(partners[0] & partners[1]) < 60  # another neighbor in another epoch
    # Pairs are spread over the epoch: each fifth of it holds its share.
    near = km[orders[0][0::2], orders[0][1::2]] <= 15
    assert all(20 <= part.sum() <= 30 for part in np.split(near, 5))


def test_places_of_one_position_are_no_pair() -> None:
    latlon = np.repeat([[10.0, 10.0], [50.0, 10.0]], 10, axis=0)
    order, pairs = order_in_pairs(latlon, 15.0, stream(0, "order", 0))
    assert pairs == 0 and sorted(order) == list(range(20))


@pytest.mark.parametrize("km", [500.0, 30000.0])
def test_far_neighbors_are_found_too(km: float) -> None:
    latlon = scattered()
    order, pairs = order_in_pairs(latlon, km, stream(0, "order", 0))
    distances = haversine_km(latlon)[order[0::2], order[1::2]]
    assert (distances <= km).sum() >= pairs > 130


def test_batches_of_neighbors(tmp_path: Path) -> None:
    # Neighboring numbers lie some 1,600 km apart.
    store = make_store(tmp_path / "store", [0] * 31)
    data = batches(store, neighbors_km=2500.0, batch_size=8)
    for processes in (1, 2):
        shares = []
        for number in range(6):
            for rank in range(processes):
                part = batches(
                    store, neighbors_km=2500.0, batch_size=8, rank=rank, processes=processes
                )
                km = haversine_km(part[number]["latlon"].numpy())
                np.fill_diagonal(km, np.inf)
                shares.append((km <= 2500).any(axis=1).mean())
        assert np.mean(shares) > 0.9  # whole in each process's part
    for epoch in range(2):
        seen = np.concatenate([data.patches(3 * epoch + i)[0] for i in range(3)])
        assert len(set(seen)) == 24
    assert data.advice() is None
    lonely = batches(store, neighbors_km=1.0, batch_size=8)
    assert "Only 0% of the places have another within 1 km" in str(lonely.advice())
    assert batches(store).advice() is None
