"""Every field of our documents, damaged: an error that names the file, or nothing else is read."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from georank_zoo.data.download.record import (
    LISTING,
    RECORD,
    Arrived,
    ListedFile,
    Record,
    verify_download,
    write_listing,
    write_record,
)
from georank_zoo.eval.results.table import append_rows, read_rows
from georank_zoo.models.folder import check_model_folder
from georank_zoo.training.recipe import load_recipe
from georank_zoo.training.run import Run, open_run
from georank_zoo.training.trainer import train
from georank_zoo.utils.errors import GeorankError, ModelError
from georank_zoo.utils.files import sha256_of
from tests.eval.results.test_table import ROW
from tests.faults import damages
from tests.support.models import make_store
from tests.support.training import TINY

Reader = Callable[[Path], Any]


def wrong_trials(path: Path, read: Callable[[], Any], every: int) -> tuple[int, list[str]]:
    """Tries damages of a file; returns their number, and those that went wrong.

    What is read after a damage must be what was read before it, or an error that names the file.
    """
    good, before, tried, wrong = path.read_bytes(), read(), 0, []
    for what, damaged in damages.every(every, of_file(path, good)):
        path.write_bytes(damaged)
        tried += 1
        try:
            if read() != before:
                wrong.append(f"{what}: silent")
        except GeorankError as error:
            if path.name not in str(error) or not 40 < len(str(error)) < 600:
                wrong.append(f"{what}: {error}")
        except Exception as error:  # noqa: BLE001 - what a user would see as a traceback
            wrong.append(f"{what}: {error!r}")
    path.unlink()
    path.mkdir()
    with pytest.raises(GeorankError, match=path.name):
        read()
    path.rmdir()
    path.write_bytes(good)
    return tried, wrong


def of_file(path: Path, good: bytes) -> Iterator[damages.Damage]:
    if path.suffix == ".json":
        yield from damages.of_json(good)
    elif path.suffix in (".jsonl", ".csv"):
        yield from damages.of_lines(good)
    yield from damages.of_text(good)


SOME = pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("documents")
    store = make_store(folder / "store", [0, 1] * 16)
    recipe = load_recipe("moco_georank", [*TINY], data=store.path, probe=store.path)
    return train(recipe, folder / "run", progress=False)


def read_run(folder: Path) -> Any:
    run = open_run(folder)
    return run.recipe, run.facts, run.log.rows(), run.status


@SOME
@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "recipe.yaml", "footprint.json"])
def test_a_damaged_file_of_a_run(name: str, every: int, finished: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished.path, folder)
    tried, wrong = wrong_trials(folder / name, lambda: read_run(folder), every)
    assert tried and not wrong


@SOME
def test_no_damage_of_results(every: int, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    append_rows(path, [ROW, replace(ROW, metric="accuracy_overall"), replace(ROW, k=5)])
    # The order of rows says nothing, nor does one that stands there twice.
    tried, wrong = wrong_trials(path, lambda: set(read_rows(path)), every)
    assert tried and not wrong


@SOME
def test_no_damage_of_a_downloads_record(every: int, tmp_path: Path) -> None:
    files = [
        Arrived(name, 4, hashlib.sha256(b"here").hexdigest(), "https://x.org/a", "published sha256")
        for name in ("a.tif", "b/c.tif")
    ]
    for file in files:
        path = tmp_path / file.path
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"here")
    listed = [ListedFile("b/c.tif", 4, files[0].sha256)]
    write_listing(tmp_path / LISTING, listed)
    digest = sha256_of(tmp_path / LISTING)
    write_record(tmp_path, Record("eurosat", "CC0", "", tuple(files), (), digest, 1, 4, ("*",)))
    assert verify_download(tmp_path).damaged == ()
    tried, wrong = wrong_trials(tmp_path / RECORD, lambda: verify_download(tmp_path), every)
    assert tried and not wrong


@pytest.mark.parametrize("every", [97, pytest.param(7, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_no_damage_of_a_model_is_a_traceback(
    name: str, every: int, finished: Run, tmp_path: Path
) -> None:
    """What a config says only once is for its fingerprint to find; see `doctor`."""
    folder = tmp_path / "model"
    shutil.copytree(finished.path / "export", folder)
    path = folder / name
    good = path.read_bytes()
    of_this = damages.of_json if path.suffix == ".json" else damages.of_safetensors
    wrong = []
    for what, damaged in damages.every(every, chain(of_this(good), damages.of_text(good))):
        path.write_bytes(damaged)
        try:
            check_model_folder(folder)
        except ModelError as error:
            if str(folder) not in str(error) or len(str(error)) > 1000:
                wrong.append(f"{what}: {error}")
        except Exception as error:  # noqa: BLE001 - what a user would see as a traceback
            wrong.append(f"{what}: {error!r}")
    assert not wrong
