"""Evaluation tasks: labeled data sets and how they are scored."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING

from georank_zoo.data.datasets import DATASETS
from georank_zoo.data.datasets.base import DEFAULT_METRICS, DataSet, Target, TaskFacts
from georank_zoo.utils.errors import StoreError, unknown_name
from georank_zoo.utils.tables import Table

if TYPE_CHECKING:
    from georank_zoo.data.store.patch_store import PatchStore

# Sides in pixels that patches may be resized to: below, a network's strides leave nothing of
# them; above, they are enlarged beyond all sense, or a mistyped number fills the memory.
MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 8, 2048


@dataclass(frozen=True, kw_only=True)
class Task(TaskFacts):
    """A labeled data set and how it is scored.

    Attributes:
        dataset: Its data set.
    """

    dataset: DataSet

    @property
    def target(self) -> Target:
        """What is known of a patch: its class, its labels or a mask."""
        return self.dataset.target

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names that a store must have, in order; empty where any will do."""
        return self.dataset.classes

    def table(self) -> Table:
        """What is known of the task and its data set."""
        dataset = self.dataset
        facts = {
            "Prepared by": f"georank data prepare {dataset.name}",
            "Source": dataset.source,
            "License": dataset.license,
            "License by": dataset.license_source,
            "Files": dataset.layout,
            "Bands, in the files": " ".join(dataset.bands),
            "Unit": " ".join(part for part in (dataset.unit, dataset.level) if part),
            "Size": f"{dataset.image_size} px" if dataset.image_size else "",
            "Classes": ", ".join(self.classes),
            "Metrics": ", ".join(self.metrics or DEFAULT_METRICS[self.target]),
            "Default split": self.split,
            **{f"Split {name}": source for name, source in {**self.official, **self.own}.items()},
            "Notes": "\n".join(self.notes),
        }
        if self.published is not None:
            published = self.published
            scores = (f"{score:6.2f}  {method}" for method, score in published.scores.items())
            facts[f"Published, {published.metric}"] = "\n".join(
                [*scores, f"{published.protocol}; {published.source}"]
            )
        return Table(self.title, ("", ""), tuple((k, text) for k, text in facts.items() if text))


TASKS: dict[str, Task] = {
    facts.name: Task(**vars(facts), dataset=dataset)
    for dataset in DATASETS.values()
    for facts in dataset.tasks
}

_PER_PATCH = {"class": "one class", "labels": "several labels", "mask": "a class per pixel"}


def list_tasks(pattern: str = "*") -> list[str]:
    """Names of the evaluation tasks.

    Args:
        pattern: Shell-style pattern of names.

    Returns:
        The names that fit, in the order of the registry.

    Example:
        >>> import georank_zoo as gz
        >>> gz.list_tasks("so2sat*")
        ['so2sat-random', 'so2sat-block', 'so2sat-culture10']
    """
    return [name for name in TASKS if fnmatch.fnmatchcase(name, pattern)]


def get_task(name: str) -> Task:
    """The task of a name.

    Raises:
        UsageError: If there is none.
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]


def tasks_of(dataset: str) -> list[Task]:
    """The tasks of a data set, by its name."""
    return [task for task in TASKS.values() if task.dataset.name == dataset]


def metric_names(task: Task, store: PatchStore) -> tuple[str, ...]:
    """The metrics of a task on a store, the first of them the one that counts."""
    return task.metrics or DEFAULT_METRICS[store.target]


def default_split(task: Task, store: PatchStore) -> str:
    """The task's default split, if the store can be split so.

    Raises:
        StoreError: If the store is not the task's, or was prepared without that split.
    """
    published = {**task.official, **task.own}
    if task.split not in published or task.split in store.roles:
        return task.split
    class_names(task, store)
    held = ", ".join(store.roles)
    others = [t.name for t in tasks_of(task.dataset.name) if t.split in store.roles]
    advice = f"Pass --task {others[0]}" if others else "Pass --split random"
    raise StoreError(
        f"Store {store.path} does not hold split {task.split!r} of task {task.name!r} "
        f"({published[task.split]}); it holds {held or 'none'}. {advice}, or prepare the store "
        f"from what has the split (`georank tasks {task.name}`)."
    )


def class_names(task: Task, store: PatchStore) -> tuple[str, ...]:
    """Names of the labels 0, 1, ... of a store, checked against the task.

    Raises:
        StoreError: If the classes are not the task's.
    """
    if task.classes and store.target != task.target:
        raise StoreError(
            f"Store {store.path} is not task {task.name!r}: a patch has {_PER_PATCH[store.target]} "
            f"there, not {_PER_PATCH[task.target]}. Any labeled store can be evaluated with task "
            "'folder'."
        )
    highest = int(store.label.max(initial=-1))
    names = store.class_names or tuple(str(label) for label in range(highest + 1))
    if task.classes and names != task.classes:
        raise StoreError(
            f"Store {store.path} is not task {task.name!r}: its classes are "
            f"{', '.join(names) or 'none'}, not {', '.join(task.classes)}. "
            "Any labeled store can be evaluated with task 'folder'."
        )
    return names
