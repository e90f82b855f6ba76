"""Damaged checkpoints: found by hash, set aside, and the one before is used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from georank_zoo.training import checkpoints, trainer
from georank_zoo.training.build import build_objective, build_optimizer, build_views
from georank_zoo.training.recipe import load_recipe
from georank_zoo.training.run import Run, open_run
from georank_zoo.utils.errors import ModelError
from georank_zoo.utils.files import sha256_of
from tests.faults import damages
from tests.support.models import make_store
from tests.support.training import TINY, assert_equal_runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of 12 steps, with checkpoints at 8 and 12."""
    folder = tmp_path_factory.mktemp("checkpoints")
    places = [*range(32), *range(32)]
    store = make_store(folder / "store", [place % 2 for place in places], places=places)
    recipe = load_recipe("moco_georank", [f"data.store={store.path}", *TINY])
    return trainer.train(recipe, folder / "run", progress=False)


def copied(run: Run, path: Path) -> Run:
    shutil.copytree(run.path, path)
    return open_run(path)


def load(run: Run, steps: int = 12) -> tuple[int, float]:
    objective = build_objective(run.recipe, build_views(run.recipe))
    optimizer = build_optimizer(run.recipe, objective)
    return checkpoints.load_checkpoint(run.checkpoint(), objective, optimizer, steps=steps)


@pytest.mark.parametrize("every", [97, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name", ["state.json", "checksums.json", "algorithm.safetensors", "optimizer.safetensors"]
)
def test_no_damage_of_a_file_passes(name: str, every: int, finished: Run, tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run")
    path = run.checkpoint() / name
    good = path.read_bytes()
    of_file = damages.of_json if path.suffix == ".json" else damages.of_safetensors
    wrong = []
    for what, damaged in damages.every(every, chain(of_file(good), damages.of_text(good))):
        path.write_bytes(damaged)
        try:
            checkpoints.verify_checkpoint(run.checkpoint())
            wrong.append(f"{what}: silent")
        except ModelError as error:
            if str(path.parent) not in str(error):
                wrong.append(f"{what}: {error}")
    assert not wrong
    path.unlink()
    with pytest.raises(ModelError, match=name):
        checkpoints.verify_checkpoint(run.checkpoint())


def document(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = json.loads((folder / "state.json").read_text())
        change(content)
        (folder / "state.json").write_text(json.dumps(content))

    return damage


def tensors(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = load_file(folder / f"{name}.safetensors")
        change(content)
        save_file(content, folder / f"{name}.safetensors")

    return damage


def first(value: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[dict[str, Any]], Any]:
    def change(content: dict[str, Any]) -> None:
        name = max(content, key=lambda key: content[key].numel())
        content[name] = value(content[name]).contiguous()

    return change


IMPOSSIBLE = {
    "another step": (document(lambda d: d.update(step=8)), "state.json is of step 8"),
    "no step that can be": (document(lambda d: d.update(step=10**9)), "is of step 1000000000"),
    "negative time": (document(lambda d: d.update(seconds=-1.0)), "seconds"),
    "other decay": (
        document(lambda d: d["optimizer"]["param_groups"][1].update(weight_decay=7)), "settings"
    ),
    "no groups": (document(lambda d: d["optimizer"].update(param_groups=[])), "optimizer"),
    "empty optimizer": (tensors("optimizer", dict.clear), "not every parameter has its state"),
    "foreign state": (
        tensors("optimizer", lambda t: t.update({"999.x": torch.ones(1)})), "is of no parameter"
    ),
    "shape of state": (tensors("optimizer", first(lambda t: t[:1])), "has shape"),
    "NaN state": (tensors("optimizer", first(lambda t: t * float("nan"))), "is not finite"),
    "NaN weights": (tensors("algorithm", first(lambda t: t * float("nan"))), "is not finite"),
    "dtype": (tensors("algorithm", first(lambda t: t.double())), "is float64 .* instead of"),
    "shape": (tensors("algorithm", first(lambda t: t[:1])), r"is float32 \(1, .* instead of"),
    "name": (tensors("algorithm", lambda t: t.popitem()), "is missing instead of"),
    "more": (tensors("algorithm", lambda t: t.update(x=torch.ones(1))), "instead of missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_a_state_that_cannot_be_is_damage(case: str, finished: Run, tmp_path: Path) -> None:
    """Even where the hashes are right."""
    damage, reason = IMPOSSIBLE[case]
    run = copied(finished, tmp_path / "run")
    folder = run.checkpoint()
    damage(folder)
    files = ("algorithm.safetensors", "optimizer.safetensors", "state.json")
    recorded = {name: sha256_of(folder / name) for name in files}
    (folder / "checksums.json").write_text(json.dumps(recorded))
    with pytest.raises(ModelError, match=rf"{folder.name}.*{reason}"):
        load(run)


def test_more_steps_than_the_run_has(finished: Run) -> None:
    assert load(finished)[0] == 12
    with pytest.raises(ModelError, match="step 12 of a run of 11"):
        load(finished, steps=11)


def test_the_one_before_is_used(finished: Run, tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run")
    damaged = run.checkpoint() / "optimizer.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match=r"optimizer.safetensors is damaged.*--checkpoint"):
        run.export(tmp_path / "model")
    resumed = trainer.train(run.recipe, run.path, resume=True, progress=False)
    names = sorted(path.name for path in run.checkpoints.iterdir())
    assert names == ["damaged-step-00000012", "step-00000008", "step-00000012"]
    assert_equal_runs(finished, resumed)


def test_none_is_intact(finished: Run, tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run")
    for folder in run.checkpoints.iterdir():
        (folder / "state.json").write_text("{")
    for _ in range(2):
        with pytest.raises(ModelError, match=r"no checkpoint that is intact.*Put one back"):
            trainer.train(run.recipe, run.path, resume=True, progress=False)


def test_another_process_leaves_the_renaming_to_the_first(finished: Run, tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run")
    (run.checkpoint() / "state.json").unlink()
    objective = build_objective(run.recipe, build_views(run.recipe))
    found = checkpoints.restore_newest(
        run.checkpoints, objective, build_optimizer(run.recipe, objective), steps=12,
        on_message=lambda text: None, set_aside=False,
    )  # fmt: skip
    assert found is not None and found[1] == 8
    assert len(checkpoints.list_checkpoints(run.checkpoints)) == 2


def test_a_checkpoint_of_an_earlier_version_is_loaded(finished: Run, tmp_path: Path) -> None:
    run = copied(finished, tmp_path / "run")
    (run.checkpoint() / "checksums.json").unlink()
    document(lambda d: d.pop("format"))(run.checkpoint())
    assert load(run)[0] == 12
