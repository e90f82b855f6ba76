"""Export: what timm loads is what was trained."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open

from georank_cli import main
from georank_zoo.bands import S2_12
from georank_zoo.models.encoder import create_model
from georank_zoo.utils.errors import ModelError, UsageError
from tests.support.models import MEAN, SMALL, STD, make_export, make_network


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "model"
    network = make_network("resnet18")
    return make_export(folder, network, "resnet18"), network


def test_config_obeys_every_rule_that_old_timm_needs(exported):
    config = json.loads((exported[0] / "config.json").read_text())
    assert config["architecture"] == "resnet18"
    assert config["num_classes"] == 0
    assert config["num_features"] == 512
    assert config["global_pool"] == "avg"
    assert config["model_args"] == {"in_chans": 12, "num_classes": 0, "global_pool": "avg"}
    cfg = config["pretrained_cfg"]
    # With "conv1" here, timm before 1.0.31 loads a random conv1 without an error.
    assert "first_conv" in cfg
    assert cfg["first_conv"] is None
    # Without the name, num_classes=10 fails.
    assert cfg["classifier"] == "fc"
    assert cfg["input_size"] == [12, 32, 32]
    assert cfg["mean"] == list(MEAN)
    assert cfg["std"] == list(STD)
    assert cfg["num_classes"] == 0
    assert cfg["custom_load"] is False
    assert cfg["tag"] == "test"
    # Nothing of ImageNet's provenance.
    assert not {"license", "paper_ids", "hf_hub_id", "url", "hf_hub_filename"} & set(cfg)
    assert config["georank"]["bands"] == list(S2_12)
    assert config["georank"]["scale"] == 0.0001
    assert config["georank"]["unit"] == "reflectance"
    assert config["georank"]["recipe_hash"] == "0123456789abcdef"


def test_folder_holds_two_files_that_others_may_read(exported):
    folder = exported[0]
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    modes = {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()}
    umask = os.umask(0)
    os.umask(umask)
    assert modes == {0o666 & ~umask}
    assert not list(folder.parent.glob(".*")), "the folder beside was left behind"


def test_weights_are_float32_and_bytes_are_reproducible(exported, tmp_path):
    folder, network = exported
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() in (None, {"format": "pt"})
        dtypes = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
        assert set(file.keys()) == set(network.state_dict())
    assert dtypes == {torch.float32, torch.int64}
    again = make_export(tmp_path / "again", network, "resnet18")
    name = "model.safetensors"
    assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_timm_loads_every_tensor_and_equal_features(exported):
    folder, network = exported
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    state = loaded.state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(state[name], tensor), name
    assert torch.equal(loaded.conv1.weight, network.conv1.weight)
    random = timm.create_model(f"local-dir:{folder}", pretrained=False)
    assert not torch.equal(loaded.conv1.weight, random.conv1.weight)
    x = torch.randn(3, 12, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loaded(x), network.eval()(x))
    data = timm.data.resolve_model_data_config(loaded)
    assert tuple(data["mean"]) == MEAN
    assert tuple(data["std"]) == STD
    assert tuple(data["input_size"]) == (12, 32, 32)


def test_timm_adds_a_classifier_and_refuses_other_channels(exported):
    name = f"local-dir:{exported[0]}"
    model = timm.create_model(name, pretrained=True, num_classes=10).eval()
    assert model(torch.zeros(1, 12, 32, 32)).shape == (1, 10)
    assert torch.equal(model.conv1.weight, exported[1].conv1.weight)
    with pytest.raises(RuntimeError, match=r"size mismatch|inconsistent"):
        timm.create_model(name, pretrained=True, in_chans=3)


def test_channels_last_bfloat16_and_training_mode_export(tmp_path):
    plain = make_network("resnet18").bfloat16()
    network = make_network("resnet18").bfloat16().to(memory_format=torch.channels_last).train()
    before = {k: (v.clone(), v.stride(), v.dtype) for k, v in network.state_dict().items()}
    folder = make_export(tmp_path / "model", network, "resnet18")
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert torch.equal(loaded.conv1.weight, plain.conv1.weight.float())
    # The caller's network is as it was.
    assert network.training
    for name, tensor in network.state_dict().items():
        value, stride, dtype = before[name]
        assert torch.equal(tensor, value), name
        assert (tensor.stride(), tensor.dtype) == (stride, dtype)


@pytest.mark.parametrize(
    ("architecture", "classifier", "fixed"),
    [("test_convnext", "head.fc", False), ("test_vit", "head", True)],
)
def test_other_architectures_have_their_own_rules(tmp_path, architecture, classifier, fixed):
    options = {"img_size": 64} if fixed else {}
    network = timm.create_model(architecture, in_chans=3, num_classes=0, **options)
    folder = make_export(
        tmp_path / "m", network, architecture=architecture, bands=("B04", "B03", "B02"),
        mean=MEAN[:3], std=STD[:3], image_size=64,
    )  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert config["pretrained_cfg"]["classifier"] == classifier
    assert config["pretrained_cfg"]["first_conv"] is None
    assert config["pretrained_cfg"]["fixed_input_size"] is fixed
    images = torch.rand(2, 3, 64, 64)
    z = (images - torch.tensor(MEAN[:3]).view(1, 3, 1, 1)) / torch.tensor(STD[:3]).view(1, 3, 1, 1)
    with torch.inference_mode():
        assert torch.equal(create_model(folder)(images), network.eval()(z))


def test_export_does_not_touch_the_random_state(tmp_path):
    network = make_network()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    make_export(tmp_path / "m", network)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_weights_are_refused(tmp_path, value):
    network = make_network()
    with torch.no_grad():
        network.layer2[0].conv1.weight[0, 0, 0, 0] = value
    with pytest.raises(ModelError, match=r"NaN or infinite.*layer2\.0\.conv1\.weight"):
        make_export(tmp_path / "m", network)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_is_not_the_architecture_is_refused(tmp_path):
    class Doubled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = make_network()
            self.num_features = self.net.num_features

        def state_dict(self, *args, **kwargs):
            return self.net.state_dict(*args, **kwargs)

        def load_state_dict(self, state, strict=True, assign=False):
            return self.net.load_state_dict(state, strict, assign)

        def forward(self, x):
            return 2 * self.net(x)

    with pytest.raises(ModelError, match="features differ"):
        make_export(tmp_path / "m", Doubled())
    with pytest.raises(ModelError, match="does not load"):
        make_export(tmp_path / "m", make_network("test_convnext"))
    with_head = timm.create_model(SMALL, in_chans=12, num_classes=10)
    with pytest.raises(ModelError, match=r"does not load|differ"):
        make_export(tmp_path / "m", with_head)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mean": MEAN[:11]}, "mean must be 12"),
        ({"std": (*STD[:11], 0.0)}, "std must be positive"),
        ({"std": (*STD[:11], float("nan"))}, "std must be 12 finite"),
        ({"architecture": "resnet81"}, "Unknown timm architecture"),
        ({"architecture": "resnet18.a1_in1k"}, "Unknown timm architecture"),
        ({"bands": ("B02", "B2", *S2_12[2:])}, "twice"),
        ({"georank": {"bands": ["B02"]}}, "must not hold bands"),
        ({"georank": {"x": Path("a")}}, "JSON"),
        ({"georank": {"x": float("nan")}}, "JSON"),
        ({"image_size": 0}, "image_size"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, changes, reason):
    with pytest.raises(UsageError, match=reason):
        make_export(tmp_path / "m", make_network(), **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model", "runs/a b/export of mine", "at@v1/ü 100%"])
def test_timm_loads_relative_paths_and_paths_with_spaces(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    network = make_network()
    assert make_export(Path(name), network) == tmp_path / name
    loaded = timm.create_model(f"local-dir:{name}", pretrained=True)
    assert torch.equal(loaded.conv1[0].weight, network.conv1[0].weight)
    assert torch.equal(create_model(name).backbone.conv1[0].weight, network.conv1[0].weight)


def test_a_path_that_timm_cannot_read_is_a_sentence(tmp_path, monkeypatch):
    # timm before 1.0.31 cuts a path at '#'.
    def cut(*_, **__):
        raise FileNotFoundError("Config file not found")

    network = make_network()
    monkeypatch.setattr(timm, "create_model", cut)
    with pytest.raises(ModelError, match="does not load the export: Config file not found"):
        make_export(tmp_path / "a#b", network)
    assert list(tmp_path.iterdir()) == []


def test_help_names_a_checkpoint_as_they_are_named(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    help_text = capsys.readouterr().out
    names = re.findall(r"step-\d+", help_text)
    assert names
    assert all(name == f"step-{int(name[5:]):08d}" for name in names)


def test_overwrite_replaces_exports_only(tmp_path):
    folder = make_export(tmp_path / "m")
    with pytest.raises(UsageError, match="--overwrite"):
        make_export(folder)
    other = make_network(seed=1)
    make_export(folder, other, overwrite=True)
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert torch.equal(loaded.conv1[0].weight, other.conv1[0].weight)
    (folder / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        make_export(folder, overwrite=True)
    assert (folder / "thesis.tex").exists()
