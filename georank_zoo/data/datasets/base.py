"""What an evaluation task is: the facts of a labeled data set, and how it is scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Target = Literal["class", "labels", "mask"]
"""What is known of a patch: one class, any number of labels, or a class per pixel."""


DEFAULT_METRICS: dict[Target, tuple[str, ...]] = {
    "class": ("accuracy_macro", "accuracy_overall"),
    "labels": ("ap_macro", "ap_micro", "f1_macro", "f1_micro"),
    "mask": ("miou", "pixel_accuracy"),
}


@dataclass(frozen=True)
class Published:
    """Published scores of a task, to stand beside; their bands and sizes may differ from ours.

    Attributes:
        metric: What they are, in the words of the source.
        protocol: How they were made.
        scores: Percent by method.
        source: Where they are published.
    """

    metric: str
    protocol: str
    scores: Mapping[str, float]
    source: str = "Burgert et al. 2026 (WACV), arXiv 2601.02289"


@dataclass(frozen=True)
class Task:
    """A labeled data set and how it is scored.

    Attributes:
        name: Name on the command line and in results.
        title: What is predicted.
        reader: The reader that prepares it (`georank data prepare`).
        target: What is known of a patch: its class, its labels or a mask.
        classes: Class names that a store must have, in order; None takes the store's.
        metrics: Names of the metrics, the first of them the one that counts; by default those of
            the target. See `georank_zoo.eval.metrics.score.METRICS`.
        split: Default split.
        official: Published splits, by the name that `--split` takes, each with its source.
        own: Splits of this project that the reader gives, where the paper's is not public, by
            name, each with how it was drawn.
        source: Who published it, and where.
        license: License of the data.
        layout: Its files.
        bands: Bands in the order of the files.
        unit: Unit of the pixels in the files.
        level: Product level.
        image_size: Patch side in pixels.
        published: Published scores.
        notes: What a reader of the numbers must know.
        hub_dataset: Id of the data set on the Hub, for the results in a model card; empty where
            there is none, and results then stand in the card's text only.
    """

    name: str
    title: str
    reader: str
    classes: tuple[str, ...] | None
    target: Target = "class"
    metrics: tuple[str, ...] = ()
    split: str = "random"
    official: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    license: str = ""
    layout: str = ""
    bands: tuple[str, ...] = ()
    unit: Literal["DN", "reflectance", ""] = ""
    level: Literal["L1C", "L2A", ""] = ""
    image_size: int | None = None
    published: Published | None = None
    notes: tuple[str, ...] = ()
    hub_dataset: str = ""


FOLDER = Task(name="folder", title="Classes of a labeled store", reader="folder", classes=None)
SYNTHETIC = Task(
    name="synthetic", title="Classes of a synthetic world", reader="synthetic", classes=None
)
