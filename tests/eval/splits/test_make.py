"""Published splits, splits by distance, and splits of several labels a sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from georank_zoo.data.store.patch import UNKNOWN, Patch
from georank_zoo.data.store.writer import StoreWriter
from georank_zoo.eval.splits.distance import split_by_distance
from georank_zoo.eval.splits.make import hold_out_validation, make_split
from georank_zoo.geo import great_circle_km
from georank_zoo.utils.errors import StoreError, UsageError
from tests.support.models import PARTS, ROWS, multi_label_store


def test_a_published_split_is_taken_as_it_is(tmp_path):
    rows, parts = [*ROWS, None, (1, 0, 0)], [*PARTS, "train", None]
    split = make_split(multi_label_store(tmp_path / "s", rows, roles=parts), "official", seed=5)
    assert split.name == "official"
    named = {"train": split.train, "validation": split.validation, "test": split.test}
    for role, part in named.items():
        assert [parts[i] for i in split.samples[part]] == [role] * 8
    assert split.dropped == 2  # one without labels, one without a part
    fitted, held = hold_out_validation(split, seed=9)
    assert fitted is split.train
    assert held is split.validation


def test_a_part_of_a_data_set_may_lack_a_role(tmp_path):
    store = multi_label_store(tmp_path / "s", ROWS, roles=["train"] * len(ROWS))
    with pytest.raises(StoreError, match="no test patch in split 'official'"):
        make_split(store, "official")
    only = ["train", "test"] * 12
    split = make_split(multi_label_store(tmp_path / "t", ROWS, roles=only), "official")
    assert split.validation is None
    fitted, held = hold_out_validation(split)
    assert sorted([*fitted, *held]) == split.train.tolist()


def test_names_of_a_store(tmp_path):
    store = multi_label_store(tmp_path / "s", ROWS)
    with pytest.raises(UsageError, match="Choose from: distance50km, loo, official, random"):
        make_split(store, "public")


def test_rare_labels_reach_both_sides_of_a_random_split(tmp_path):
    rows = [(1, 0, 0)] * 80 + [(1, 1, 0)] * 15 + [(1, 0, 1)] * 5 + [(0, 0, 0)] * 10
    split = make_split(multi_label_store(tmp_path / "s", rows), "random")
    for part in (split.train, split.test):
        assert split.label[part].any(axis=0).all()
    assert len(split.test) == 22
    assert split.absent(("a", "b", "c")) == ()


def background_store(path, *, house):
    """Masks whose most frequent class is the background."""
    writer = StoreWriter(
        path, bands=("B02",), size=8, spec={}, target="mask", class_names=("background", "house")
    )
    for number in range(10):
        mask = np.zeros((8, 8), np.uint8)
        mask[0], mask[1, :house] = UNKNOWN, 1
        pixels = np.full((1, 8, 8), 1000 + number, np.uint16)
        writer.add([Patch(pixels, number, 0, key=str(number), place="0", mask=mask)])
    return writer.finish(reader="test")


def test_masks_of_mostly_background_are_something_to_predict(tmp_path):
    split = make_split(background_store(tmp_path / "houses", house=2), "random")
    assert len(split.train) + len(split.test) == 10
    with pytest.raises(StoreError, match="one class only"):
        make_split(background_store(tmp_path / "empty", house=0), "random")


def spread(count=2000, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack((rng.uniform(35, 65, count), rng.uniform(-10, 30, count)), axis=1)


@pytest.mark.parametrize("km", [10, 100])
def test_no_training_sample_is_near_a_test_sample(km):
    latlon = spread()
    train, test = split_by_distance(latlon, km, 0.2, seed=0)
    a, b = torch.from_numpy(latlon[test]), torch.from_numpy(latlon[train])
    apart = great_circle_km(a, b)
    assert float(apart.min()) > km
    # Every sample that is left out lies near a test sample: none is lost for nothing.
    rest = np.setdiff1d(np.arange(len(latlon)), np.concatenate([train, test]))
    near = great_circle_km(torch.from_numpy(latlon[rest]), a).min(dim=1).values
    assert len(rest) > 0
    assert float(near.max()) <= km
    assert 0.15 < len(test) / len(latlon) < 0.25
    assert len(train) > 0.4 * len(latlon)


def test_distance_splits_are_seeded_and_keep_places_together():
    latlon = np.repeat(spread(500), 2, axis=0)
    train, test = split_by_distance(latlon, 50, 0.2, seed=1)
    again, other = (split_by_distance(latlon, 50, 0.2, seed=seed)[1] for seed in (1, 2))
    assert again.tolist() == test.tolist() != other.tolist()
    assert not set(train // 2) & set(test // 2)


def test_distances_that_cannot_be(tmp_path):
    with pytest.raises(UsageError, match="Give a smaller distance"):
        split_by_distance(np.array([[50.0, 8.0], [50.0, 8.01]]), 200, 0.2, seed=0)
    with pytest.raises(UsageError, match="up to 5000 km, not 9000"):
        split_by_distance(spread(10), 9000, 0.2, seed=0)
    nowhere = multi_label_store(tmp_path / "s", ROWS, located=False)
    with pytest.raises(StoreError, match=r"24 of the 24 patches .* have no position"):
        make_split(nowhere, "distance50km")
    assert len(make_split(nowhere, "random").test) > 0


def test_name_tells_distance_and_seed(tmp_path):
    store = multi_label_store(tmp_path / "s", ROWS)
    assert make_split(store, "distance20km", seed=3).name == "distance20km-seed3"
