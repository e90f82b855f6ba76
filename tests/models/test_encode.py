"""Encoding: any array in, float32 features out, and everything as it was before."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from torch import nn

from georank_zoo.bands import S2_12, SETS
from georank_zoo.embed.extract import extract
from georank_zoo.models.encoder import Encoder, as_encoder, create_model
from georank_zoo.models.inference import resize
from georank_zoo.utils.errors import ModelError, UsageError
from tests.support.models import MEAN, STD, make_export, make_network, make_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_export(tmp_path_factory.mktemp("zoo") / "model")


@pytest.fixture
def model(folder):
    return create_model(folder)


@pytest.fixture
def dn():
    return np.random.default_rng(0).integers(0, 6000, (7, 12, 32, 32), dtype=np.uint16)


class Pixels(nn.Module):
    """Gives back its input, so that a test sees what a network would."""

    def __init__(self, size=8):
        super().__init__()
        self.num_features = 12 * size * size
        self.scale = nn.Parameter(torch.ones(1))
        self.seen = []

    def forward(self, x):
        self.seen.append((x.dtype, len(x), self.training, torch.is_inference_mode_enabled()))
        return (x * self.scale).flatten(1)


def pixels(size=8):
    return Encoder(Pixels(size), model_bands=S2_12, mean=MEAN, std=STD, image_size=size)


def test_the_features_of_a_store_to_the_bit(model, tmp_path):
    store = make_store(tmp_path / "store", [0, 1, 2] * 3)
    dn = store.read(np.arange(9))
    for size, batch_size in ((None, 256), (None, 4), (16, 4), (40, 5)):
        expected = extract(model, store, image_size=size, batch_size=batch_size)
        found = model.encode(dn, unit="dn", image_size=size, batch_size=batch_size)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


def test_a_store_of_other_bands_to_the_bit(model, tmp_path):
    bands = ("B8A", "B10", "B02", "B12", "B03")
    store = make_store(tmp_path / "store", [0, 1], bands=bands)
    found = model.encode(store.read(np.arange(2)), bands=bands, unit="dn", image_size=16)
    np.testing.assert_array_equal(found, extract(model, store, image_size=16))


def test_timm_and_the_definition_give_the_same(folder, dn):
    """By another road: numpy's standardization in float64, and the network as timm loads it."""
    z = (dn / 10_000 - np.reshape(MEAN, (12, 1, 1))) / np.reshape(STD, (12, 1, 1))
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.inference_mode():
        expected = network(resize(torch.from_numpy(z).float(), 32)).numpy()
    found = create_model(folder).encode(dn, unit="dn")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "dtype", ["u2", ">u2", "i2", ">i2", "u4", "i4", "u8", "i8", "f4", ">f4", "f8", "g"]
)
def test_any_number_type(model, dn, dtype):
    expected = model.encode(dn, unit="dn")
    np.testing.assert_array_equal(model.encode(dn.astype(dtype), unit="dn"), expected)


@pytest.mark.parametrize(
    "dtype", [torch.uint16, torch.int16, torch.int32, torch.int64, torch.float32, torch.float64]
)
def test_tensors_give_what_arrays_give(model, dn, dtype):
    expected = model.encode(dn, unit="dn", batch_size=3)
    tensor = torch.from_numpy(dn.astype(np.int64)).to(dtype)
    np.testing.assert_array_equal(model.encode(tensor, unit="dn", batch_size=3), expected)


def test_any_memory_layout(model, dn, tmp_path):
    expected = model.encode(dn, unit="dn")
    flipped = np.ascontiguousarray(dn[:, ::-1, :, ::-1])[:, ::-1, :, ::-1]
    last = np.ascontiguousarray(dn.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.save(tmp_path / "dn.npy", dn)
    mapped = np.load(tmp_path / "dn.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of what cannot be written to
        for images in (flipped, last, mapped, np.asfortranarray(dn), dn.tolist()):
            np.testing.assert_array_equal(model.encode(images, unit="dn"), expected)
    channels_last = torch.from_numpy(dn.astype("f4")).to(memory_format=torch.channels_last)
    np.testing.assert_array_equal(model.encode(channels_last, unit="dn"), expected)
    with_gradient = torch.from_numpy(dn.astype("f4")).requires_grad_()
    np.testing.assert_array_equal(model.encode(with_gradient, unit="dn"), expected)


def test_units_bands_and_their_defaults(folder, model, dn):
    expected = model.encode(dn, unit="dn")
    np.testing.assert_array_equal(model.encode(dn.astype("f4") / np.float32(1e4)), expected)
    np.testing.assert_array_equal(create_model(folder, unit="dn").encode(dn), expected)
    turned = create_model(folder, bands=S2_12[::-1], unit="dn")
    np.testing.assert_array_equal(turned.encode(dn[:, ::-1]), expected)
    np.testing.assert_array_equal(turned.encode(dn, bands="s2-12"), expected)


def test_rgbn_equals_the_other_bands_at_their_mean(model, dn):
    index = [S2_12.index(name) for name in SETS["rgbn"]]
    full = np.broadcast_to(np.reshape(MEAN, (1, 12, 1, 1)), dn.shape).astype("f4").copy()
    full[:, index] = dn[:, index].astype("f4") / np.float32(1e4)
    found = model.encode(dn[:, index], bands="rgbn", unit="dn")
    np.testing.assert_allclose(found, model.encode(full), rtol=1e-4, atol=1e-5)
    wrong = model.encode(dn[:, index[::-1]], bands="rgbn", unit="dn")
    assert np.abs(found - wrong).max() > 0.01, "a wrong order passes"


def test_images_are_resized_to_the_models_own_size(dn):
    model = pixels(8)
    found = model.encode(dn[:, :, :20, :30], unit="dn").reshape(7, 12, 8, 8)
    z = (dn[:, :, :20, :30] / 10_000 - np.reshape(MEAN, (12, 1, 1))) / np.reshape(STD, (12, 1, 1))
    expected = nn.functional.interpolate(
        torch.from_numpy(z), (8, 8), mode="bilinear", align_corners=False, antialias=True
    )
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_one_image_and_none(model, dn):
    one = model.encode(dn[0], unit="dn")
    assert one.shape == (96,)
    np.testing.assert_array_equal(one, model.encode(dn[:1], unit="dn")[0])
    none = model.encode(dn[:0], unit="dn")
    assert (none.shape, none.dtype) == ((0, 96), np.float32)
    assert model.encode(torch.zeros(0, 12, 32, 32)).shape == (0, 96)


def test_batches(dn):
    model = pixels()
    model.encode(dn, unit="dn", batch_size=3)
    assert [batch for _, batch, *_ in model.backbone.seen] == [3, 3, 1]
    assert {(training, inference) for *_, training, inference in model.backbone.seen} == {
        (False, True)
    }


@pytest.mark.parametrize("kind", ["half", "bfloat16", "to", "double", "backbone"])
@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_other_types_of_weights(tmp_path, dn, kind, architecture):
    options = {"img_size": 32} if architecture == "test_vit" else {}
    network = timm.create_model(architecture, in_chans=12, num_classes=0, **options)
    folder = make_export(tmp_path / "m", network, architecture)
    model = create_model(folder)
    expected = model.encode(dn, unit="dn")
    mean, std = model.mean.clone(), model.std.clone()
    if kind == "to":
        assert model.to(torch.float16) is model
    else:
        getattr(model.backbone if kind == "backbone" else model,
                "half" if kind == "backbone" else kind)()  # fmt: skip
    wanted = {"bfloat16": torch.bfloat16, "double": torch.float64}.get(kind, torch.float16)
    assert {p.dtype for p in model.parameters()} == {wanted}
    assert torch.equal(model.mean, mean) and torch.equal(model.std, std)
    assert model.mean.dtype == torch.float32
    found = model.encode(dn, unit="dn")
    assert found.dtype == np.float32
    scale = np.abs(expected).max()
    off = np.abs(found - expected).max() / scale
    assert off < {torch.float16: 5e-3, torch.bfloat16: 5e-2}.get(wanted, 1e-5), off
    with torch.inference_mode():
        forward = model(torch.from_numpy(dn / 10_000))
    assert forward.dtype == wanted
    np.testing.assert_allclose(forward.float().numpy(), found, rtol=1e-2, atol=1e-2 * scale)
    np.testing.assert_array_equal(model.encode(dn, unit="dn", batch_size=256), found)


def test_half_standardizes_in_float32(dn):
    model = pixels(32)
    exact = model.encode(dn, unit="dn")
    half = model.half().encode(dn, unit="dn")
    # Rounded once, at the door of the network; means in float16 would be 1e-3 off as well.
    np.testing.assert_array_equal(half, exact.astype(np.float16).astype(np.float32))
    assert model.backbone.seen[-1][0] == torch.float16


def test_weights_of_another_type_go_back_and_forth(folder, model, dn):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.half().float()
    assert torch.equal(model.mean, state["mean"])
    model.load_state_dict(state)
    np.testing.assert_array_equal(
        model.encode(dn, unit="dn"), create_model(folder).encode(dn, unit="dn")
    )


def test_wrong_images_are_refused(model, dn):
    def refused(images, match, **settings):
        with pytest.raises(UsageError, match=match):
            model.encode(images, **settings)

    refused(dn, "digital numbers", unit="reflectance")
    refused(dn / 10_000, "looks like reflectance", unit="dn")
    broken = dn / 10_000
    broken[5, 0, 3, 3] = np.nan
    refused(broken, "images 4 to 5 holds NaN", batch_size=2)
    refused(torch.from_numpy(broken), "images 4 to 5 holds NaN", batch_size=2)
    refused(np.ma.masked_less(dn, 10), r"masked. Fill them", unit="dn")
    refused(dn[:, :3], r"shape \(N, 12, H, W\) or \(12, H, W\)", unit="dn")
    refused(dn.transpose(0, 2, 3, 1), "from the last axis", unit="dn")
    refused(dn[None], "not .1, 7, 12, 32, 32.", unit="dn")
    refused(dn[..., :0], "shape", unit="dn")
    refused(dn, "shape .N, 4, H, W.", bands="rgbn", unit="dn")
    refused(dn > 5, "must be numbers")
    refused(np.array(["x"]), "must be numbers")
    refused(torch.zeros(1, 12, 8, 8, dtype=torch.complex64), "must be numbers")
    refused(dn, "Unknown unit", unit="DN")
    refused(dn, "Unknown band set", bands="rgbx")
    refused(dn[:, :1], "no band in common", bands=("B10",), unit="dn")
    refused(dn, "Unknown device", unit="dn", device="gpu")
    refused(dn, "batch_size must be 1 or more", unit="dn", batch_size=0)
    refused(dn, "image_size must be 1 or more", unit="dn", image_size=0)
    # Masked arrays without a masked pixel are arrays.
    assert model.encode(np.ma.array(dn), unit="dn").shape == (7, 96)


def test_an_architecture_of_one_size_says_so(dn):
    name = "vit_tiny_patch16_224"
    network = timm.create_model(name, in_chans=12, num_classes=0, img_size=32, depth=1)
    model = Encoder(
        network, model_bands=S2_12, mean=MEAN, std=STD, image_size=32,
        config=SimpleNamespace(architecture=name),
    )  # fmt: skip
    with pytest.raises(UsageError, match="takes images of 32 px only, not 64"):
        model.encode(dn, unit="dn", image_size=64)
    assert model.encode(dn, unit="dn").shape[0] == 7


def test_broken_features_are_refused(dn):
    model = pixels()
    model.backbone.scale.data.fill_(torch.inf)
    with pytest.raises(ModelError, match="NaN or infinite features for 7 of 7"):
        model.encode(dn, unit="dn")


def test_modes_randomness_gradients_and_device_are_left_alone(folder, dn):
    model = create_model(folder).train()
    model.backbone.layer1.eval()
    modes = [module.training for module in model.modules()]
    buffers = {name: tensor.clone() for name, tensor in model.named_buffers()}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    features = model.encode(dn, unit="dn")
    assert torch.equal(torch.rand(1), expected)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, buffers[name]) for name, tensor in model.named_buffers())
    assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()
    np.testing.assert_array_equal(features, create_model(folder).encode(dn, unit="dn"))
    # It can still be trained, and is where it was.
    model(torch.from_numpy(dn / 10_000)).sum().backward()
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    with pytest.raises(UsageError):
        model.encode(dn)
    assert [module.training for module in model.modules()] == modes


def test_progress(model, dn, capsys, monkeypatch):
    seen = []
    model.encode(dn, unit="dn", batch_size=3, on_progress=lambda *a: seen.append(a))
    assert seen == [(3, 7, ""), (6, 7, ""), (7, 7, "")]
    monkeypatch.setattr("georank_zoo.utils.progress.BAR_DELAY_S", 1000)
    model.encode(dn, unit="dn")
    assert capsys.readouterr().err == "", "a bar on work that is done before it appears"
    monkeypatch.setattr("georank_zoo.utils.progress.BAR_DELAY_S", 0)
    model.encode(dn, unit="dn", progress=False)
    assert capsys.readouterr().err == ""
    model.encode(dn, unit="dn", batch_size=3)
    assert "Encoding" in capsys.readouterr().err


def test_it_shows_itself(folder):
    model = create_model(folder, bands="rgbn", unit="dn")
    assert repr(model) == (
        "Encoder(name='moco_georank', architecture='test_resnet', "
        f"bands='{','.join(S2_12)}', image_size=32, num_features=96, "
        "images='dn of B04,B03,B02,B08')"
    )
    html = model._repr_html_()
    assert html.startswith("<table>") and "test_resnet" in html and "num features" in html
    own = Encoder(
        make_network(), model_bands=S2_12, mean=MEAN, std=STD, image_size=8, name="<script>"
    )
    assert "architecture='ResNet'" in repr(own)
    assert "<script>" not in own._repr_html_()


def test_anything_with_a_path_is_a_source(folder, model):
    class Run:
        def __fspath__(self):
            return str(folder)

    assert create_model(Run()).model_hash == model.model_hash
    assert as_encoder(Run()).model_hash == model.model_hash
    assert as_encoder(model) is model
