"""What an evaluation protocol is: a model on labeled data in, predicted classes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from georank_zoo.data.datasets.base import Target
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.embed.extract import extract
from georank_zoo.eval.protocols.feature_maps import extract_maps
from georank_zoo.eval.splits.make import Split
from georank_zoo.models.encoder import Encoder


@dataclass(frozen=True)
class Prediction:
    """What was predicted of the test samples.

    Attributes:
        predicted: Classes (n_test,), scores (n_test, C) or pixels per true and predicted class
            (n_test, C, C), as the task's target asks for; see `georank_zoo.eval.metrics.score`.
        k: Neighbors that voted, where any did.
        temperature: Of the neighbors' weights, where there were any.
        settings: Other settings as `name=value`, separated by blanks; what validation chose
            comes first.
    """

    predicted: npt.NDArray[Any]
    k: int | None = None
    temperature: float | None = None
    settings: str = ""


@dataclass
class Subject:
    """A model at an image size, on the data that it is evaluated on.

    Attributes:
        encoder: The model.
        store: The patches.
        split: What is known and what is predicted.
        num_classes: Number of classes.
        image_size: Side in pixels that patches are resized to.
        from_scratch: The network is a floor: nothing in it has been trained.
        seed: Seed of whatever a protocol draws.
        batch_size: Patches per batch where features are extracted.
        device: Where to run.
        on_progress: Called with the work done and its total, by the extraction of features and by
            each protocol, from its beginning to its end.
    """

    encoder: Encoder
    store: PatchStore
    split: Split
    num_classes: int
    image_size: int
    from_scratch: bool = False
    seed: int = 0
    batch_size: int = 256
    device: str | torch.device = "cpu"
    on_progress: Callable[[int, int], None] | None = None

    @cached_property
    def features(self) -> npt.NDArray[np.float32]:
        """Frozen features (n, D) of the split's samples, extracted when first asked for."""
        return extract(
            self.encoder,
            self.store,
            samples=self.split.samples,
            image_size=self.image_size,
            batch_size=self.batch_size,
            device=self.device,
            on_progress=self.on_progress,
        )

    @cached_property
    def maps(self) -> npt.NDArray[np.float32]:
        """Frozen last maps (n, D, h, w) of the split's samples, extracted when first asked for."""
        return extract_maps(
            self.encoder,
            self.store,
            samples=self.split.samples,
            image_size=self.image_size,
            batch_size=self.batch_size,
            device=self.device,
            on_progress=self.on_progress,
        )

    def prepare(self) -> None:
        """Extracts what protocols of the frozen network take."""
        _ = self.maps if self.store.target == "mask" else self.features


class Protocol(ABC):
    """A way to score a model. The fields of a subclass, a dataclass, are its settings.

    Attributes:
        name: Name on the command line and in results.
        targets: What it can predict.
        trains_network: Whether the network itself is trained, not only what stands on it.
        takes_features: Whether it takes the subject's frozen features or maps, extracted once for
            all protocols that do; otherwise it runs the network itself.
    """

    name: ClassVar[str]
    targets: ClassVar[tuple[Target, ...]] = ("class", "labels")
    trains_network: ClassVar[bool] = False
    takes_features: ClassVar[bool] = True

    @abstractmethod
    def check(self, split: Split, *, sizes: Sequence[int], seed: int, device: torch.device) -> None:
        """Checks what can be checked before any feature is computed.

        Args:
            split: The samples.
            sizes: Image sizes in pixels to come.
            seed: Seed of the evaluation.
            device: Where it will run.

        Raises:
            UsageError: If a setting is invalid, or does not suit the split.
        """

    @abstractmethod
    def predict(self, subject: Subject) -> list[Prediction]:
        """Predicts the test samples, once per variant of the protocol (such as each k).

        Reports to the subject's `on_progress`, and of its total once.
        """

    @abstractmethod
    def describe(self) -> str:
        """What a reader of the numbers must know, in part of a sentence."""
