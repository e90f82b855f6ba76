"""Features: the way from digital numbers to embeddings."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from georank_zoo.bands import S2_12
from georank_zoo.embed.extract import extract
from georank_zoo.models.encoder import Encoder
from georank_zoo.models.inference import resize
from georank_zoo.utils.devices import pick_device
from georank_zoo.utils.errors import ModelError, UsageError
from tests.support.models import MEAN, STD, make_store


class Pixels(nn.Module):
    """Gives back its input, so that a test sees what a network would."""

    def __init__(self, features):
        super().__init__()
        self.num_features = features
        self.batch_sizes = []
        self.modes = []

    def forward(self, x):
        self.batch_sizes.append(len(x))
        self.modes.append((self.training, torch.is_inference_mode_enabled()))
        return x.flatten(1)


def encoder(size=16, bands=S2_12):
    index = [S2_12.index(b) for b in bands]
    return Encoder(
        Pixels(len(bands) * size * size), model_bands=bands, mean=[MEAN[i] for i in index],
        std=[STD[i] for i in index], image_size=size,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store", [0, 1, 2] * 5)


def expected_z(store, bands=S2_12):
    dn = store.read(np.arange(len(store)), bands).astype(np.float64)
    index = [S2_12.index(b) for b in bands]
    mean, std = (np.array(v)[index].reshape(1, -1, 1, 1) for v in (MEAN, STD))
    return (dn / 10_000 - mean) / std


@pytest.mark.parametrize("batch_size", [1, 4, 15, 100])
def test_pixels_are_standardized_reflectance_in_any_batch_size(store, batch_size):
    model = encoder()
    features = extract(model, store, batch_size=batch_size)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected_z(store).reshape(15, -1), rtol=1e-4, atol=1e-4)
    assert max(model.backbone.batch_sizes) <= batch_size
    assert sum(model.backbone.batch_sizes) == 15


def test_bands_are_found_by_name(tmp_path, caplog):
    bands = ("B8A", "B10", "B02", "B12", "B03")
    store = make_store(tmp_path / "store", [0, 1], bands=bands)
    with caplog.at_level(logging.WARNING):
        features = extract(encoder(), store).reshape(2, 12, 16, 16)
    assert "has no B01, B04" in caplog.text
    for band in ("B8A", "B02", "B12", "B03"):
        np.testing.assert_allclose(
            features[:, S2_12.index(band)], expected_z(store, (band,))[:, 0], rtol=1e-4, atol=1e-4
        )
    lacking = [i for i, band in enumerate(S2_12) if band not in bands]
    assert not features[:, lacking].any()


def test_no_common_band(tmp_path):
    store = make_store(tmp_path / "store", [0, 1], bands=("B10",))
    with pytest.raises(UsageError, match="no band in common"):
        extract(encoder(), store)


@pytest.mark.parametrize("size", [8, 40])
def test_resize_is_bilinear_and_antialiased_when_it_shrinks(store, size):
    features = extract(encoder(size), store).reshape(15, 12, size, size)
    z = torch.from_numpy(expected_z(store)).float()
    expected = F.interpolate(
        z, size=(size, size), mode="bilinear", align_corners=False, antialias=size < 16
    )
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-3, atol=1e-3)
    if size < 16:
        aliased = F.interpolate(z, size=(size, size), mode="bilinear", align_corners=False)
        assert not np.allclose(features, aliased.numpy(), atol=0.05)


def test_resize_leaves_the_right_size_alone():
    images = torch.rand(1, 2, 8, 8)
    assert resize(images, 8) is images


def test_samples_mode_and_progress(store):
    model = encoder().train()
    seen = []
    samples = np.array([9, 2, 14])
    features = extract(
        model, store, samples=samples, batch_size=2, on_progress=lambda *a: seen.append(a)
    )
    np.testing.assert_array_equal(features, extract(encoder(), store)[samples])
    assert seen == [(2, 3), (3, 3)]
    assert model.backbone.modes == [(False, True)] * 2
    assert model.training, "left in another mode"


def test_each_part_is_put_back_into_its_own_mode(store):
    model = encoder().train()
    model.backbone = nn.Sequential(Pixels(model.num_features), nn.Identity())
    model.backbone[1].eval()
    extract(model, store)
    assert [module.training for module in model.modules()] == [True, True, True, False]


def test_broken_features_are_refused(store):
    class Broken(Pixels):
        def forward(self, x):
            return super().forward(x) / 0 * 0

    model = encoder()
    model.backbone = Broken(model.num_features)
    with pytest.raises(ModelError, match="NaN or infinite features for 15 of 15"):
        extract(model, store)


def test_devices():
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(UsageError, match="Unknown device"):
        pick_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="no cuda device"):
            pick_device("cuda")
