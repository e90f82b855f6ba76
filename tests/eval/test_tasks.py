"""What each evaluation task states."""

from __future__ import annotations

import numpy as np
import pytest

from georank_cli.main import _run
from georank_zoo import bands as s2
from georank_zoo.data.datasets import DATASETS
from georank_zoo.data.store.patch import Patch
from georank_zoo.data.store.writer import StoreWriter
from georank_zoo.eval.metrics.score import METRICS_BY_NAME
from georank_zoo.eval.tasks import TASKS, default_split
from georank_zoo.utils.errors import StoreError

PUBLISHED = [task for task in TASKS.values() if task.classes]


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_reader_prepares_it(task):
    assert task.dataset is DATASETS[task.dataset.name]


@pytest.mark.parametrize("task", PUBLISHED, ids=[task.name for task in PUBLISHED])
def test_states_its_facts(task):
    assert len(set(task.classes)) == len(task.classes) > 1
    assert s2.resolve(task.dataset.bands) == task.dataset.bands
    assert set(task.metrics) <= set(METRICS_BY_NAME)
    dataset = task.dataset
    assert all((dataset.source, dataset.license, dataset.layout, dataset.unit))
    assert all((dataset.level, dataset.image_size))
    assert task.split in {*task.official, *task.own, "random", "loo"}
    if task.name == "so2sat-culture10":  # the paper does not evaluate it
        assert task.published is None
        return
    assert task.published is not None
    assert all(0 < score < 100 for score in task.published.scores.values())
    assert task.published.scores["GeoRank (MoCo v2)"] > 0


@pytest.mark.parametrize("name", TASKS)
def test_command_shows_it(name, capsys):
    assert _run(["tasks", name], False) == 0
    shown = capsys.readouterr().out
    task = TASKS[name]
    assert task.title in shown
    assert f"georank data prepare {task.dataset.name}" in shown
    for word in (*(task.published.scores if task.published else ()), *task.official, *task.own):
        assert word in shown


def test_command_lists_all(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert _run(["tasks"], False) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in TASKS)
    assert "…" not in shown
    # Words, too, are whole on a screen of 80 columns.
    for word in ("labels", "a mask", "official-culture10", "plantations", "tiles-seed0"):
        assert word in shown
    assert _run(["tasks", "eurosta"], False) == 2
    assert "Choose from: " in capsys.readouterr().err


def test_a_store_without_the_default_split_says_what_to_do(tmp_path):
    def store(name, splits):
        writer = StoreWriter(
            tmp_path / name, bands=("B02",), size=8, spec={}, splits=splits,
            class_names=TASKS["so2sat-block"].classes,
        )  # fmt: skip
        writer.add([Patch(np.ones((1, 8, 8), np.uint16), 0, 0, key="a", place="a", label=0)])
        return writer.finish(reader="so2sat")

    block, own = store("block", ("official-block",)), store("own", ())
    assert default_split(TASKS["so2sat-block"], block) == "official-block"
    assert default_split(TASKS["s4a-rand"], own) == "random"
    with pytest.raises(StoreError, match=r"it holds official-block\. Pass --task so2sat-block, or"):
        default_split(TASKS["so2sat-random"], block)
    with pytest.raises(StoreError, match=r"it holds none\. Pass --split random, or"):
        default_split(TASKS["so2sat-random"], own)
    with pytest.raises(StoreError, match="is not task 'cashew'"):
        default_split(TASKS["cashew"], own)
