"""Every command that writes, killed, ended, short of room or run twice at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.commands import Attempts, Command, Server
from tests.support.card_parts import TINY

_RUN = " ".join(
    f"--set {setting}" for setting in (*TINY, "data.places=10", "backbone.name=test_resnet")
)
INPUTS = (
    "data prepare synthetic world --places 12 --size 32 --seed 1 --out store",
    "data prepare folder world --share 1/2 --out share1",
    "data prepare folder world --share 2/2 --out share2",
    f"train moco_georank --data store --out run {_RUN}",
    f"train moco --data store --out base {_RUN} --set regularizer.name=none",
    "eval run base --task synthetic --data store --split loo --results results.csv",
)
COMMANDS = (
    Command("prepare", "data prepare folder world --labels parent --jobs 1 --out new/store",
            ("world",)),
    Command("prepare-overwrite", "data prepare folder world --jobs 1 --out store --overwrite",
            ("world", "store")),
    Command("prepare-synthetic",
            "data prepare synthetic new/world --places 2 --size 32 --jobs 1 --out new/store"),
    Command("merge", "data merge share1 share2 --out merged", ("share1", "share2")),
    Command("features", "features run store --out new/features.safetensors", ("run", "store")),
    Command("features-parquet", "features run store --out new/features.parquet", ("run", "store")),
    Command("features-scene", "features run scene.tif --tile 16 --out new/scene.tif",
            ("run", "scene.tif")),
    Command("eval", "eval run base --task synthetic --data store --split loo --results results.csv",
            ("run", "base", "store", "results.csv", "results_predictions"), appends=True),
    Command("eval-new", "eval run --task synthetic --data store --split loo --results new/r.csv",
            ("run", "store"), appends=True),
    Command("compare", "compare results.csv --out new/compare",
            ("results.csv", "results_predictions")),
    Command("export", "export run --out new/export", ("run",)),
    Command("export-overwrite", "export run --overwrite", ("run",)),
    Command("onnx", "export run --format onnx --out new/model.onnx", ("run",)),
    Command("card", "card run --results results.csv", ("run", "results.csv")),
    Command("recipe-cards", "card --recipe moco --recipe dino --out new/cards"),
    Command("overlap", "data overlap store store --out new/map.png --csv new/counts.csv",
            ("store",)),
)  # fmt: skip
IDS = [command.name for command in COMMANDS]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("matplotlib"))
    yield started
    started.close()


@pytest.fixture(scope="session")
def inputs(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for arguments in INPUTS:
        ended = server.run(arguments, folder)
        assert ended.code == 0, f"{arguments}: {ended.text}"
    shutil.copy2(min((folder / "world").rglob("*.tif")), folder / "scene.tif")
    return folder


@pytest.fixture(params=COMMANDS, ids=IDS)
def attempts(
    request: pytest.FixtureRequest, server: Server, inputs: Path, tmp_path: Path
) -> Attempts:
    return Attempts(server, request.param, inputs, tmp_path)


def check(attempts: Attempts) -> None:

    assert not attempts.tally.found, str(attempts.tally)


@pytest.mark.slow
def test_killed_at_every_change(attempts: Attempts) -> None:
    attempts.kill(range(1, attempts.changes + 1))
    check(attempts)


@pytest.mark.slow
def test_killed_within_a_file(attempts: Attempts) -> None:
    attempts.kill_within(sorted({attempts.largest * part // 8 for part in range(1, 9)}))
    check(attempts)


@pytest.mark.slow
def test_terminated_at_every_change(attempts: Attempts) -> None:
    attempts.terminate(range(1, attempts.changes + 1))
    check(attempts)


@pytest.mark.slow
def test_files_that_may_not_grow(attempts: Attempts) -> None:
    sizes = {0, 100, *(attempts.largest * part // 8 for part in range(1, 9))}
    attempts.fill(sorted(size + 1 for size in sizes))
    check(attempts)


@pytest.mark.slow
def test_two_at_once(attempts: Attempts) -> None:
    attempts.meet(range(1, attempts.changes + 1))
    check(attempts)
