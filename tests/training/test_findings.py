"""A run that learned nothing says so: while it trains, in its facts, on its card, before a push."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from georank_cli.main import cli
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.publish.card import folder_card
from georank_zoo.publish.checks import check_publishable
from georank_zoo.training import trainer
from georank_zoo.training.failure import FAILURE, Failure
from georank_zoo.training.finding_words import FINDINGS
from georank_zoo.training.findings import LogWatch, found_before
from georank_zoo.training.recipe import Recipe, load_recipe
from georank_zoo.training.replay import replay
from georank_zoo.training.run import Run, open_run
from georank_zoo.training.setup import Setup
from georank_zoo.utils.errors import GeorankError, ModelError, UsageError
from georank_zoo.utils.progress import Silent
from tests.support.training import TINY

WARMUP = "schedule.warmup_epochs=0"
GENERAL = [item for item in TINY if "queue" not in item]


class Listener(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


def load(store: PatchStore, *overrides: str, name: str = "moco_georank") -> Recipe:
    tiny = TINY if name.startswith("moco") else GENERAL
    if name == "tile2vec":
        tiny = [item for item in GENERAL if "hidden" not in item]
    return load_recipe(
        name, [f"data.store={store.path}", *tiny, "views.size=32", WARMUP, *overrides]
    )


SHOWN = [
    ("moco", ["optimizer.name=sgd", "optimizer.lr=1e6"], ["collapsed", "exploded"]),
    ("moco_georank", ["regularizer.max_km=0.001"], ["idle_regularizer"]),
    ("moco_georank", ["train.batch_size=2", "optimizer.lr=1e-4"], ["idle_regularizer"]),
    ("moco", ["schedule.warmup_epochs=3"], ["endless_warmup"]),
    ("dino", ["algorithm.teacher_temperature=10"], ["indifferent_teacher"]),
    ("dino", ["algorithm.teacher_temperature=1e-5"], ["certain_teacher"]),
    ("tile2vec", ["algorithm.positive_km=1e-6"], ["idle_loss"]),
]


@pytest.mark.parametrize(("name", "overrides", "words"), SHOWN, ids=lambda v: str(v)[:40])
def test_what_a_run_is_found_to_be(
    name: str, overrides: list[str], words: list[str], world_store: PatchStore, tmp_path: Path
) -> None:
    listener = Listener()
    plan = load(world_store, *overrides, name=name)
    run = trainer.train(plan, tmp_path / "run", reporter=listener)
    assert set(words) & set(run.facts["findings"])
    for word in run.facts["findings"]:
        assert listener.said.count(f"Warning: {FINDINGS[word]}") == 1


@pytest.mark.parametrize("name", ["moco", "simclr", "byol", "simsiam", "dino", "tile2vec"])
@pytest.mark.parametrize("term", ["", "_georank"])
def test_no_alarm_where_there_is_none(
    name: str, term: str, world_store: PatchStore, tmp_path: Path
) -> None:
    if name + term == "tile2vec_georank":
        pytest.skip("not shipped")
    plan = load(world_store, "optimizer.name=adamw", "optimizer.lr=1e-3", name=name + term)
    assert trainer.train(plan, tmp_path / "run", progress=False).facts.get("findings", []) == []


def test_places_and_patches_that_are_all_the_same(
    world_store: PatchStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Setup.from_recipe(load(world_store))
    assert found_before(setup) == set()
    read = PatchStore.read
    monkeypatch.setattr(PatchStore, "read", lambda *a, **k: read(*a, **k) * 0 + 1000)
    monkeypatch.setattr(setup.batches.store, "latlon", np.full((192, 2), 48.1))
    assert found_before(setup) == {"one_position", "identical_patches"}


def row(**changes: float) -> dict[str, float]:
    good = {"loss": 1.0, "loss_georank": 0.5, "embedding_std": 0.5, "effective_rank": 4.0}
    return {**good, **changes}


def test_only_what_lasts_counts(world_store: PatchStore) -> None:
    collapsed = row(embedding_std=0.01)
    watch = LogWatch(load(world_store), [collapsed, collapsed, row()])
    assert watch.found() == set()
    for _ in range(3):
        watch.add(collapsed)
    assert watch.found() == {"collapsed"}
    # A resumed run reads the same from its log; a term that acted once has acted.
    rows = [row(loss_georank=0.0)] * 3
    assert LogWatch(load(world_store), rows).found() == {"idle_regularizer"}
    assert LogWatch(load(world_store), [row(), *rows]).found() == set()


@pytest.fixture(scope="module")
def idle(world_store: PatchStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    plan = load(world_store, "regularizer.max_km=0.001", "train.steps=2")
    return trainer.train(plan, tmp_path_factory.mktemp("idle") / "run", progress=False)


def test_card_and_push_say_it(idle: Run) -> None:
    assert "Warning of the training.** The regularizer has cost" in folder_card(idle).text
    assert "never had a pair" in idle._repr_html_()
    with pytest.raises(ModelError, match=r"never had a pair.*--force"):
        check_publishable(idle.path / "export")
    assert check_publishable(idle.path / "export", force=True).files


def test_the_command_does_not_say_finished(world_store: PatchStore, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(
        load(world_store, "regularizer.max_km=0.001", "train.steps=1").to_yaml()
    )
    done = CliRunner().invoke(
        cli, ["train", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "run")]
    )
    assert done.exit_code == 0
    assert "Finished" not in done.stdout and "Ended, with warnings" in done.stdout


def test_a_loss_that_is_not_finite_is_recorded_and_computed_again(
    world_store: PatchStore, tmp_path: Path
) -> None:
    plan = load(world_store, "optimizer.name=sgd", "optimizer.lr=1e30", "train.steps=20")
    with pytest.raises(GeorankError, match=r"not finite at step 2 \(loss.*--replay"):
        trainer.train(plan, tmp_path / "run", progress=False)
    failure = Failure.read(tmp_path / "run")
    assert failure.step == 2 and not math.isfinite(float(failure.terms["loss"]))
    assert failure.keys == [[world_store.keys[p] for p in row] for row in failure.patches]
    assert [len(row) for row in failure.patches] == [plan.train.batch_size] * 2
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    result = replay(tmp_path / "run")
    assert not result.finite and result.same and result.failure == failure
    assert any("Terms: loss nan" in line for line in result.lines)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")} == before
    done = CliRunner().invoke(cli, ["train", str(tmp_path / "run"), "--replay"])
    assert done.exit_code == 0 and "The loss is not finite." in done.stdout
    failure.model_copy(update={"step": 3}).write(tmp_path / "run")
    with pytest.raises(ModelError, match="not those of step 3"):
        replay(tmp_path / "run")


def test_replay_of_what_did_not_fail(idle: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no failure\.json"):
        replay(idle)
    (idle.path / FAILURE).write_text(json.dumps({"step": 0}))
    with pytest.raises(ModelError, match="is damaged"):
        replay(idle)
    (idle.path / FAILURE).unlink()
    assert open_run(idle).status == "finished"
