"""Fixtures: real files where there are some, small ones of the same layout everywhere."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.readers import open_reader
from georank_zoo.data.store.patch_store import PatchStore
from tests.support import trees
from tests.support.card_parts import TINY
from tests.support.hub import Hub
from tests.support.hub.client import connect
from tests.support.models import edit_config


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> None:
    """A shell's background job ignores it, and passes that on to what the tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps what the library caches (clusters of places) out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread_per_worker() -> Iterator[None]:
    """Workers of pytest-xdist, and what they start, share the cores and do not fight for them."""
    with pytest.MonkeyPatch.context() as patch:
        if "PYTEST_XDIST_WORKER" in os.environ:
            torch.set_num_threads(1)
            patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real samples; skips where the environment does not name it."""
    folder = os.environ.get("GEORANK_REAL_DATA")
    if not folder:
        pytest.skip("GEORANK_REAL_DATA is not set: no real files to test with")
    path = Path(folder)
    if not path.is_dir():
        pytest.skip(f"GEORANK_REAL_DATA names {folder}, which is no folder")
    return path.resolve()


@pytest.fixture(scope="session")
def world_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GeoTIFFs of 96 places x 2 dates, 32 px, 8 classes."""
    from georank_zoo.data.synthetic.world import generate_world

    folder = tmp_path_factory.mktemp("world") / "files"
    generate_world(folder, places=96, seasons=2, size=32, seed=0)
    return folder


@pytest.fixture(scope="session")
def world_store(world_folder: Path) -> PatchStore:
    """A labeled store of 192 patches: 96 places x 2 dates, 12 bands, 32 px."""
    reader = open_reader("synthetic", world_folder)
    return prepare_store(reader, world_folder.with_name("store"), max_bad=0).store


@pytest.fixture
def eurosat_tree(tmp_path: Path) -> Path:
    return trees.eurosat_tree(tmp_path / "eurosat")


@pytest.fixture
def oscd_tree(tmp_path: Path) -> Path:
    return trees.oscd_tree(tmp_path / "oscd")


@pytest.fixture
def folder_tree(tmp_path: Path) -> Path:
    return trees.folder_tree(tmp_path / "folder")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub on 127.0.0.1 that the clients in this process talk to, over Git LFS."""
    with Hub() as running:
        connect(monkeypatch, running, tmp_path / "hf")
        yield running


@pytest.fixture(params=["lfs", "xet"])
def any_hub(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hub]:
    """The same, once over Git LFS and once over Xet."""
    with Hub() as running:
        connect(monkeypatch, running, tmp_path / "hf", xet=request.param == "xet")
        yield running


@pytest.fixture(scope="session")
def card_run(world_store: PatchStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the shipped recipe, as small as it goes, on the generated world."""
    from georank_zoo.training import trainer
    from georank_zoo.training.recipe import load_recipe

    plan = load_recipe("moco_georank", TINY, data=str(world_store.path))
    folder = tmp_path_factory.mktemp("cards") / "runs" / "georank-moco-r18"
    return trainer.train(plan, folder).path


@pytest.fixture
def card_folder(card_run: Path, tmp_path: Path) -> Path:
    """A copy of its export, of data that is neither generated nor small."""
    copy = Path(shutil.copytree(card_run / "export", tmp_path / "model"))
    edit_config(
        copy, georank__store__reader="eurosat", georank__store__source="EuroSAT",
        georank__store__patches=20_000, georank__store__places=20_000,
        georank__store__places_used=20_000, georank__store__level="L1C",
    )  # fmt: skip
    return copy
