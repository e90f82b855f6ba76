"""Every command that writes, killed, ended, short of room or run twice at once."""

from __future__ import annotations

import copy
import hashlib
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.faults.commands import Attempts, Command, Server
from tests.support.archives import make_zip
from tests.support.card_parts import TINY
from tests.support.file_server import FileServer, Served
from tests.support.hub import Hub

_RUN = " ".join(
    f"--set {setting}" for setting in (*TINY, "data.places=10", "backbone.name=test_resnet")
)
# What makes the inputs, in order, and what each makes.
INPUTS = (
    ("data prepare synthetic world --places 12 --size 32 --seed 1 --out store",
     ("world", "store", "scene.tif")),
    (f"train moco_georank --data store --out run {_RUN}", ("run",)),
    (f"train moco --data store --out base {_RUN} --set regularizer.name=none", ("base",)),
    ("eval run base --task synthetic --data store --split loo --results results.csv",
     ("results.csv", "results_predictions")),
    ("data prepare folder world --share 1/2 --out share1", ("share1",)),
    ("data prepare folder world --share 2/2 --out share2", ("share2",)),
    ("release run --org alice --catalog models.json", ("models.json",)),
)  # fmt: skip
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
    Command("onnx", "export run --format onnx --out new/model.onnx", ("run",), every=4),
    Command("card", "card run --results results.csv", ("run", "results.csv")),
    Command("recipe-cards", "card --recipe moco --recipe dino --out new/cards"),
    Command("download", "data download eurosat --out new/eurosat"),
    Command("overlap", "data overlap store store --out new/map.png --csv new/counts.csv",
            ("store",)),
    Command("pull", "models pull georank-moco-r18 --catalog models.json --out new/model",
            ("models.json",)),
    Command("demo", "demo --steps 2 --places 128", every=80),
)  # fmt: skip
IDS = [command.name for command in COMMANDS]


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, hub: Hub) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("cache"), hub)
    yield started
    started.close()


class Inputs:
    """Inputs of the commands, made when they are asked for."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder, self._made = server, folder, 0

    def make(self, names: Sequence[str]) -> Path:
        """The folder that holds them."""
        while not set(names) <= {name for _, made in INPUTS[: self._made] for name in made}:
            arguments, _ = INPUTS[self._made]
            ended = self.server.run(arguments, self.folder)
            assert ended.code == 0, f"{arguments}: {ended.text}"
            if self._made == 0:
                scene = min((self.folder / "world").rglob("*.tif"))
                shutil.copy2(scene, self.folder / "scene.tif")
            self._made += 1
        return self.folder


@pytest.fixture(scope="session")
def inputs(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs(server, tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def archive() -> Iterator[dict[str, Any]]:
    """A zip of four files on a web server."""
    noise = random.Random(0).randbytes(3000)
    names = [f"root/{c}/{c}_{n}.tif" for c in ("Forest", "River") for n in (1, 2)]
    content = make_zip(dict.fromkeys(names, noise))
    with FileServer({"a.zip": Served(content)}) as running:
        yield {
            "url": f"{running.url}/a.zip", "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }  # fmt: skip


@pytest.fixture(params=COMMANDS, ids=IDS)
def attempts(
    request: pytest.FixtureRequest,
    server: Server,
    inputs: Inputs,
    archive: dict[str, Any],
    hub: Hub,
    tmp_path: Path,
) -> Attempts:
    folder = inputs.make(request.param.inputs)
    published = copy.deepcopy({name: one for name, one in hub.repos.items() if "alice/" in name})

    def restore() -> None:
        hub.repos = copy.deepcopy(published)

    return Attempts(server, request.param, folder, tmp_path, archive, restore)


def check(attempts: Attempts) -> None:
    assert not attempts.tally.found, str(attempts.tally)


QUICK = ("prepare", "features-parquet", "export", "download")


@pytest.mark.parametrize(
    "attempts", [c for c in COMMANDS if c.name in QUICK], ids=QUICK, indirect=True
)
def test_a_fault_of_each_kind(attempts: Attempts) -> None:
    middle, last = attempts.changes // 2, attempts.changes
    attempts.kill([middle, last])
    attempts.terminate([middle])
    attempts.fill([attempts.largest // 2])
    attempts.meet([middle])
    check(attempts)


@pytest.mark.slow
def test_killed_at_every_change(attempts: Attempts) -> None:
    attempts.kill(attempts.moments)
    check(attempts)


@pytest.mark.slow
def test_killed_within_a_file(attempts: Attempts) -> None:
    attempts.kill_within(sorted({attempts.largest * part // 8 for part in range(1, 9)}))
    check(attempts)


@pytest.mark.slow
def test_terminated_at_every_change(attempts: Attempts) -> None:
    attempts.terminate(attempts.moments)
    check(attempts)


@pytest.mark.slow
def test_files_that_may_not_grow(attempts: Attempts) -> None:
    sizes = {0, 100, *(attempts.largest * part // 8 for part in range(1, 9))}
    attempts.fill(sorted(size + 1 for size in sizes))
    check(attempts)


@pytest.mark.slow
def test_two_at_once(attempts: Attempts) -> None:
    attempts.meet(attempts.moments)
    check(attempts)
