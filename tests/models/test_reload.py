"""What timm loads is what was exported: tensors and features, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from georank_zoo.models.config import load_config
from georank_zoo.models.encoder import create_model
from georank_zoo.models.fingerprint import fixed_images
from georank_zoo.models.folder import load_network
from georank_zoo.models.reload import fixed_features, require_timm_features, timm_features
from georank_zoo.utils.errors import ModelError
from tests.support.models import make_export, make_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_export(tmp_path_factory.mktemp("zoo") / "model")


def test_the_features_are_those_of_the_fixed_images(folder: Path) -> None:
    config = load_config(folder)
    network = load_network(config, folder).train()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    found = require_timm_features(network, config, f"local-dir:{folder}", where="it")
    # By another road: the encoder, which standardizes the same images itself.
    assert torch.equal(torch.rand(1), expected), "it drew random numbers"
    encoder = create_model(folder, unit="dn")
    images = torch.from_numpy(fixed_images(config.bands, config.image_size))
    with torch.inference_mode():
        assert torch.equal(found, encoder(images))
    assert torch.equal(found, timm_features(f"local-dir:{folder}", config))
    assert found.shape == (4, 96)


def test_another_tensor_and_another_network_are_told_apart(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(folder)
    network = load_network(config, folder)
    source = f"local-dir:{folder}"
    with torch.no_grad():
        network.conv1[0].weight[0, 0, 0, 0] += 1e-6  # type: ignore[index]
    with pytest.raises(ModelError, match=r"1 tensor\(s\) differ .* conv1.0.weight"):
        require_timm_features(network, config, source, where="it")
    with pytest.raises(ModelError, match=r"tensor\(s\) differ after loading the folder with timm"):
        require_timm_features(make_network("test_vit"), config, source, where="the folder")

    create = timm.create_model

    def other(*arguments: Any, **options: Any) -> torch.nn.Module:
        loaded: torch.nn.Module = create(*arguments, **options)
        loaded.act1 = torch.nn.Identity()
        loaded.layer1 = torch.nn.Sequential(loaded.layer1, torch.nn.Tanh())
        state = loaded.state_dict

        def renamed(*args: Any, **kwargs: Any) -> dict[str, Any]:
            return {k.replace("layer1.0.", "layer1."): v for k, v in state(*args, **kwargs).items()}

        loaded.state_dict = renamed  # type: ignore[method-assign]
        return loaded

    network = load_network(config, folder)
    monkeypatch.setattr(timm, "create_model", other)
    with pytest.raises(ModelError, match=r"features differ .* not what timm builds"):
        require_timm_features(network, config, source, where="it")
    monkeypatch.undo()
    with pytest.raises(ModelError, match="does not load it"):
        require_timm_features(network, config, "local-dir:/nowhere", where="it")


def test_a_single_weight_shows_in_the_features(folder: Path) -> None:
    config = load_config(folder)
    network = load_network(config, folder)
    before = fixed_features(network, config)
    with torch.no_grad():
        network.conv1[0].weight[0, 0, 0, 0] += 1e-3  # type: ignore[index]
    assert not torch.equal(fixed_features(network, config), before)
