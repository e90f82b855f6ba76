"""The folder of a run: who may write to it, what may lie in it, and how its run goes on."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.training import trainer
from georank_zoo.training.recipe import Recipe, load_recipe
from georank_zoo.training.run import Run, open_run, resume_command
from georank_zoo.training.run_folder import load_plan
from georank_zoo.training.run_log import RunLog
from georank_zoo.utils.errors import GeorankError, Interrupted, UsageError
from georank_zoo.utils.progress import Silent
from georank_zoo.utils.write_errors import DiskFullError
from tests.support.command_line import run as georank
from tests.support.models import make_store
from tests.support.training import TINY, StopAt, assert_equal_runs


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PatchStore:
    return make_store(tmp_path_factory.mktemp("folders") / "store", [0, 1] * 16)


@pytest.fixture(scope="module")
def plan(store: PatchStore) -> Recipe:
    return load_recipe("moco_georank", TINY, data=store)


@pytest.fixture(scope="module")
def finished(plan: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trainer.train(plan, tmp_path_factory.mktemp("run") / "run", progress=False)


@pytest.fixture
def copy(finished: Run, tmp_path: Path) -> Run:
    return Run(shutil.copytree(finished.path, tmp_path / "copy"), finished.recipe)


class Meanwhile(Silent):
    """Does something at step 8 as another process would: without this one's locks."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self.errors: list[BaseException] = []
        self.said: list[str] = []

    def advance(self, step: int, metrics: dict[str, float]) -> None:
        if step == 10:
            thread = threading.Thread(target=self._work)
            thread.start()
            thread.join()

    def message(self, text: str) -> None:
        self.said.append(text)

    def _work(self) -> None:
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001
            self.errors.append(error)


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_is_trained_by_one_process(
    resume: bool, plan: Recipe, finished: Run, tmp_path: Path
) -> None:
    def train_too() -> None:
        trainer.train(plan, tmp_path / "run", resume=resume, progress=False)

    second = Meanwhile(train_too)
    run = trainer.train(plan, tmp_path / "run", reporter=second)
    (error,) = second.errors
    assert f"being written by another process (process {os.getpid()} on " in str(error)
    assert_equal_runs(run, finished)
    assert len(run.log.rows()) == len(finished.log.rows())


def test_a_run_that_is_trained_can_be_read_and_exported(plan: Recipe, tmp_path: Path) -> None:
    def read() -> None:
        run = open_run(tmp_path / "run")
        assert run.status == "running, saved at step 8" and len(run.metrics()) == 3
        run.export(tmp_path / "elsewhere")
        assert len(run.model().bands) == 12  # writes the run's own export, of step 8

    reader = Meanwhile(read)
    run = trainer.train(plan, tmp_path / "run", reporter=reader)
    assert reader.errors == []
    assert run.status == "finished" and run.exported().is_dir()  # of step 12 by now


def test_a_run_is_continued_from_its_folder(
    store: PatchStore, plan: Recipe, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store.path.parent)
    relative = load_recipe("moco_georank", TINY, data="store", probe="store")
    with pytest.raises(Interrupted) as stop:
        trainer.train(relative, tmp_path / "a run", reporter=StopAt(8))
    assert f"`georank train '{tmp_path}/a run' --resume`" in str(stop.value)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"is a run folder\. Continue its run with"):
        trainer.train("./a run")
    again = trainer.train("a run", resume=True, progress=False)
    assert again.status == "finished"
    assert_equal_runs(again, finished)
    assert {path.name for path in again.path.iterdir()} == {p.name for p in finished.path.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 0, "is finished already"),
        (["--out", "other"], 2, "its run goes on there"),
        (["--set", "train.steps=24"], 2, "train.steps is 12 there, 24 here"),
        (["--set", "train.workers=1"], 0, "is finished already"),
        (["--data", "moved"], 0, "is finished already"),
        (["--data", "other"], 2, "trained on another store"),
    ],
)
def test_resume_of_a_folder_with(
    arguments: list[str],
    code: int,
    said: str,
    copy: Run,
    store: PatchStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(copy.path.parent)
    shutil.copytree(store.path, "moved")
    make_store(Path("other"), [0] * 40, seed=5)
    before = {path: path.read_bytes() for path in copy.path.rglob("*") if path.is_file()}
    assert georank("train", "copy", "--resume", *arguments) == code
    heard = capsys.readouterr()
    assert said in " ".join((heard.out + heard.err).split())
    assert {p: p.read_bytes() for p in copy.path.rglob("*") if p.is_file()} == before


def test_a_run_whose_store_has_moved(copy: Run, tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    facts = copy.facts
    copy.update(store={**facts["store"], "path": str(tmp_path / "gone")})
    with pytest.raises(UsageError, match=r"the store .*gone, which is not there.*--data"):
        load_plan(copy, resume=True)
    recipe, folder = load_plan(copy, resume=True, data=tmp_path / "moved")
    assert (recipe.data.store, folder) == (str(tmp_path / "moved"), copy.path)


def test_a_finished_run_gets_its_export_back(copy: Run, finished: Run) -> None:
    shutil.rmtree(copy.path / "export")
    trainer.train(copy, resume=True, progress=False)
    for name in ("config.json", "model.safetensors"):
        ours, theirs = (run.path / "export" / name for run in (copy, finished))
        assert ours.read_bytes() == theirs.read_bytes()
    shutil.rmtree(copy.path / "checkpoints")  # to save room
    log = copy.log.path.read_bytes()
    assert trainer.train(copy, resume=True, progress=False).status == "finished"
    assert copy.log.path.read_bytes() == log
    with pytest.raises(UsageError, match="holds a run, finished"):
        trainer.train(copy.recipe, copy.path)


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path, _: path.write_text("mine"), "is a file, not a folder"),
        (lambda path, _: (path.mkdir(), (path / "mine").touch()), "mine in it is of no run"),
        (lambda path, store: shutil.copytree(store.path, path), "is a patch store"),
    ],
)
def test_what_no_run_may_begin_in(
    make: Callable[[Path, PatchStore], object],
    message: str,
    resume: bool,
    plan: Recipe,
    store: PatchStore,
    tmp_path: Path,
) -> None:
    make(tmp_path / "out", store)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(GeorankError, match=message):
        trainer.train(plan, tmp_path / "out", resume=resume)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_above_the_run_folder(plan: Recipe, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GeorankError, match="cannot be written: A file stands where a folder"):
        trainer.train(plan, tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("runs/x", "There is no run in runs/x: nothing of it has been written yet"),
        ("empty", "There is no run in empty: nothing of it has been written yet"),
        ("foreign", "mine in it is of no run"),
        ("runs/x.yaml", "No recipe at runs/x.yaml"),
        ("nothing", "Unknown recipe 'nothing'"),
    ],
)
def test_what_cannot_be_resumed(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("foreign").mkdir()
    Path("foreign/mine").touch()
    with pytest.raises(UsageError, match=message):
        load_plan(source, resume=True)


def test_a_folder_named_like_a_recipe(
    copy: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copy.path.rename("moco")
    assert resume_command(Path("moco")) == "georank train ./moco --resume"
    assert load_plan("./moco", resume=True)[0].name == copy.recipe.name
    assert load_plan("moco", resume=True)[1] == Path("runs/moco-r18")
    assert resume_command(Path("-x y")) == "georank train './-x y' --resume"


@pytest.mark.parametrize(
    "ends", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda s: s.name
)
@pytest.mark.parametrize(
    ("during", "said"),
    [
        ("setup.Setup.from_recipe", "repeat the command"),
        ("loop.Loop.restore", "Continue with `georank train run --resume`"),
        ("loop.Loop._probe", "Continue with `georank train run --resume`"),
        ("run.Run.export", "Continue with `georank train run --resume`"),
    ],
)
def test_a_signal_during(
    during: str,
    said: str,
    ends: signal.Signals,
    store: PatchStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    real = f"georank_zoo.training.{during}"
    module, owner, name = during.split(".")
    monkeypatch.setattr(real, _signalled(module, owner, name, ends))
    monkeypatch.setattr("georank_zoo.utils.signals._received", [])
    sets = [part for override in TINY for part in ("--set", override)]
    command = ["train", "moco", "--data", store.path, *sets, "--out", "run"]
    assert georank(*command) == 128 + ends
    error = " ".join(capsys.readouterr().err.split())
    assert said in error and "Traceback" not in error
    assert not list(tmp_path.rglob(".*"))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert georank(*command, "--resume") == 0
    assert open_run(Path("run")).status == "finished"


def _signalled(module: str, owner: str, name: str, ends: signal.Signals) -> Callable[..., object]:
    import importlib

    kind = getattr(importlib.import_module(f"georank_zoo.training.{module}"), owner)
    real = getattr(kind, name)

    def work(*arguments: object, **named: object) -> object:
        os.kill(os.getpid(), ends)
        return real(*arguments[-1:] if name == "from_recipe" else arguments, **named)

    return work


def test_a_line_of_the_log_is_written_whole_or_not(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "metrics.jsonl")
    log.append({"step": 1, "loss": 1.5})
    before = log.path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 9, limits[1]))
        with pytest.raises(DiskFullError, match="may not grow further"):
            log.append({"step": 2, "loss": 0.5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert log.path.read_bytes() == before
