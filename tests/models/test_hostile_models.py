"""Every hostile folder is refused with its reason, wherever it lies; nothing of it ever runs."""

from __future__ import annotations

import pickle
import re
import shutil
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from georank_cli import main
from georank_zoo.eval.tasks import TASKS
from georank_zoo.models.config import load_config
from georank_zoo.models.encoder import create_model
from georank_zoo.models.folder import check_model_folder, disallowed_files, skeleton
from georank_zoo.utils.errors import ModelError
from tests.support.hostile_models import HOSTILE, HOSTILE_FOLDERS, HOSTILE_ON_THE_HUB, MARK, Bomb
from tests.support.hub import Hub
from tests.support.hub_client import run_against
from tests.support.models import SMALL, edit_config, make_export, make_store

FOLDERS = HOSTILE | HOSTILE_FOLDERS


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return make_export(tmp_path_factory.mktemp("good") / "model")


@pytest.fixture
def copy(good, tmp_path):
    return Path(shutil.copytree(good, tmp_path / "model"))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "eurosat"
    make_store(path, [i % 2 for i in range(8)], class_names=TASKS["eurosat"].classes)
    return path


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_are_refused(copy, name):
    spoil, reason = FOLDERS[name]
    spoil(copy)
    with pytest.raises(ModelError) as refused:
        create_model(copy)
    message = str(refused.value)
    assert reason in message
    assert message.isprintable(), "a control character reaches the terminal"
    assert len(message) < 800
    # Before it is published, a folder is checked without its network.
    with pytest.raises(ModelError) as unpublished:
        check_model_folder(copy)
    assert str(unpublished.value).isprintable()
    assert not (copy.parent / MARK).exists()


# A kind of each: what `create_model` does with the others, the command does too.
@pytest.mark.parametrize(
    "name",
    ["filename-pickle", "architecture-escape", "tables-absurd", "config-deep", "mean-dn",
     "weights-zip", "header-giant", "tensor-nan", "pickle-beside-bin", "link-to-weights"],
)  # fmt: skip
def test_the_command_refuses_them_in_a_sentence(copy, store, capsys, name):
    spoil, reason = FOLDERS[name]
    spoil(copy)
    arguments = ["--task", "eurosat", "--data", str(store), "--k", "1", "--device", "cpu"]
    with pytest.raises(SystemExit) as ended:
        main(["eval", str(copy), *arguments])
    error = capsys.readouterr().err
    assert ended.value.code == 1
    assert error.startswith("Error: ")
    assert reason in error
    assert error.count("\n") == 1
    assert not (copy.parent / MARK).exists()


def test_the_good_folder_is_loaded_and_checked(good, copy, store, capsys):
    assert create_model(copy).model_hash == create_model(good).model_hash
    assert check_model_folder(copy).bands == load_config(good).bands
    assert disallowed_files(copy) == {}
    with pytest.raises(SystemExit) as ended:
        main(["eval", str(copy), "--task", "eurosat", "--data", str(store), "--no-floors",
              "--split", "loo", "--k", "1", "--device", "cpu"])  # fmt: skip
    assert ended.value.code == 0, capsys.readouterr().err


def test_the_payload_would_run(tmp_path):
    folder = tmp_path / "model"
    pickle.loads(pickle.dumps(Bomb(folder)))
    assert (tmp_path / MARK).is_dir()


def test_disallowed_files_name_each_with_its_reason(copy):
    (copy / "README.md").touch()
    (copy / "model.py").touch()
    (copy / "optimizer.pt").touch()
    (copy / "checkpoints").mkdir()
    (copy / "secret").symlink_to("/etc/passwd")
    (copy / "gone").symlink_to("nowhere")
    assert disallowed_files(copy) == {
        "checkpoints": "a folder",
        "gone": "a link that leads out of the folder",
        "model.py": "not part of a model",
        "optimizer.pt": "a pickle, which can run code when it is read",
        "secret": "a link that leads out of the folder",
    }
    with pytest.raises(ModelError, match=r"must not: .*model\.py: not part of a model"):
        check_model_folder(copy)
    with pytest.raises(ModelError, match="is not a folder"):
        disallowed_files(copy / "nothing")


def test_links_within_a_folder_and_into_the_cache_are_its_own(good, tmp_path):
    inside = Path(shutil.copytree(good, tmp_path / "inside"))
    (inside / "model.safetensors").rename(inside / "epoch-9.safetensors")
    (inside / "model.safetensors").symlink_to("epoch-9.safetensors")
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.mkdir(parents=True)
    shutil.copytree(good, tmp_path / "models--a--b" / "blobs")
    for path in good.iterdir():
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name)
    (tmp_path / "elsewhere").symlink_to(snapshot)
    hashes = {create_model(f).model_hash for f in (inside, snapshot, tmp_path / "elsewhere")}
    assert hashes == {create_model(good).model_hash}
    # The same links mean nothing elsewhere, and the files of another model are not its own.
    plain = Path(shutil.copytree(snapshot, tmp_path / "models--a--b" / "x" / "y", symlinks=True))
    with pytest.raises(ModelError, match="leads out"):
        create_model(plain)
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(inside / "config.json")
    with pytest.raises(ModelError, match="leads out"):
        create_model(snapshot)


def test_names_for_tables_are_plain_or_nothing(copy):
    edit_config(copy, georank__name="\x1b[2J=1+1", georank__recipe_hash="\x1b[31m")
    config = load_config(copy)
    assert (config.name, config.recipe) == ("", "")


@pytest.mark.parametrize("architecture", [SMALL, "resnet18", "resnet50", "vit_small_patch16_224"])
def test_the_skeleton_is_the_network(copy, architecture):
    edit_config(copy, architecture=architecture)
    torch.manual_seed(1)
    expected = torch.random.get_rng_state()
    config = load_config(copy)
    found = skeleton(config).state_dict()
    assert torch.equal(torch.random.get_rng_state(), expected), "random numbers were drawn"
    built = timm.create_model(architecture, **config.model_args).state_dict()
    assert {tensor.device.type for tensor in found.values()} == {"meta"}
    assert [(n, t.shape, t.dtype) for n, t in found.items()] == [
        (n, t.shape, t.dtype) for n, t in built.items()
    ]


_LOAD_ALL = """
import json, resource, sys
from georank_zoo.utils.errors import ModelError
from georank_zoo.models.encoder import create_model

create_model(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
answers = {}
for name in sys.argv[2:]:
    try:
        answers[name] = create_model(f"org/{name}").model_hash
    except ModelError as error:
        answers[name] = str(error)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([answers, grown / (1024 if sys.platform == "linux" else 2**20)]))
"""


def _swap_bands(config: bytes) -> bytes:
    """Keeps the length."""
    swapped = re.sub(rb"B0[23]", lambda name: b"B03" if name[0] == b"B02" else b"B02", config)
    assert swapped != config and len(swapped) == len(config)
    return swapped


@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is of Unix")
def test_models_on_the_hub_are_refused(good, tmp_path):
    cases = HOSTILE | HOSTILE_ON_THE_HUB
    folders = {}
    for name, (spoil, _) in cases.items():
        folders[name] = Path(shutil.copytree(good, tmp_path / name / "model"))
        spoil(folders[name])
    beside = Path(shutil.copytree(good, tmp_path / "beside" / "model"))
    (beside / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(beside)))
    folders |= {"good": good, "beside": beside, "altered": good, "broken": good}
    sources = {f"org/{name}": folder for name, folder in folders.items()}
    with Hub(sources) as hub:
        hub.fail("GET", "^/org/altered/.*config.json$", "damage", times=None, damage=_swap_bands)
        hub.fail("GET", "^/org/broken/.*model.safetensors$", "damage")
        answers, grown = run_against(
            hub, tmp_path / "home", _LOAD_ALL, "org/good", "beside", "altered", "broken", *cases
        )
    for name, (_, reason) in cases.items():
        assert reason in answers[name], name
        assert answers[name].isprintable(), name
    # Of the right length, but with two bands swapped, or one bit of the weights.
    assert "config.json was damaged on the way" in answers["altered"]
    assert "model.safetensors was damaged on the way" in answers["broken"]
    # A pickle beside the weights is not even asked for.
    assert answers["beside"] == create_model(good).model_hash
    asked = hub.files_asked()
    assert {file for *_, file in asked} == {"config.json", "model.safetensors"}
    # Nor are weights whose config is refused, and what is too large is not sent.
    weights = {repo.split("/")[1] for _, repo, file in asked if file == "model.safetensors"}
    assert {"broken", "tensor-nan"} < weights
    assert not {n for n in weights if n.startswith(("config-", "mean-", "filename-", "altered"))}
    assert ("HEAD", "org/config-larger-than-any", "config.json") in asked
    assert ("GET", "org/config-larger-than-any", "config.json") not in asked
    assert ("GET", "org/tensor-nan", "model.safetensors") in asked
    assert ("HEAD", "org/weights-larger-than-the-network", "model.safetensors") in asked
    assert ("GET", "org/weights-larger-than-the-network", "model.safetensors") not in asked
    assert not hub.leaks and not hub.writes
    assert not list(tmp_path.rglob(MARK))
    assert grown < 200, "MiB more at the peak than for a good model"


_LOAD_EXACTLY = """
import json, sys, torch
from safetensors.torch import load_file
from georank_zoo.models.encoder import create_model

source, reference = sys.argv[1:]
wanted = load_file(reference)
own = create_model(source)
state = own.backbone.state_dict()
few = create_model(source, bands=["b8", "B10", "B04"], unit="dn")
print(json.dumps([
    sorted(state) == sorted(name for name in wanted if not name.startswith("in.")),
    all(torch.equal(state[name], wanted[name]) for name in state),
    own.backbone.training,
    own.bands,
    [round(v, 6) for v in own.mean.tolist()],
    few(wanted["in.dn"]).tolist(),
]))
"""


def test_a_model_of_the_hub_takes_bands_by_name_and_unit_and_is_whole(good, tmp_path):
    dn = torch.randint(0, 5000, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    weights = load_file(good / "model.safetensors")
    save_file({**weights, "in.dn": dn}, tmp_path / "reference.safetensors")
    with Hub({"org/model": good}) as hub:
        hub.repos["org/model"].tags["v1"] = hub.repos["org/model"].head.oid
        whole, equal, training, bands, mean, features = run_against(
            hub, tmp_path / "home", _LOAD_EXACTLY, "org/model@v1",
            str(tmp_path / "reference.safetensors"),
        )  # fmt: skip
    config = load_config(good)
    assert (whole, equal, training) == (True, True, False)
    assert tuple(bands) == config.bands
    assert mean == pytest.approx(config.mean, abs=1e-6)
    # By hand: B08 and B04 are standardized, B10 is dropped, all others are at their mean.
    z = torch.zeros(2, 12, 32, 32)
    for channel, name in ((0, "B08"), (2, "B04")):
        i = config.bands.index(name)
        z[:, i] = (dn[:, channel] / 10_000 - config.mean[i]) / config.std[i]
    network = timm.create_model(SMALL, in_chans=12, num_classes=0).eval()
    network.load_state_dict(weights)
    with torch.inference_mode():
        torch.testing.assert_close(torch.tensor(features), network(z))
