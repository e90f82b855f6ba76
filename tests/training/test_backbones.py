"""Backbones of other families: built for the views' sizes, trained, exported, loaded back."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.embed.extract import extract
from georank_zoo.models.encoder import create_model
from georank_zoo.training import build, checkpoints, trainer
from georank_zoo.training.recipe import Recipe, load_recipe
from georank_zoo.utils.errors import RecipeError
from tests.support.models import make_store
from tests.support.training import TINY

MOCO = [o for o in TINY if not o.startswith(("backbone", "views", "train.steps"))]
DINO = [
    *(o for o in MOCO if not o.startswith("algorithm")),
    "algorithm.name=dino", "algorithm.hidden_dim=32", "algorithm.output_dim=16",
    "optimizer.name=adamw", "optimizer.lr=0.001", "views.local_views=2", "views.local_size=16",
]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PatchStore:
    labels = [place % 2 for place in range(16)]
    return make_store(tmp_path_factory.mktemp("backbones") / "store", labels)


@pytest.mark.parametrize(
    ("name", "overrides", "arguments"),
    [
        ("resnet10t", MOCO, {}),
        ("convnext_atto", MOCO, {}),
        ("vit_tiny_patch16_224", MOCO, {"img_size": 32}),
        ("vit_tiny_patch16_224", DINO, {"img_size": 32, "dynamic_img_size": True}),
    ],
)
def test_trained_and_loaded_back_at_its_size(
    name: str, overrides: list[str], arguments: dict[str, object], store: PatchStore, tmp_path: Path
) -> None:
    plan = load_recipe(
        "moco",
        [
            f"data.store={store.path}", f"probe.store={store.path}", *overrides, "train.steps=2",
            f"backbone.name={name}", "views.size=32",
        ],
    )  # fmt: skip
    run = trainer.train(plan, tmp_path / "run")
    config = json.loads((run.path / "export" / "config.json").read_text())
    config["model_args"].pop("global_pool", None)
    assert config["model_args"] == {"in_chans": 12, "num_classes": 0, **arguments}
    assert config["pretrained_cfg"]["input_size"] == [12, 32, 32]

    network = timm.create_model(f"local-dir:{run.path / 'export'}", pretrained=True).eval()
    trained = load_file(run.checkpoint() / checkpoints.ALGORITHM)
    for key, value in network.state_dict().items():
        assert torch.equal(value, trained[f"backbone.{key}"]), key
    assert network(torch.zeros(1, 12, 32, 32)).shape == (1, network.num_features)
    if "dynamic_img_size" in arguments:
        assert network(torch.zeros(1, 12, 64, 64)).shape == (1, network.num_features)

    # An evaluation takes the model's size without being told, as the probe did in training.
    encoder = create_model(run.path)
    features = extract(encoder, store)
    assert encoder.image_size == 32 and features.shape == (16, network.num_features)
    assert np.ptp(features, axis=0).max() > 0
    assert "probe_accuracy_macro" in run.log.rows()[-1]


def load(*overrides: str) -> Recipe:
    return load_recipe("moco", ["data.store=unused", *overrides])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["views.size=120"], r"views\.size: .* last 8 px of 120\. Choose 112 or 128"),
        (["views.size=12"], r"views\.size: .* Choose 16"),
        (
            ["algorithm.name=dino", "views.size=64", "views.local_views=2", "views.local_size=60"],
            r"views\.local_size: .* last 12 px of 60\. Choose 48 or 64",
        ),
    ],
)
def test_pixels_that_a_transformer_would_not_see(overrides: list[str], message: str) -> None:
    plan = load("backbone.name=vit_tiny_patch16_224", *overrides)
    with pytest.raises(RecipeError, match=message):
        build.build_objective(plan, build.build_views(plan))


def test_a_transformer_of_one_size_refuses_small_crops() -> None:
    plan = load(
        "backbone.name=mixer_s16_224", "views.size=32", "algorithm.name=dino",
        "views.local_views=1", "views.local_size=16",
    )  # fmt: skip
    with pytest.raises(RecipeError, match="does not build mixer_s16_224 for images of 32 and 16"):
        build.build_objective(plan, build.build_views(plan))


def test_sizes_do_not_change_a_backbone_that_takes_any() -> None:
    torch.manual_seed(0)
    plain = build.build_backbone("test_resnet", 12).state_dict()
    torch.manual_seed(0)
    sized = build.build_backbone("test_resnet", 12, (64, 32)).state_dict()
    assert all(torch.equal(plain[key], sized[key]) for key in plain)
