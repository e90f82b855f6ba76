"""The one registry of data sets: nothing in it contradicts itself, its readers or its tasks."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

from georank_zoo import bands as s2
from georank_zoo.data.datasets import DATASETS
from georank_zoo.data.datasets.base import DataSet
from georank_zoo.eval.tasks import TASKS, list_tasks, tasks_of

ALL = pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)


def test_importing_it_is_cheap() -> None:
    code = (
        "import sys, georank_zoo.eval.tasks, georank_zoo.data.readers;"
        "heavy = {'numpy', 'torch', 'rasterio', 'h5py', 'huggingface_hub'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@ALL
def test_states_its_facts(dataset: DataSet) -> None:
    assert DATASETS[dataset.name] is dataset
    assert all((dataset.title, dataset.source, dataset.license, dataset.layout))
    assert set(dataset.bands) <= set(s2.S2_13)
    assert len(set(dataset.classes)) == len(dataset.classes)


@ALL
def test_its_reader_takes_the_options_and_says_the_same(dataset: DataSet) -> None:
    module, _, name = dataset.reader.factory.partition(":")
    made_by = getattr(importlib.import_module(module), name)
    parameters = set(inspect.signature(made_by).parameters)
    assert {option.name for option in dataset.reader.options} <= parameters
    assert dataset.reader.slow == ("on_progress" in parameters)
    reader = made_by if inspect.isclass(made_by) else inspect.signature(made_by).return_annotation
    if isinstance(reader, str):
        reader = getattr(importlib.import_module(module), reader)
    assert reader.name == dataset.name
    assert reader.license == dataset.license
    for fact, attribute in (("classes", "class_names"), ("level", "level"), ("target", "target")):
        value = getattr(dataset, fact)
        if value and isinstance(getattr(reader, attribute, None), type(value)):
            assert getattr(reader, attribute) == value


def test_an_option_means_one_thing() -> None:
    options = {o for dataset in DATASETS.values() for o in dataset.reader.options}
    assert len({option.name for option in options}) == len(options)


def test_tasks_are_those_of_the_data_sets() -> None:
    assert list_tasks() == list(TASKS)
    assert (
        list_tasks("s4a*") == [task.name for task in tasks_of("s4a")] == ["s4a-rand", "s4a-tiles"]
    )
    assert list_tasks("nothing*") == []
    assert all(task.dataset is DATASETS[task.dataset.name] for task in TASKS.values())
    assert {task.dataset.name for task in TASKS.values()}.isdisjoint({"ssl4eo", "oscd"})
