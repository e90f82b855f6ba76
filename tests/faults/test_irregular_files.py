"""What is no regular file is not opened: a fifo would wait for ever, and a device never ends."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from georank_zoo.publish.catalog import Catalog
from tests.support.bigearthnet_tree import version_1, version_2
from tests.support.command_line import run
from tests.support.fifo import Fifo
from tests.support.hdf5_trees import cashew_tree, so2sat_tree
from tests.support.models import make_store
from tests.support.pushing import make_model
from tests.support.trees import (
    eurosat_tree,
    folder_tree,
    noise,
    oscd_tree,
    ssl4eo_tree,
    write_tif,
)
from tests.support.zoo_parts import finished_run, make_entry

TABLE = "file,label\n" + "".join(
    f"{('crop', 'forest')[n % 2]}/p{n}_{date}.tif,{n % 2}\n"
    for n in range(6)
    for date in ("20180115", "20180715")
)


@dataclass(frozen=True)
class Case:
    """A command, and the file that is a fifo."""

    command: str
    file: str


CASES = [
    *(Case(f"data prepare eurosat eurosat --out x{more}", file) for more, file in (
        ("", "eurosat/Forest/Forest_1.tif"),
        (" --splits s", "s/eurosat-train.txt"),
    )),
    *(Case("data prepare folder folder --out x --labels folder/labels.csv", file) for file in (
        "folder/crop/p0_20180115.tif", "folder/labels.csv",
    )),
    Case(
        "data prepare folder folder --out x --labels folder/labels.geojson",
        "folder/labels.geojson",
    ),
    Case("data prepare folder list.txt --out x --remote", "list.txt"),
    Case("data prepare oscd oscd --out x", "oscd/pisa/dates.txt"),
    Case("data prepare oscd oscd --out x", "oscd/pisa/imgs_1/S2A_20200101T000000_B02.tif"),
    Case("data prepare ssl4eo ssl4eo/s2a --out x", "metadata.json"),
    Case("data prepare bigearthnet ben2 --out x", "ben2/metadata.parquet"),
    Case("data prepare bigearthnet ben1 --out x", "_labels_metadata.json"),
    Case("data prepare so2sat so2sat/random --out x", "so2sat/random/training.h5"),
    Case("data prepare cashew cashew --out x", ".hdf5"),
    Case("data prepare cashew cashew --out x", "default_partition.json"),
    Case("data prepare cashew cashew --out x", "band_stats.json"),
    *(Case(f"data {what} store", f"store/{file}") for what in ("info", "verify") for file in (
        "store.json", "shard-00000.safetensors",
    )),
    *(Case(f"{command}", f"export/{file}") for file in (
        "config.json", "model.safetensors", "README.md", "recipe.yaml", "footprint.json",
    ) for command in (
        "features export scene.tif --out f.tif", "models verify export", "card export",
        "push export org/name --dry-run", "eval export --task cashew --data store",
    )),
    Case("features export scene.tif --out f.tif", "scene.tif"),
    *(Case(command, "models.json") for command in (
        "models --catalog models.json", "models show m --catalog models.json",
        "release run --org o --dry-run --catalog models.json",
    )),
    *(Case(command, "results.csv") for command in (
        "compare results.csv", "card export --results results.csv",
        "release run --org o --dry-run --results results.csv",
        "eval export --task cashew --data store --results results.csv",
    )),
    Case("train recipe.yaml --data store --out r2", "recipe.yaml"),
    Case("recipes show recipe.yaml", "recipe.yaml"),
    *(Case(command, f"run/{file}") for file in (
        "run.json", "recipe.yaml", "metrics.jsonl", "state.json", "algorithm.safetensors",
        "optimizer.safetensors",
    ) for command in (
        "export run --out e", "train moco_georank --data store --out run --resume", "card run",
        "push run org/name --dry-run",
    )),
]  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    eurosat_tree(root / "eurosat")
    folder_tree(root / "folder")
    (root / "folder" / "labels.csv").write_text(TABLE)
    oscd_tree(root / "oscd")
    ssl4eo_tree(root / "ssl4eo", places=1)
    version_1(root / "ben1")
    version_2(root / "ben2")
    so2sat_tree(root / "so2sat")
    cashew_tree(root / "cashew")
    store = make_store(root / "store", [0, 1] * 16)
    make_model(root / "export")
    finished_run(store, root / "run")
    write_tif(root / "scene.tif", noise((12, 64, 64)))
    (root / "models.json").write_text(Catalog(models={"m": make_entry()}).to_json())
    (root / "recipe.yaml").write_bytes((root / "run" / "recipe.yaml").read_bytes())
    return root


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.command} | {case.file}")
def test_a_fifo_is_not_opened(
    case: Case, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    work = tmp_path / "work"
    shutil.copytree(tree, work)
    monkeypatch.chdir(work)
    found = [work / case.file]
    if not found[0].exists():
        folder = case.command.split()[3] if case.command.startswith("data prepare") else "run"
        found = [*(work / folder).rglob(f"*{Path(case.file).name}"), *found][:1]
        found[0].parent.mkdir(exist_ok=True)
    with Fifo(found[0]) as fifo:
        run(*case.command.split())
    said = capsys.readouterr().err
    assert not fifo.opened, said
    assert "Traceback" not in said
