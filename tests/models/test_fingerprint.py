"""The fingerprint: equal everywhere, and noticing what a checksum cannot."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from georank_zoo.bands import S2_12, S2_13
from georank_zoo.models import fingerprint
from georank_zoo.models.encoder import Encoder, create_model
from georank_zoo.models.fingerprint import (
    FINGERPRINT_TOLERANCE,
    compare_fingerprint,
    fixed_images,
    take_fingerprint,
)
from georank_zoo.utils.errors import ModelError
from tests.support.models import MEAN, STD, edit_config, make_export, make_network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_export(tmp_path / "export")


def difference(folder: Path) -> float:
    return compare_fingerprint(create_model(folder)).difference


def test_the_images_are_these_and_no_others() -> None:
    images = fixed_images(S2_12, 40)
    assert images.shape == (4, 12, 40, 40) and images.dtype == np.uint16
    # Computed once and noted: whatever changes them makes every published fingerprint void.
    digest = hashlib.sha256(images.astype("<u2").tobytes()).hexdigest()
    assert digest.startswith("357113d2239a86d7"), digest
    assert images.min() >= 200 and images.max() <= 200 + 3 * 4 * 255


def test_the_images_by_another_road() -> None:
    def level(text: str, side: int, size: int, y: int, x: int) -> int:
        count = (size + side - 1) // side
        name = f"georank-zoo fingerprint 1 {text} {side}".encode()
        return hashlib.shake_256(name).digest(count**2)[y // side * count + x // side]

    images = fixed_images(["B8A", "B02"], 21)
    for number, channel, band, y, x in [(0, 0, "B8A", 0, 0), (3, 1, "B02", 20, 17)]:
        levels = [level(f"{number} {band}", side, 21, y, x) for side in (1, 4, 16)]
        assert images[number, channel, y, x] == 200 + 4 * sum(levels)


def test_pixels_belong_to_bands_by_name() -> None:
    a = fixed_images(S2_12, 20)
    b = fixed_images(S2_13[::-1], 20)
    for channel, band in enumerate(S2_12):
        assert (a[:, channel] == b[:, S2_13[::-1].index(band)]).all()
    assert len({a[i, j].tobytes() for i in range(4) for j in range(12)}) == 48


def test_an_export_notes_what_its_model_answers(folder: Path) -> None:
    noted = json.loads((folder / "config.json").read_text())["georank"]["fingerprint"]
    assert noted["version"] == 1 and noted["image_size"] == 32
    # By another road: timm, and the standardization that cards show.
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (MEAN, STD))
    dn = torch.from_numpy(fixed_images(S2_12, 32).astype("float32"))
    with torch.inference_mode():
        features = network((dn / 10000 - mean) / std).double().numpy()
    width = features.shape[1]
    bits = hashlib.shake_256(b"georank-zoo fingerprint 1 signs").digest(width * 16)
    signs = np.array([1 - 2 * (byte & 1) for byte in bits]).reshape(width, 16)
    assert np.allclose(noted["projections"], features @ signs / 4, rtol=1e-5, atol=1e-5)
    assert difference(folder) < 1e-6


def test_it_holds_under_other_threads_formats_and_float64(folder: Path) -> None:
    encoder = create_model(folder)
    assert encoder.config
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert compare_fingerprint(encoder).equal
    finally:
        torch.set_num_threads(threads)
    encoder.backbone.to(memory_format=torch.channels_last)
    assert compare_fingerprint(encoder).equal
    # The tolerance is far above what float32 costs at all.
    exact = create_model(folder)
    z = exact.standardize(torch.from_numpy(fixed_images(S2_12, 32).astype("int32")),
                          S2_12, "dn")  # fmt: skip
    with torch.inference_mode():
        found = fingerprint._project(exact.backbone.double()(z.double()).numpy())
    noted = np.array(encoder.config.georank["fingerprint"]["projections"])
    off = np.linalg.norm(found - noted, axis=1) / np.linalg.norm(noted, axis=1)
    assert off.max() < FINGERPRINT_TOLERANCE / 20


def _swap(values: tuple[float, ...] | tuple[str, ...]) -> list[object]:
    return [values[0], values[2], values[1], *values[3:]]


@pytest.mark.parametrize(
    "change",
    [
        {"georank__bands": _swap(S2_12)},
        {"pretrained_cfg__mean": _swap(MEAN)},
        {"pretrained_cfg__std": _swap(STD)},
        {"pretrained_cfg__mean": [MEAN[0] + 0.001, *MEAN[1:]]},
        {"pretrained_cfg__std": [STD[0] * 1.01, *STD[1:]]},
    ],
    ids=["bands", "means", "stds", "a mean by 0.001", "a std by 1 %"],
)
def test_a_changed_contract_is_noticed(folder: Path, change: dict[str, object]) -> None:
    edit_config(folder, **change)
    assert difference(folder) > 3 * FINGERPRINT_TOLERANCE


def _flip_sign(weights: dict[str, torch.Tensor]) -> None:
    first = next(tensor for tensor in weights.values() if tensor.ndim == 4)
    largest = first.abs().flatten().argmax()
    first.view(-1)[largest] *= -1


def _swap_channels(weights: dict[str, torch.Tensor]) -> None:
    first = next(tensor for tensor in weights.values() if tensor.ndim == 4)
    first[:, [1, 2]] = first[:, [2, 1]].clone()


def _flip_exponent(weights: dict[str, torch.Tensor]) -> None:
    first = next(tensor for tensor in weights.values() if tensor.ndim == 4)
    first.view(-1)[:1].view(torch.int32).bitwise_xor_(1 << 28)


@pytest.mark.parametrize("change", [_flip_sign, _swap_channels, _flip_exponent])
def test_changed_weights_are_noticed(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], None]
) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert not compare_fingerprint(create_model(folder)).equal


def test_other_images_matter_too(folder: Path) -> None:
    noted = json.loads((folder / "config.json").read_text())["georank"]["fingerprint"]
    noted["projections"][3] = [x * 1.001 for x in noted["projections"][3]]
    edit_config(folder, georank__fingerprint=noted)
    assert difference(folder) == pytest.approx(1e-3, rel=0.01)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "has no fingerprint.*Export its run again"),
        (7, "cannot be read: georank.fingerprint"),
        ({"version": 2, "image_size": 32, "projections": []}, "version 2"),
        ({"version": 1, "image_size": 32, "projections": [[1.0]]}, "4 lists of 16 numbers"),
        ({"version": 1, "image_size": 32, "projections": [["1"] * 16] * 4}, "valid number"),
        ({"version": 1, "image_size": 64, "projections": [[1.0] * 16] * 4}, "of 64 px"),
        ({"version": 1, "image_size": 32, "projections": [[0.0] * 16] * 4}, None),
        ({"version": 1, "image_size": 32, "projections": [[1e300] * 16] * 4}, None),
    ],
)
def test_a_fingerprint_from_a_stranger(folder: Path, value: object, said: str | None) -> None:
    edit_config(folder, georank__fingerprint=value)
    encoder = create_model(folder)
    if said is None:
        assert not compare_fingerprint(encoder).equal
        return
    with pytest.raises(ModelError, match=said):
        compare_fingerprint(encoder)


def test_a_diverged_network_has_none() -> None:
    network = make_network()
    for parameter in network.parameters():
        parameter.data.fill_(1e38)
    encoder = Encoder(network, model_bands=S2_12, mean=MEAN, std=STD, image_size=32)
    with pytest.raises(ModelError, match="NaN or infinite"):
        take_fingerprint(encoder)


def test_any_architecture_and_bands(tmp_path: Path) -> None:
    network = timm.create_model("test_vit", in_chans=3, num_classes=0, img_size=48)
    bands = ["B08", "B04", "B03"]
    folder = make_export(
        tmp_path / "vit", network, "test_vit", bands=bands, mean=MEAN[:3], std=STD[:3],
        image_size=48,
    )  # fmt: skip
    assert difference(folder) < 1e-5
    edit_config(folder, georank__bands=["B08", "B03", "B04"])
    assert difference(folder) > 1e-3
