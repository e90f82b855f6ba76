"""Distances to pretraining places, and what `georank data overlap` says of them."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from georank_cli.main import _run
from georank_zoo.eval.splits.overlap import nearest_km, overlap
from georank_zoo.utils.errors import UsageError
from tests.support.models import make_store
from tests.support.oracles import haversine


def positions(count, seed):
    rng = np.random.default_rng(seed)
    anywhere = np.column_stack((rng.uniform(-90, 90, count), rng.uniform(-180, 180, count)))
    # Both sides of the date line, and around both poles.
    date_line = np.column_stack((rng.uniform(-20, 20, 20), np.tile((179.99, -179.99), 10)))
    poles = np.column_stack((np.tile((89.95, -89.95), 10), rng.uniform(-180, 180, 20)))
    return np.concatenate((anywhere, date_line, poles, [[90, 0], [-90, 0], [0, 180], [0, -180]]))


def test_equals_brute_force_haversine(monkeypatch):
    queries, points = positions(300, 1), positions(500, 2)
    expected = haversine(queries, points).min(axis=1)
    found = nearest_km(queries, points)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-4)
    monkeypatch.setattr("georank_zoo.eval.splits.overlap._FOUND_AT_ONCE", 7)
    np.testing.assert_array_equal(nearest_km(queries, points), found)


def test_across_the_date_line_and_the_pole():
    degree = 2 * np.pi * 6371.0088 / 360
    queries = np.array([[0, 179.75], [89.75, 0], [10, -180]])
    points = np.array([[0, -179.75], [89.75, 180], [10, 180], [45, 0]])
    np.testing.assert_allclose(nearest_km(queries, points), [degree / 2, degree / 2, 0], atol=1e-6)


@pytest.mark.parametrize("at_once", [2**20, 5])
def test_own_place_does_not_count(monkeypatch, at_once):
    # Places of 1 to 30 patches that lie closer to each other than to any other place.
    monkeypatch.setattr("georank_zoo.eval.splits.overlap._FOUND_AT_ONCE", at_once)
    place = np.repeat(np.arange(12), (1, 30, 2, 3, 1, 5, 9, 17, 1, 1, 2, 4))
    centers = positions(0, 0)[:24:2]
    latlon = np.clip(centers[place], -89.9, 89.9)
    latlon[:, 0] += np.random.default_rng(0).uniform(0, 1e-3, len(place))
    latlon[-1] = latlon[0]  # another place at the very same spot
    km = haversine(latlon, latlon)
    km[place[:, None] == place] = np.inf
    found = nearest_km(latlon, latlon, query_groups=place, point_groups=place)
    np.testing.assert_allclose(found, km.min(axis=1), rtol=1e-9, atol=1e-4)
    assert found[-1] == 0


def test_nothing_to_be_near():
    here = np.zeros((2, 2))
    assert nearest_km(here, np.empty((0, 2))).tolist() == [np.inf] * 2
    same = np.zeros(2, np.int64)
    assert nearest_km(here, here, query_groups=same, point_groups=same).tolist() == [np.inf] * 2


def test_a_missing_position_is_refused():
    with pytest.raises(UsageError, match="The points: 1 of 2 positions are invalid"):
        nearest_km(np.zeros((1, 2)), np.array([[0, 0], [np.nan, 0]]))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    # `make_store` puts place p at latitude 7 p mod 80, longitude 13 p mod 170.
    root = tmp_path_factory.mktemp("overlap")
    places = [0, 0, 1, 1, 1, 2, 3, 4]
    evaluation = make_store(root / "eval", [0, 0, 1, 1, 1, 0, 1, 0], places=places)
    return make_store(root / "pretrain", [0, 0, 0], places=[0, 2, 2]), evaluation


def test_counts_of_patches_and_places(stores):
    found = overlap(*stores)
    latlon = stores[1].latlon
    expected = haversine(latlon, latlon[[0, 5]]).min(axis=1)
    np.testing.assert_allclose(found.km, expected, atol=1e-6)
    assert len(found.pretrain_latlon) == 2
    near, far = found.within([1e5, 0])
    assert (near.km, near.patches_within, near.patches) == (0, 3, 8)
    assert (near.places_within, near.places) == (2, 5)
    assert (far.patches_within, far.places_within) == (8, 5)
    # The radius itself is within.
    [exactly] = found.within([float(np.sort(found.km)[3])])
    assert exactly.patches_within == (found.km <= np.sort(found.km)[3]).sum() > 3


def test_a_split_compares_its_test_with_its_training_patches(stores):
    found = overlap(*stores, split="random", seed=0)
    assert found.split == "random80-seed0"
    rest = ~np.isin(stores[1].place, found.place)
    expected = haversine(found.latlon, stores[1].latlon[rest]).min(axis=1)
    np.testing.assert_allclose(found.train_km, expected, atol=1e-6)
    assert 0 < len(found.km) < 8
    assert [row.near for row in found.within([1, 2])] == ["pretraining"] * 2 + ["training"] * 2


def run(*arguments):
    return _run(["data", "overlap", *map(str, arguments)], False)


def test_command_shows_and_writes(stores, tmp_path, capsys):
    figures = [tmp_path / "new" / "map.png", tmp_path / "map.svg"]
    pretrain, evaluation = (store.path for store in stores)
    for figure in figures:
        options = ("--km", 0, "--km", 2000, "--split", "loo", "--out", figure)
        assert run(pretrain, evaluation, *options, "--csv", tmp_path / "new" / "counts.csv") == 0
    shown = capsys.readouterr().out
    assert "3 (37.5 %)" in shown
    assert "2 (40.0 %)" in shown
    assert "8 test patches of split loo, 5 places; 2 pretraining positions" in shown
    rows = list(csv.DictReader((tmp_path / "new" / "counts.csv").open()))
    assert [(row["near"], row["km"]) for row in rows] == [
        ("pretraining", "0"), ("pretraining", "2000"), ("training", "0"), ("training", "2000"),
    ]  # fmt: skip
    assert (rows[0]["patches_within"], rows[0]["places_within"]) == ("3", "2")
    assert rows[2]["patches_within"] == "0"  # never the own place
    assert rows[0]["pretrain_hash"] == stores[0].hash
    assert figures[0].read_bytes().startswith(b"\x89PNG")
    assert "<svg" in figures[1].read_text()
    assert sorted(p.name for p in tmp_path.rglob(".*")) == []


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["nothing"], 1, "No store at nothing"),
        (["--km", "-1"], 2, "0 or more, not -1"),
        (["--km", "nan"], 2, "0 or more, not nan"),
        (["--out", "map.pdf"], 2, "a figure is a .png or .svg file"),
        (["--split", "official"], 2, "Unknown split 'official'"),
    ],
)
def test_mistakes_end_with_a_sentence(stores, capsys, arguments, code, reason):
    stores = [str(store.path) for store in stores]
    first = stores[len(arguments) % 2 :] if arguments[0] == "nothing" else stores
    assert run(*first, *arguments) == code
    assert reason in capsys.readouterr().err
