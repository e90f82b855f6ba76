"""What the README shows, runs."""

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import rasterio
import torch
from torchgeo.datasets import EuroSAT

import georank_zoo
from georank_cli.main import cli
from georank_zoo.bands import S2_13
from georank_zoo.training.recipe import load_recipe
from tests.support import trees
from tests.support.models import make_export, make_network

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def test_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export = tmp_path / "runs" / "georank-moco-r18" / "export"
    make_export(export, make_network(architecture="resnet18"), architecture="resnet18")
    torchgeo_eurosat(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    found = blocks("python")
    assert len(found) == 4
    names: dict[str, Any] = {}
    for block in found:
        exec(block, names)
    assert names["features"].shape == (8, 512)
    assert names["embeddings"].grad.abs().sum() > 0
    check_torchgeo(names, tmp_path)


def torchgeo_eurosat(root: Path) -> None:
    """EuroSAT where torchgeo expects it."""
    trees.eurosat_tree(root / EuroSAT.base_dir)
    files = sorted((root / EuroSAT.base_dir).glob("*/*.tif"))
    for seed, path in enumerate(files):
        # Bands of their own, so that a mixed-up order shows.
        trees.write_tif(path, trees.noise((13, 64, 64), seed))
    (root / "eurosat-train.txt").write_text("".join(f"{path.stem}.jpg\n" for path in files))


def check_torchgeo(names: dict[str, Any], folder: Path) -> None:
    task, dataset = names["task"], names["train_set"]
    assert len(dataset) == 9
    task.model.reset_classifier(0)
    with torch.inference_mode():
        found = task.model.eval()(dataset[4]["image"][None])
    with rasterio.open(dataset.samples[4][0]) as file:
        pixels = torch.from_numpy(file.read()[None].astype("float32"))
    # The bands in the files' order: B8A is the last one.
    model = georank_zoo.create_model(
        folder / "runs" / "georank-moco-r18", bands=[*S2_13[:8], *S2_13[9:], "B8A"], unit="dn"
    )
    with torch.inference_mode():
        torch.testing.assert_close(found, model(pixels), rtol=1e-3, atol=1e-3)
    assert dataset[4]["label"] == 1


def commands() -> list[str]:
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [part for part in parts if part.startswith("georank ")]


@pytest.mark.parametrize("line", commands())
def test_commands_exist_with_their_options(line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and (words or not command.invoke_without_command):
        found = command.get_command(context, words.pop(0))
        assert found is not None, line
        command = found
    parsed = command.make_context("georank", words, resilient_parsing=True)
    assert parsed is not None
    # Resilient parsing lets unknown options pass: they must not be there.
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    if words and line.split()[1] == "train":
        given = words[words.index("train") + 1 :] if "train" in words else words
        overrides = [given[i + 1] for i, word in enumerate(given) if word == "--set"]
        loaded = load_recipe(given[0], overrides)
        for key, value in (override.split("=", 1) for override in overrides):
            section, _, name = key.partition(".")
            if name:
                found_value = getattr(getattr(loaded, section), name)
                assert str(found_value) == value, line


def test_commands_were_found() -> None:
    assert len(commands()) >= 7
