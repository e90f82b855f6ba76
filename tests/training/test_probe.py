"""The k-NN probe: what it refuses before training, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from georank_zoo.bands import S2_12
from georank_zoo.data.store.patch import NO_LABEL
from georank_zoo.training.probe import Probe
from georank_zoo.training.recipe import load_recipe
from georank_zoo.utils.errors import GeorankError, RecipeError, StoreError
from tests.support.models import MEAN, SMALL, STD, make_network, make_store

LABELS = [place % 2 for place in range(24)]


def probe_of(store: Path, *overrides: str) -> Probe:
    plan = load_recipe(
        "moco",
        [
            "data.store=unused", f"probe.store={store}", "views.size=16", f"backbone.name={SMALL}",
            *overrides,
        ],
    )  # fmt: skip
    probe = Probe.from_recipe(plan, mean=MEAN, std=STD)
    assert probe is not None
    return probe


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("probe") / "store", LABELS).path


def test_no_store_no_probe():
    plan = load_recipe("moco", ["data.store=unused"])
    assert Probe.from_recipe(plan, mean=MEAN, std=STD) is None


def test_scores(store):
    probe = probe_of(store)
    assert probe.bands == S2_12
    assert probe.image_size == 16
    scores = probe(make_network(), torch.device("cpu"))
    assert set(scores) == {"probe_accuracy_macro", "probe_geo_spearman"}
    # Classes differ by brightness, so any network tells them apart.
    assert scores["probe_accuracy_macro"] > 0.8
    assert -1 <= scores["probe_geo_spearman"] <= 1


def test_bands_that_the_store_lacks_are_fed_at_their_mean(tmp_path):
    store = make_store(tmp_path / "rgbn", LABELS, bands=("B04", "B03", "B02", "B08"))
    scores = probe_of(store.path)(make_network(), torch.device("cpu"))
    assert scores["probe_accuracy_macro"] > 0.8


def test_each_part_stays_in_its_own_mode(store):
    network = make_network().train()
    network.layer1.eval()  # as a frozen part is
    modes = [module.training for module in network.modules()]
    assert len(set(modes)) == 2
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    probe_of(store)(network, torch.device("cpu"))
    assert [module.training for module in network.modules()] == modes
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize(
    ("labels", "options", "reason"),
    [
        ([NO_LABEL] * 24, {}, "has no labels"),
        ([0] * 24, {}, "one class only"),
        (LABELS, {"bands": ("B10",)}, "no band in common"),
        # Ten samples in all, nine outside each one's place.
        (LABELS[:10], {}, "only 9 for some"),
        # Plenty in all, but nearly all of one place.
        (LABELS, {"places": [*[0] * 20, 1, 2, 3, 4]}, "only 4 for some"),
    ],
)
def test_stores_that_would_fail_at_the_first_probe(tmp_path, labels, options, reason):
    store = make_store(tmp_path / "store", labels, **options)
    with pytest.raises(StoreError, match=reason):
        probe_of(store.path)


def test_eleven_places_are_enough(tmp_path):
    store = make_store(tmp_path / "store", LABELS[:11])
    probe_of(store.path)(make_network(), torch.device("cpu"))


@pytest.mark.parametrize("size", [1, 7, 2049, 10**9])
def test_an_image_size_beyond_sense(store, size):
    with pytest.raises(
        RecipeError,
        match=r"probe\.image_size: Input should be (greater|less) than or equal to (8|2048)",
    ):
        probe_of(store, f"probe.image_size={size}")


def test_an_image_size_that_the_backbone_does_not_take(store):
    with pytest.raises(GeorankError, match="takes one size only"):
        probe_of(store, "backbone.name=test_vit", "probe.image_size=64")
    assert probe_of(store, "probe.image_size=64").image_size == 64
