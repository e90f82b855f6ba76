"""ONNX: onnxruntime gives torch's features, or there is no file."""

from __future__ import annotations

import importlib.util

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch

from georank_cli.main import _run
from georank_zoo.bands import S2_12
from georank_zoo.models.encoder import create_model
from georank_zoo.models.onnx import check_onnx, export_onnx, onnx_facts
from georank_zoo.utils.errors import ModelError, UsageError
from tests.support.models import MEAN, STD, make_export, make_network


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    source, out = make_export(folder / "m"), folder / "new" / "model.onnx"
    assert _run(["export", str(source), "--format", "onnx", "--out", str(out)], False) == 0
    return out, create_model(source), source


def run(path, images):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["features"], {"reflectance": images})[0]


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 32, 32), (3, 48, 40), (7, 120, 120)])
def test_reflectance_in_features_out(exported, batch, height, width):
    path, _, folder = exported
    images = np.random.default_rng(0).random((batch, 12, height, width), np.float32)
    z = (images - np.reshape(MEAN, (12, 1, 1))) / np.reshape(STD, (12, 1, 1))
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.inference_mode():
        expected = network(torch.from_numpy(z.astype(np.float32))).numpy()
    np.testing.assert_allclose(run(path, images), expected, rtol=1e-4, atol=1e-4)


def test_the_file_is_one_and_says_what_it_takes(exported):
    path, model, _ = exported
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]
    onnx.checker.check_model(path, full_check=True)
    graph = onnx.load(path)
    facts = onnx_facts(path)
    assert facts["bands"] == list(S2_12)
    assert (facts["unit"], facts["standardized_in_graph"]) == ("reflectance", True)
    assert facts["mean"] == list(MEAN)
    assert facts["std"] == list(STD)
    assert facts["model_hash"] == model.model_hash
    (given,), (found,) = graph.graph.input, graph.graph.output
    shapes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (given, found)
    ]
    assert shapes == [["batch", 12, "height", "width"], ["batch", 96]]


def test_an_architecture_of_fixed_size_keeps_it(tmp_path):
    network = timm.create_model("test_vit", in_chans=12, num_classes=0, img_size=64)
    model = create_model(make_export(tmp_path / "m", network, "test_vit", image_size=64))
    path = export_onnx(model.train(), tmp_path / "model.onnx")
    assert model.training, "the caller's model was changed"
    images = torch.rand(3, 12, 64, 64)
    model.eval()
    with torch.inference_mode():
        np.testing.assert_allclose(run(path, images.numpy()), model(images).numpy(), atol=1e-4)
    dims = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in dims] == [0, 12, 64, 64]


def test_other_features_are_refused(exported, tmp_path):
    path, model, _ = exported
    check_onnx(path, model)
    network = make_network()
    with torch.no_grad():
        network.conv1[0].weight[0] *= 1.05
    other = create_model(make_export(tmp_path / "m", network))
    with pytest.raises(ModelError, match="other features than torch"):
        check_onnx(path, other)
    other_std = create_model(make_export(tmp_path / "s", std=[s * 1.01 for s in STD]))
    with pytest.raises(ModelError, match="other features than torch"):
        check_onnx(path, other_std)


def test_what_onnx_cannot_say_is_an_error_and_leaves_nothing(tmp_path):
    class Branching(torch.nn.Module):
        num_features = 12

        def forward(self, x):
            return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))

    model = create_model(make_export(tmp_path / "m"))
    model.backbone, model.num_features = Branching(), 12
    with pytest.raises(ModelError, match="cannot write moco_georank as ONNX"):
        export_onnx(model, tmp_path / "model.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_names_and_earlier_files(exported, tmp_path):
    path, model, _ = exported
    with pytest.raises(UsageError, match=r"must end in \.onnx"):
        export_onnx(model, tmp_path / "model")
    with pytest.raises(UsageError, match="--overwrite"):
        export_onnx(model, path)


def test_only_a_run_has_checkpoints_and_a_place_for_the_file(exported, capsys):
    folder = str(exported[2])
    assert _run(["export", folder, "--format", "onnx"], False) == 2
    assert "pass --out FILE.onnx" in capsys.readouterr().err
    arguments = ["--out", "x.onnx", "--checkpoint", "step-00000001"]
    assert _run(["export", folder, "--format", "onnx", *arguments], False) == 2
    assert "no --checkpoint" in capsys.readouterr().err


def test_without_the_extra_the_message_has_the_line_to_type(tmp_path, monkeypatch, capsys):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else real(name)
    )
    arguments = ["export", str(tmp_path), "--format", "onnx", "--out", str(tmp_path / "x.onnx")]
    assert _run(arguments, False) == 2
    shown = capsys.readouterr().err
    assert "onnxruntime, not installed here: pip install 'georank-zoo[onnx]'" in shown
