"""The evaluation tasks: one file a data set, which its reader takes the facts from too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from georank_zoo.data.datasets.base import DEFAULT_METRICS, FOLDER, SYNTHETIC
from georank_zoo.data.datasets.base import Task as Task
from georank_zoo.data.datasets.bigearthnet import BIGEARTHNET
from georank_zoo.data.datasets.cashew import CASHEW
from georank_zoo.data.datasets.eurosat import EUROSAT
from georank_zoo.data.datasets.s4a import S4A_RAND, S4A_TILES
from georank_zoo.data.datasets.so2sat import SO2SAT_BLOCK, SO2SAT_CULTURE10, SO2SAT_RANDOM
from georank_zoo.utils.errors import StoreError, unknown_name

if TYPE_CHECKING:
    from georank_zoo.data.store.patch_store import PatchStore

# Sides in pixels that patches may be resized to: below, a network's strides leave nothing of
# them; above, they are enlarged beyond all sense, or a mistyped number fills the memory.
MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 8, 2048

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        BIGEARTHNET,
        EUROSAT,
        SO2SAT_RANDOM,
        SO2SAT_BLOCK,
        SO2SAT_CULTURE10,
        S4A_RAND,
        S4A_TILES,
        CASHEW,
        FOLDER,
        SYNTHETIC,
    )
}

_PER_PATCH = {"class": "one class", "labels": "several labels", "mask": "a class per pixel"}


def get_task(name: str) -> Task:
    """The task of a name.

    Raises:
        UsageError: If there is none.
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]


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
    others = [t.name for t in TASKS.values() if t.reader == task.reader and t.split in store.roles]
    advice = f"Say --task {others[0]}" if others else "Say --split random"
    raise StoreError(
        f"Store {store.path} does not hold split {task.split!r} of task {task.name!r} "
        f"({published[task.split]}); it holds {held or 'none'}. {advice}, or prepare the store "
        f"from what has the split (`georank tasks {task.name}`)."
    )


def class_names(task: Task, store: PatchStore) -> tuple[str, ...]:
    """Names of the labels 0, 1, ... of a store, checked against the task and the labels.

    Raises:
        StoreError: If the classes are not the task's, or a label has no name.
    """
    if store.target != task.target and task.classes is not None:
        raise StoreError(
            f"Store {store.path} is not task {task.name!r}: a patch has {_PER_PATCH[store.target]} "
            f"there, not {_PER_PATCH[task.target]}. Any labeled store can be evaluated with task "
            "'folder'."
        )
    highest = int(store.label.max(initial=-1))
    names = store.class_names or tuple(str(label) for label in range(highest + 1))
    if task.classes is not None and names != task.classes:
        raise StoreError(
            f"Store {store.path} is not task {task.name!r}: its classes are "
            f"{', '.join(names) or 'none'}, not {', '.join(task.classes)}. "
            "Any labeled store can be evaluated with task 'folder'."
        )
    if highest >= len(names):
        raise StoreError(
            f"Store {store.path} has label {highest}, but only {len(names)} class names. "
            "Prepare it again."
        )
    return names
