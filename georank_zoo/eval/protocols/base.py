"""Base class of evaluation protocols: a model on labeled data in, predictions out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
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
    """Predictions of the test samples.

    Attributes:
        predicted: Classes (n_test,), scores (n_test, C) or pixels per true and predicted class
            (n_test, C, C), as the task's target asks for; see `georank_zoo.eval.metrics.score`.
        k: Number of neighbors that voted; None where none did.
        temperature: Temperature of the neighbors' weights; None where there were none.
        settings: Other settings as they were given.
        chosen: Settings that the protocol chose by itself: those by validation, and the backbone's
            rate of a network from scratch.
    """

    predicted: npt.NDArray[Any]
    k: int | None = None
    temperature: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    chosen: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class EvalPlan:
    """What all models of an evaluation share.

    Attributes:
        store: Labeled patches.
        split: Training and test samples.
        num_classes: Number of classes.
        image_sizes: All image sizes of the evaluation, in pixels.
        seed: Seed of whatever a protocol draws.
        batch_size: Patches per batch where features are extracted.
        device: Device of the networks.
    """

    store: PatchStore
    split: Split
    num_classes: int
    image_sizes: tuple[int, ...] = ()
    seed: int = 0
    batch_size: int = 256
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def context(
        self,
        encoder: Encoder,
        image_size: int,
        *,
        from_scratch: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> EvalContext:
        """A model under this plan."""
        shared = {entry.name: getattr(self, entry.name) for entry in fields(EvalPlan)}
        return EvalContext(
            **shared,
            encoder=encoder,
            image_size=image_size,
            from_scratch=from_scratch,
            on_progress=on_progress,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class EvalContext(EvalPlan):
    """A model at an image size, on the data that it is evaluated on.

    Attributes:
        encoder: Model.
        image_size: Side in pixels that patches are resized to.
        from_scratch: Whether the network is a floor in which nothing has been trained.
        on_progress: Called with the work done and its total, by the extraction of features and by
            each protocol, from its beginning to its end.
    """

    encoder: Encoder
    image_size: int
    from_scratch: bool = False
    on_progress: Callable[[int, int], None] | None = None

    @cached_property
    def features(self) -> npt.NDArray[np.float32]:
        """Frozen features (n, D) of the split's samples, extracted when first asked for."""
        return extract(self.encoder, self.store, **self._extraction)

    @cached_property
    def maps(self) -> npt.NDArray[np.float32]:
        """Frozen last maps (n, D, h, w) of the split's samples, extracted when first asked for."""
        return extract_maps(self.encoder, self.store, **self._extraction)

    @property
    def _extraction(self) -> dict[str, Any]:
        return {
            "samples": self.split.samples, "image_size": self.image_size, "device": self.device,
            "batch_size": self.batch_size, "on_progress": self.on_progress,
        }  # fmt: skip

    def prepare(self) -> None:
        """Extracts what protocols of the frozen network take."""
        _ = self.maps if self.store.target == "mask" else self.features


class Protocol(ABC):
    """Evaluation protocol. The fields of a subclass, a dataclass, are its settings.

    Attributes:
        name: Name on the command line and in results.
        targets: Targets that it predicts.
        trains_network: Whether the network itself is trained, not only a head on it.
        takes_features: Whether it takes the context's frozen features or maps, extracted once for
            all protocols that do; otherwise it runs the network itself.
    """

    name: ClassVar[str]
    targets: ClassVar[tuple[Target, ...]] = ("class", "labels")
    trains_network: ClassVar[bool] = False
    takes_features: ClassVar[bool] = True

    @abstractmethod
    def check(self, plan: EvalPlan) -> None:
        """Checks what can be checked before any feature is computed.

        Raises:
            UsageError: If a setting is invalid, or does not suit the split.
        """

    @abstractmethod
    def predict(self, context: EvalContext) -> list[Prediction]:
        """Predicts the test samples, once per variant of the protocol (such as each k).

        Reports to the context's `on_progress`, and of its total once.
        """

    @abstractmethod
    def describe(self) -> str:
        """What a reader of the scores must know, as part of a sentence."""
