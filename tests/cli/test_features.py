"""`georank features`, and ONNX of a run, as a user types them."""

from __future__ import annotations

import json

import onnx
import pytest
import rasterio
from safetensors.numpy import load_file

from georank_cli.main import _run
from georank_zoo.bands import S2_12
from georank_zoo.training import trainer
from georank_zoo.training.recipe import load_recipe
from tests.support.file_server import FileServer, Served
from tests.support.models import make_export, make_store
from tests.support.training import TINY
from tests.support.trees import noise, write_tif


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a model, a store, and a scene."""
    folder = tmp_path_factory.mktemp("cli")
    make_export(folder / "model")
    make_store(folder / "store", [0, 1] * 4)
    write_tif(folder / "scene.tif", noise((12, 64, 96)), descriptions=S2_12)
    write_tif(folder / "nameless.tif", noise((2, 64, 96)))
    return folder


@pytest.fixture
def georank(made, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(made)

    def run(*arguments):
        code = _run([str(argument) for argument in arguments], False)
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return run


def test_a_store(georank, tmp_path):
    out = tmp_path / "e.safetensors"
    code, shown = georank("features", "model", "store", "--out", out, "--size", 16)
    assert code == 0, shown
    assert "8/8" in shown
    assert f"8 patches, 96 features each: {out}" in shown
    assert load_file(out)["features"].shape == (8, 96)
    code, shown = georank("features", "model", "store", "--out", out)
    assert code == 2
    assert "Pass --overwrite" in shown
    assert georank("features", "model", "store", "--out", tmp_path / "e.parquet")[0] == 0


def test_a_scene(georank, tmp_path):
    out = tmp_path / "e.tif"
    code, shown = georank("features", "model", "scene.tif", "--out", out, "--stride", 16)
    assert code == 0, shown
    assert "15/15" in shown
    assert f"3 x 5 tiles of 32 px, 16 px apart; 96 bands: {out}" in shown
    with rasterio.open(out) as dataset:
        assert dataset.shape == (3, 5)
    arguments = ("--tile", 48, "--size", 32, "--max-nodata", 0.5, "--offset", 1000)
    code, shown = georank(
        "features", "model", "nameless.tif", "--out", tmp_path / "n.tif", "--bands", "B2,B8A",
        "--unit", "dn", *arguments,
    )  # fmt: skip
    assert code == 0, shown
    assert "1 x 2 tiles of 48 px" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none", "store", "--out", "out.csv"), "must end in .safetensors or .parquet"),
        (("none", "scene.tif", "--out", "out.parquet"), "must end in .tif or .tiff"),
        (("model", "stor", "--out", "out.parquet"), "There is no stor"),
        (("model", "model", "--out", "out.tif"), "no rasters of single bands"),
        (("model", "store", "--out", "out.parquet", "--stride", "8"), "--stride is for a scene"),
        (("model", "store", "--out", "out.parquet", "--max-nodata", "0"), "--max-nodata is for"),
        (("model", "nameless.tif", "--out", "out.tif"), "--bands must name them"),
        (("model", "scene.tif", "--out", "out.tif", "--unit", "DN"), "Unknown unit 'DN'"),
        (("model", "scene.tif", "--out", "out.tif", "--tile", "999"), "Pass a smaller --tile"),
        (("model", "scene.tif", "--out", "out.tif", "--device", "gpu"), "Unknown device"),
    ],
)
def test_mistakes(georank, made, arguments, said):
    code, shown = georank("features", *arguments)
    assert code == 2
    assert said in shown
    assert not list(made.glob("*out.*"))


def test_a_scene_of_elsewhere_is_read_on_request_only(georank, made, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    scene = Served((made / "scene.tif").read_bytes())
    with FileServer({"scene.tif": scene}) as server:
        host = server.url.removeprefix("http://")
        address = f"http://me:secret@{host}/scene.tif?sig=token"
        out = tmp_path / "far.tif"
        code, shown = georank("features", "model", address, "--out", out)
        assert (code, "--remote" in shown, len(server.requests)) == (2, True, 0)
        code, said = georank("features", "model", address, "--out", out, "--remote")
        assert code == 0, said
        gone = address.replace("scene", "gone")
        code, error = georank("features", "model", gone, "--out", tmp_path / "x.tif", "--remote")
        assert (code, "404" in error) == (1, True)
    assert georank("features", "model", "scene.tif", "--out", tmp_path / "near.tif")[0] == 0
    with rasterio.open(out) as far, rasterio.open(tmp_path / "near.tif") as near:
        assert (far.read() == near.read()).all()
        recorded = far.tags()["GEORANK"]
    assert json.loads(recorded)["scene"] == "scene.tif"
    assert not any(word in shown + said + error + recorded for word in ("secret", "token"))


def test_a_run_as_onnx(georank, made, tmp_path):
    store = f"data.store={made / 'store'}"
    plan = load_recipe("moco_georank", [store, *TINY, "train.steps=1"])
    run = trainer.train(plan, tmp_path / "run")
    code, shown = georank("export", run.path, "--format", "onnx")
    assert code == 0, shown
    metadata = {p.key: p.value for p in onnx.load(run.path / "model.onnx").metadata_props}
    assert json.loads(metadata["georank"])["recipe"].startswith("georank-moco-r18@")
    assert sorted(p.name for p in (run.path / "export").iterdir()) == [
        "config.json", "footprint.json", "model.safetensors", "recipe.yaml",
    ]  # fmt: skip
    arguments = ("--format", "onnx", "--out", tmp_path / "x.onnx")
    code, shown = georank("export", run.path, *arguments, "--checkpoint", "step-00000009")
    assert code == 2
    assert "no checkpoint" in shown
