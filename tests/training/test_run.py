"""A run in Python: what it shows, its curves, its state, its model."""

import os
from pathlib import Path

import pytest
import torch

from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.models.encoder import create_model
from georank_zoo.training.recipe import load_recipe
from georank_zoo.training.run import Run, open_run
from georank_zoo.training.trainer import train
from georank_zoo.utils.errors import Interrupted, UsageError
from tests.support.models import make_store
from tests.support.training import TINY, StopAt


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PatchStore:
    places = [*range(32), *range(32)]
    labels = [place % 2 for place in places]
    return make_store(tmp_path_factory.mktemp("runs") / "store", labels, places=places)


@pytest.fixture(scope="module")
def run(store: PatchStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = load_recipe(
        "moco_georank", TINY, data=store, probe={"store": store, "every_epochs": 1}
    )
    return train(recipe, tmp_path_factory.mktemp("run") / "run", progress=False)


@pytest.fixture(scope="module")
def baseline(store: PatchStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = load_recipe("moco", TINY, data=store)
    return train(recipe, tmp_path_factory.mktemp("run") / "baseline", progress=False)


def test_metrics_have_one_row_a_step(run: Run) -> None:
    metrics = run.metrics()
    assert metrics["step"].tolist() == [4, 8, 10, 12]  # a probe's line joins that of its step
    assert metrics["loss_georank"].notna().all() and metrics["lr"].notna().all()
    probed = metrics[metrics["probe_accuracy_macro"].notna()]
    assert probed["step"].tolist() == [4, 8, 12]
    rows = {row["step"]: row["loss"] for row in run.log.rows() if "loss" in row}
    assert dict(zip(metrics["step"], metrics["loss"], strict=True)) == rows


def test_curves_of_a_georank_run_and_of_a_baseline(run: Run, baseline: Run) -> None:
    titles = [axis.get_title("left") for axis in run.plot().axes]
    assert titles == ["Loss", "Regularizer: georank", "Probe", "Learning rate"]
    loss, lr = baseline.plot().axes
    assert (loss.get_title("left"), lr.get_title("left")) == ("Loss", "Learning rate")
    assert len(loss.lines) == 1 and loss.lines[0].get_xdata()[-1] == 12
    for axis in run.plot().axes:
        assert axis.get_xlabel() == "step" and axis.get_ylabel()
    assert run.plot()._repr_png_().startswith(b"\x89PNG")


def test_a_run_shows_itself(run: Run) -> None:
    assert repr(run) == f"Run({str(run.path)!r}, georank-moco-r18, finished)"
    html = run._repr_html_()
    assert "finished" in html and "loss_georank (last)" in html and "32 places" in html


def test_a_run_stands_for_its_path(run: Run) -> None:
    assert os.fspath(run) == str(run.path)
    assert open_run(run) == run and (Path(run) / "export").is_dir()


def test_model_is_the_export(run: Run) -> None:
    images = torch.rand(2, 12, 16, 16)
    assert torch.equal(run.model()(images), create_model(run.path / "export")(images))


def test_export_draws_no_random_numbers_of_the_caller(run: Run, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    run.export(tmp_path / "copy")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_state_of_a_run(store: PatchStore, tmp_path: Path) -> None:
    recipe = load_recipe("moco_georank", TINY, data=store)
    with pytest.raises(Interrupted, match=r"`georank train .*run --resume` \(in Python"):
        train(recipe, tmp_path / "run", reporter=StopAt(8))
    run = open_run(tmp_path / "run")
    assert run.status == "interrupted at step 9" and "interrupted" in run._repr_html_()
    assert len(run.model().bands) == 12  # of the last checkpoint
    run.update(status="running")  # as a kill leaves it
    assert run.status == "killed, saved at step 9"
    assert train(recipe, run.path, resume=True, progress=False).status == "finished"


def test_nothing_to_show_yet(run: Run, tmp_path: Path) -> None:
    empty = Run(tmp_path, run.recipe)
    assert empty.metrics().empty
    with pytest.raises(UsageError, match="Nothing is logged yet"):
        empty.plot()


@pytest.mark.parametrize("name", ["recipe.yaml", "run.json"])
def test_what_is_not_a_run_folder(name: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / name).write_text((run.path / name).read_text())
    other = {"recipe.yaml": "run.json", "run.json": "recipe.yaml"}[name]
    with pytest.raises(UsageError, match=f"is not a run folder: it has no {other}"):
        open_run(tmp_path)
