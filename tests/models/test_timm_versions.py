"""A published model is the same in every timm, from 0.9.2 to the newest.

Each version is installed into a folder of its own in pytest's cache (about 15 MB, some seconds;
again only when a newer one appears), beside the torch that is here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.support.hub import Hub
from tests.support.hub_client import run_against
from tests.support.models import MEAN, STD, make_export, make_network

pytestmark = pytest.mark.slow

# The oldest that is promised, one of the last with the old client, and two that most people have.
# timm before 1.0.21 cannot use huggingface-hub 1.0 and later.
VERSIONS = {
    "0.9.2": ("timm==0.9.2", "huggingface-hub<1"),
    "0.9.16": ("timm==0.9.16", "huggingface-hub<1"),
    "1.0.15": ("timm==1.0.15", "huggingface-hub<1"),
    "newest": ("timm", "huggingface-hub"),
}


def _pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _newest(*requirements: str) -> list[str]:
    """What pip would install for these requirements into an empty folder: `name==version`."""
    report = json.loads(
        _pip("install", "--quiet", "--dry-run", "--no-deps", "--ignore-installed",
             "--report", "-", *requirements)
    )  # fmt: skip
    names = [item["metadata"] for item in report["install"]]
    return sorted(f"{item['name'].replace('_', '-')}=={item['version']}" for item in names)


@pytest.fixture(scope="module", params=VERSIONS)
def installed(request):
    """A folder with one version of timm and a client that fits it, and the version."""
    requirements = _newest(*VERSIONS[request.param])
    folder = request.config.cache.mkdir("timm") / "+".join(requirements)
    client, version = requirements[0], requirements[1].partition("==")[2]
    if not (folder / "complete").exists():
        _pip("install", "--quiet", "--target", str(folder), client)
        # timm's own dependencies, torch above all, are those that are here.
        _pip("install", "--quiet", "--target", str(folder), "--no-deps", f"timm=={version}")
        (folder / "complete").touch()
    return folder, version


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A model folder, and what the trained network makes of two images."""
    root = tmp_path_factory.mktemp("published")
    network = make_network("resnet18").eval()
    folder = make_export(root / "model", network, "resnet18", image_size=64)
    images = torch.randn(2, 12, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        reference = {"images": images, "features": network(images)}
        x = network.act1(network.bn1(network.conv1(images)))
        reference["map0"] = x
        x = network.maxpool(x)
        for i in range(1, 5):
            x = getattr(network, f"layer{i}")(x)
            reference[f"map{i}"] = x
    save_file({name: t.contiguous() for name, t in reference.items()}, root / "reference")
    return folder, root / "reference"


# It knows nothing of this project: it is what a user of that version writes.
_PROGRAM = """
import json, sys, torch, timm, timm.data, huggingface_hub
from safetensors.torch import load_file

reference_path, weights_path, commit = sys.argv[1:]
reference, weights = load_file(reference_path), load_file(weights_path)
images, features = reference["images"], reference["features"]
NAME = "hf-hub:org/model"

def load(name=NAME, **arguments):
    return timm.create_model(name, pretrained=True, **arguments).eval()

def error_of(name=NAME, **arguments):
    try:
        load(name, **arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""

found = {"timm": [timm.__version__, timm.__file__], "hub": huggingface_hub.__version__}
with torch.inference_mode():
    model = load()
    state = model.state_dict()
    found["tensors"] = set(state) == set(weights) and all(
        torch.equal(state[name], weights[name]) for name in state
    )
    found["features"] = torch.equal(model(images), features)
    for key in ("v1", commit):
        found[f"@{key}"] = torch.equal(load(f"{NAME}@{key}")(images), features)
    maps = load(features_only=True)
    found["channels"] = list(maps.feature_info.channels())
    found["maps"] = [torch.equal(m, reference[f"map{i}"]) for i, m in enumerate(maps(images))]
    classifier = load(num_classes=10)
    found["logits"] = list(classifier(images).shape)
    before = classifier.forward_head(classifier.forward_features(images), pre_logits=True)
    found["before_logits"] = torch.equal(before, features)
    found["random"] = torch.equal(timm.create_model(NAME).eval()(images), features)
data = timm.data.resolve_model_data_config(model)
found["data"] = [list(data[key]) for key in ("input_size", "mean", "std")]
found["in_chans"] = [error_of(in_chans=n) for n in (3, 10, 13)]
found["revision"] = error_of(NAME + "@v9")
print(json.dumps(found))
"""


def test_a_published_model_is_the_same_in_this_version(installed, published, tmp_path):
    target, version = installed
    folder, reference = published
    with Hub({"org/model": folder}) as hub:
        commit = hub.repos["org/model"].head.oid
        hub.repos["org/model"].tags["v1"] = commit
        found = run_against(
            hub, tmp_path / "home", _PROGRAM, str(reference), str(folder / "model.safetensors"),
            commit, PYTHONPATH=str(target),
        )  # fmt: skip
    assert found["timm"][0] == version
    assert Path(found["timm"][1]).is_relative_to(target)
    assert f"huggingface-hub=={found['hub']}" in target.name
    assert found["tensors"]
    assert found["features"]
    assert found["@v1"]
    assert found[f"@{commit}"]
    assert "RevisionNotFound" in found["revision"]
    assert found["channels"] == [64, 64, 128, 256, 512]
    assert found["maps"] == [True] * 5
    assert found["logits"] == [2, 10]
    assert found["before_logits"]
    assert not found["random"]
    assert found["data"] == [[12, 64, 64], list(MEAN), list(STD)]
    for message in found["in_chans"]:
        assert message.startswith("RuntimeError")
        assert "conv1.weight" in message
    assert {file for method, _, file in hub.files_asked() if method == "GET"} == {
        "config.json", "model.safetensors",
    }  # fmt: skip
