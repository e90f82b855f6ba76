"""Loading: by band name, in a unit, exactly, and safely."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from georank_zoo.bands import S2_12
from georank_zoo.models.encoder import create_model
from georank_zoo.models.hub import check_blob, parse_id
from georank_zoo.utils.errors import ModelError, UsageError
from tests.support.hub import Hub
from tests.support.hub_client import run_against
from tests.support.models import MEAN, STD, edit_config, make_export, make_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_export(tmp_path_factory.mktemp("zoo") / "model")


@pytest.fixture(scope="module")
def resnet18(tmp_path_factory):
    return make_export(tmp_path_factory.mktemp("zoo") / "resnet18", architecture="resnet18")


@pytest.fixture
def copy(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "model"))


@pytest.fixture
def images():
    return torch.rand(4, 12, 32, 32, generator=torch.Generator().manual_seed(0))


def z_of(images):
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (MEAN, STD))
    return (images - mean) / std


def test_bit_equal_with_timm(resnet18, images):
    encoder = create_model(resnet18)
    assert not encoder.training
    assert (encoder.bands, encoder.image_size, encoder.num_features) == (S2_12, 32, 512)
    assert encoder.config.recipe == "moco_georank@0123456789ab"
    network = timm.create_model(f"local-dir:{resnet18}", pretrained=True).eval()
    with torch.inference_mode():
        assert torch.equal(encoder(images), network(z_of(images)))


def test_run_folder_and_random_initialization(folder, images, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copytree(folder, tmp_path / "run" / "export")
    trained, random = create_model(tmp_path / "run"), create_model(folder, pretrained=False)
    assert trained.model_hash != "none"
    assert random.model_hash == "none"
    assert [n for n, _ in trained.named_parameters()] == [n for n, _ in random.named_parameters()]
    assert not torch.equal(trained.backbone.conv1[0].weight, random.backbone.conv1[0].weight)


def test_loading_does_not_touch_the_random_state(folder):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    create_model(folder)
    assert torch.equal(torch.rand(1), expected)


def test_dn_equals_reflectance(folder):
    dn = torch.randint(0, 6000, (2, 12, 32, 32))
    by_dn = create_model(folder, unit="dn")
    with torch.inference_mode():
        expected = create_model(folder)(dn.float() / 10_000)
        assert torch.equal(by_dn(dn), expected)
        assert torch.equal(by_dn(dn.to(torch.uint16)), expected)


def test_subset_in_any_order_equals_cutting_the_first_convolution(resnet18, images):
    bands = ("B08", "B02", "B04", "B8A")
    columns = [S2_12.index(name) for name in bands]
    encoder = create_model(resnet18, bands=bands)
    cut = timm.create_model("resnet18", in_chans=4, num_classes=0)
    state = load_file(resnet18 / "model.safetensors")
    state["conv1.weight"] = state["conv1.weight"][:, columns]
    cut.load_state_dict(state)
    with torch.inference_mode():
        found = encoder(images[:, columns])
        torch.testing.assert_close(found, cut.eval()(z_of(images)[:, columns]))
        # A wrong order must not pass.
        assert not torch.allclose(encoder(images[:, columns[::-1]]), found, rtol=1e-2, atol=1e-3)


def test_superset_drops_what_the_model_does_not_take(folder, images):
    bands = ("B10", *S2_12[::-1])
    extra = torch.cat((torch.full((4, 1, 32, 32), 3.0), images.flip(1)), dim=1)
    with torch.inference_mode():
        assert torch.equal(create_model(folder, bands=bands)(extra), create_model(folder)(images))


def test_values_of_another_unit_are_refused(folder, images):
    with pytest.raises(UsageError, match="digital numbers"):
        create_model(folder)(images * 10_000)
    with pytest.raises(UsageError, match="looks like reflectance"):
        create_model(folder, unit="dn")(images)
    with pytest.raises(UsageError, match="NaN"):
        create_model(folder)(images * float("nan"))
    with pytest.raises(UsageError, match=r"\(B, 12, H, W\)"):
        create_model(folder)(images[:, :3])
    with pytest.raises(UsageError, match="Unknown unit"):
        create_model(folder, unit="DN")
    with pytest.raises(UsageError, match="no band in common"):
        create_model(folder, bands=("B10",))


@pytest.mark.parametrize(
    ("low", "high", "unit", "reason"),
    [
        (-3, 5, "reflectance", "standardized already"),
        (-3, 12, "reflectance", "standardized already"),
        (-3, 5, "dn", "standardized already"),
        (-3.4e38, 0.8, "reflectance", "a no-data value"),
        (-500, 5000, "reflectance", "pass unit 'dn'"),
    ],
)
def test_low_ends_that_cannot_be(folder, images, low, high, unit, reason):
    images = low + (high - low) * images
    images[0, 0, 0, :2] = torch.tensor([low, high])
    with pytest.raises(UsageError, match=reason):
        create_model(folder, unit=unit)(images)


@pytest.mark.parametrize("rows", [1, 16])
@pytest.mark.parametrize("fill", [-9999, -32768, 1e20])
@pytest.mark.parametrize(("unit", "scale"), [("dn", 5000), ("reflectance", 0.5)])
def test_fills_that_stand_for_no_data(folder, images, fill, unit, scale, rows):
    images = images * scale
    images[:, 3, :rows] = fill
    with pytest.raises(UsageError, match=r"no-data value|another scale|digital numbers"):
        create_model(folder, unit=unit)(images)


@pytest.mark.parametrize(("unit", "scale"), [("dn", 10_000), ("reflectance", 1)])
def test_odd_pixels_do_not_tell_the_unit(folder, images, unit, scale):
    images = images * 0.4 * scale
    images[0, :, 0, 0] = -0.25 * scale
    images[0, :, 0, 1] = 7 * scale
    images[1, 3, 5, :] = 1
    create_model(folder, unit=unit)(images)


def test_low_ends_that_can_be(folder, images):
    # The floor of Level-2A with its offset removed; resampling overshoots it a little.
    dn = torch.randint(-1000, 6000, (2, 12, 32, 32))
    dn[0, 0, 0, 0] = -1000
    create_model(folder, unit="dn")(dn)
    create_model(folder, unit="dn")(torch.zeros(1, 12, 32, 32))
    create_model(folder)(images * 1.2 - 0.15)


def test_a_local_model_has_the_name_in_its_config(folder, copy, monkeypatch):
    assert create_model(folder).name == "moco_georank"
    for name in ("[red]x", "a\x1b[31m", "", 7, None, "a" * 200):
        edit_config(copy, georank__name=name)
        assert create_model(copy).name == str(copy)
    monkeypatch.setattr("georank_zoo.models.find.download_model", lambda *_, **__: folder)
    assert create_model("org/model").name == "org/model"


def test_sources_that_are_no_model(tmp_path, folder):
    with pytest.raises(ModelError, match=r"neither config\.json nor export/config\.json"):
        create_model(tmp_path)
    with pytest.raises(ModelError, match="is a file"):
        create_model(folder / "model.safetensors")
    with pytest.raises(ModelError, match="No folder"):
        create_model("a/b/c")
    with pytest.raises(ModelError, match="No folder"):
        create_model("../nothing")
    with pytest.raises(UsageError, match="revision names a model on the Hub"):
        create_model(folder, revision="v1")


def test_hub_ids():
    assert str(parse_id("org/name")) == "org/name"
    assert str(parse_id("hf-hub:org/name@v1.0")) == "org/name@v1.0"
    assert parse_id("org/name", "abc").revision == "abc"
    for text in ("name", "/org/name", "org/name/more", "../name", "org/..", "./name", "hf-hub:x"):
        assert parse_id(text) is None, text
    for text in ("org/name@../../x", "org/name@a b", "org/name@/x"):
        with pytest.raises(UsageError, match="not a revision"):
            parse_id(text)
    with pytest.raises(UsageError, match="Two revisions"):
        parse_id("org/name@v1", "v2")


def test_the_blob_is_checked_by_the_first_link_only(tmp_path):
    # A blob of a shared cache is a link to a file that another kind of hash names.
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "blobs").mkdir()
    content = b"weights"
    sha = "9ef8f0d0c8a0b5b8bbfa4a0ef0b3ff0d5bd8a0e9ec1b9a7a93ab0d2d2bdc4cb1"
    shared = tmp_path / ("e" * 64)
    shared.write_bytes(content)
    right = hashlib.sha256(content).hexdigest()
    for name in (right, sha):
        blob = tmp_path / "blobs" / name
        blob.symlink_to(shared)
        pointer = tmp_path / "snapshots" / name
        pointer.symlink_to(Path("../blobs") / name)
    check_blob(tmp_path / "snapshots" / right)
    with pytest.raises(ModelError, match="damaged on the way"):
        check_blob(tmp_path / "snapshots" / sha)


_LOAD = """
import json, sys, torch, timm
from pathlib import Path
from georank_zoo.utils.errors import GeorankError
from georank_zoo.models.encoder import create_model

images = torch.rand(2, 12, 32, 32, generator=torch.Generator().manual_seed(0))
answers = []
for source in sys.argv[1:]:
    try:
        encoder = create_model(source)
        network = timm.create_model("hf-hub:" + source, pretrained=True).eval()
        z = (images - encoder.mean.view(1, -1, 1, 1)) / encoder.std.view(1, -1, 1, 1)
        with torch.inference_mode():
            answers.append([encoder.model_hash, torch.equal(encoder(images), network(z))])
    except GeorankError as error:
        answers.append(str(error))
        if "Delete " in str(error):  # do what the message says
            Path(str(error).partition("Delete ")[2].partition(" and try")[0]).unlink()
print(json.dumps(answers))
"""


def test_hub(folder, copy, tmp_path):
    home, empty = tmp_path / "home", tmp_path / "empty"
    empty.mkdir()
    edit_config(copy, pretrained_cfg__hf_hub_filename="evil.bin")
    fine = [create_model(folder).model_hash, True]
    sources = {"org/model": folder, "org/evil": copy, "org/empty": empty, "org/broken": folder}
    with Hub(sources) as hub:
        hub.repos["org/model"].tags["v1"] = hub.repos["org/model"].head.oid
        hub.fail("GET", "org/broken/objects", "damage")
        answers = run_against(
            hub, home, _LOAD, "org/model", "org/model@v1", "org/nothing", "org/model@v9",
            "org/empty", "org/evil", "org/broken", "org/broken",
        )  # fmt: skip
    assert answers[:2] == [fine, fine]
    assert "No model org/nothing" in answers[2]
    assert "has no revision 'v9'" in answers[3]
    assert "has no config.json" in answers[4]
    assert "hf_hub_filename" in answers[5]
    assert "was damaged on the way" in answers[6]
    assert answers[7] == fine
    sent = {path.rpartition("/")[2] for _, path in hub.requests}
    assert sent == {"config.json", "model.safetensors"}
    weights = hub.downloads
    assert len([path for path in weights if "org/model" in path]) == 1, "not taken from the cache"
    assert not [path for path in weights if "org/evil" in path], "weights before the config"
    assert not hub.leaks and not hub.writes

    # Nobody listens any more: the cache is enough, and without it there is a sentence.
    answers = run_against(hub, home, _LOAD, "org/never", "runs/moco", "org/nothing")
    assert "not in the cache" in answers[0] and "Nothing listens there" in answers[0]
    assert answers[1].startswith("There is no folder runs/moco here.")
    assert run_against(hub, home, _LOAD, "org/model")[0][0] == fine[0]


def test_weights_differ_from_another_seed(folder, tmp_path, images):
    other = make_export(tmp_path / "other", make_network(seed=1))
    with torch.inference_mode():
        assert not torch.allclose(create_model(folder)(images), create_model(other)(images))
