"""The evaluation tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from georank_zoo.errors import StoreError, unknown_name

if TYPE_CHECKING:
    from georank_zoo.data.store import PatchStore

# Sides in pixels that patches may be resized to: below, a network's strides leave nothing of
# them; above, they are enlarged beyond all sense, or a mistyped number fills the memory.
MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 8, 2048


@dataclass(frozen=True)
class Task:
    """A labelled data set and how it is scored.

    Attributes:
        name: Name on the command line and in results.
        title: What is predicted.
        classes: Class names that a store must have, in order; None takes the store's.
        metrics: Names of the metrics; see `georank_zoo.eval.metrics.METRICS`.
        split: Default split.
        hub_dataset: Id of the data set on the Hub, for the results in a model card; empty where
            there is none, and results then stand in the card's text only.
    """

    name: str
    title: str
    classes: tuple[str, ...] | None
    metrics: tuple[str, ...] = ("accuracy_macro", "accuracy_overall")
    split: str = "random"
    hub_dataset: str = ""


TASKS: dict[str, Task] = {
    "eurosat": Task(
        name="eurosat",
        title="EuroSAT: land use and land cover",
        classes=(
            "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture",
            "PermanentCrop", "Residential", "River", "SeaLake",
        ),
        hub_dataset="torchgeo/eurosat",
    ),
    "folder": Task(name="folder", title="Classes of a labelled store", classes=None),
    "synthetic": Task(name="synthetic", title="Classes of a synthetic world", classes=None),
}  # fmt: skip


def get_task(name: str) -> Task:
    """The task of a name.

    Raises:
        UsageError: If there is none.
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]


def class_names(task: Task, store: PatchStore) -> tuple[str, ...]:
    """Names of the labels 0, 1, ... of a store, checked against the task and the labels.

    Raises:
        StoreError: If the classes are not the task's, or a label has no name.
    """
    highest = int(store.label.max(initial=-1))
    names = store.class_names or tuple(str(label) for label in range(highest + 1))
    if task.classes is not None and names != task.classes:
        raise StoreError(
            f"Store {store.path} is not task {task.name!r}: its classes are "
            f"{', '.join(names) or 'none'}, not {', '.join(task.classes)}. "
            "Any labelled store can be evaluated with task 'folder'."
        )
    if highest >= len(names):
        raise StoreError(
            f"Store {store.path} has label {highest}, but only {len(names)} class names. "
            "Prepare it again."
        )
    return names
