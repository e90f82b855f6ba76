"""`doctor` recognizes each of our outputs by its content, and finds its damages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import georank_zoo as gz
from georank_zoo.data.download.record import RECORD, Arrived, Record, write_record
from georank_zoo.eval.results.table import append_rows
from georank_zoo.training.recipe import load_recipe
from georank_zoo.training.trainer import train
from georank_zoo.utils.errors import UsageError
from georank_zoo.utils.files import sha256_of
from tests.eval.results.test_table import ROW
from tests.support.command_line import run as georank
from tests.support.models import make_store
from tests.support.training import TINY


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each kind."""
    folder = tmp_path_factory.mktemp("health")
    store = make_store(folder / "store", [0, 1] * 16)
    run = train(load_recipe("moco_georank", [*TINY], data=store.path), folder / "run",
                progress=False)  # fmt: skip
    shutil.copytree(run.path / "export", folder / "model")
    shutil.copy(run.path / "recipe.yaml", folder / "mine.yaml")
    append_rows(folder / "results.csv", [ROW])
    (folder / "download").mkdir()
    (folder / "download" / "a.tif").write_bytes(b"here")
    file = Arrived("a.tif", 4, sha256_of(folder / "download" / "a.tif"), "", "")
    write_record(folder / "download", Record("eurosat", "CC0", "", (file,), complete=("*",)))
    return folder


def flip(name: str, at: int = -2) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        file = next(path.glob(name)) if path.is_dir() else path
        content = bytearray(file.read_bytes())
        content[at] ^= 4
        file.write_bytes(content)

    return damage


def statistics(path: Path) -> None:
    config = json.loads((path / "config.json").read_text())
    config["pretrained_cfg"]["mean"][3] += 0.01
    (path / "config.json").write_text(json.dumps(config))


KINDS = {"store": "store", "run": "run", "model": "model", "download": "download",
         "results.csv": "results", "mine.yaml": "recipe"}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_recognized_and_whole(
    name: str, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    health = gz.doctor(outputs / name)
    assert (health.kind, health.findings) == (KINDS[name], ())
    assert georank("doctor", outputs / name) == 0
    assert "No damage was found" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "damage", "reasons"),
    [
        ("store", flip("shard-*"), ["does not match its recorded SHA-256"]),
        ("store", flip("store.json", 40), ["store.json is damaged"]),
        ("run", flip("run.json", 40), ["run.json is damaged"]),
        ("run", flip("metrics.jsonl", 40), ["metrics.jsonl"]),
        ("run", flip("recipe.yaml"), ["recipe.yaml is another than the run began with"]),
        ("run", flip("checkpoints/step-*12/optimizer.safetensors"), ["step-00000012"]),
        ("run", flip("export/model.safetensors", 0), ["export/model.safetensors"]),
        ("model", statistics, ["config.json", "other features"]),
        ("download", flip("a.tif"), ["a.tif differs from its SHA-256"]),
        ("download", flip(RECORD, 40), [f"{RECORD} is damaged"]),
        ("results.csv", flip("", 5), ["results.csv"]),
        ("mine.yaml", flip("", 0), ["mine.yaml"]),
    ],
)  # fmt: skip
def test_damage_is_found(
    name: str, damage: Callable[[Path], None], reasons: list[str], outputs: Path,
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    copy = tmp_path / name
    if (outputs / name).is_dir():
        shutil.copytree(outputs / name, copy)
    else:
        shutil.copy(outputs / name, copy)
    damage(copy)
    assert georank("doctor", copy) == 1
    shown = capsys.readouterr().err
    assert all(reason in shown for reason in reasons), shown


def test_what_is_nothing_of_ours(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    for path in (tmp_path, tmp_path / "thesis.tex", tmp_path / "none"):
        with pytest.raises(UsageError, match="a store, a run folder"):
            gz.doctor(path)
        assert georank("doctor", path) == 2


def test_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert georank("doctor") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("python", "torch", "timm", "device", "cache", "memory"))
