"""Interface of the regularizers, and what they take as embeddings and positions."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from georank_zoo.geo import check_latlon
from georank_zoo.utils.errors import UsageError


class Regularizer(nn.Module, ABC):
    """A loss that brings geography into the embeddings.

    Its keyword-only constructor arguments are its keys in a recipe, with these defaults. State
    that a resumed run needs lies in parameters and persistent buffers.
    """

    @abstractmethod
    def forward(
        self, embeddings: torch.Tensor | ArrayLike, latlon: torch.Tensor | ArrayLike
    ) -> torch.Tensor:
        """The loss of a batch: embeddings (B, D), positions (B, 2) in degrees -> scalar.

        Training gives tensors. A subclass that begins with `to_batch` takes arrays and lists too.
        """

    def fit(self, places: torch.Tensor, embedding_dim: int) -> None:
        """Prepares what depends on the data; called once before training.

        Args:
            places: Positions (P, 2) in degrees of all places that will be trained on.
            embedding_dim: Dimension D of the embeddings.
        """

    def diagnostics(self, latlon: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scalars for the log, for a batch at these positions (B, 2)."""
        return {}

    def to_batch(
        self, embeddings: torch.Tensor | ArrayLike, latlon: torch.Tensor | ArrayLike
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The tensors of a batch, checked.

        Tensors stay as they are, where they are. Values are looked at on the CPU only: elsewhere
        the check would wait for the device.

        Args:
            embeddings: (B, D), a tensor, an array or a list of rows.
            latlon: Positions (B, 2), latitude and longitude in degrees, likewise.

        Raises:
            UsageError: On other shapes, and on positions that are not latitude and longitude.
        """
        name = type(self).__name__
        embeddings = to_tensor(embeddings, f"{name}: embeddings")
        latlon = to_tensor(latlon, f"{name}: latlon")
        if embeddings.ndim != 2 or latlon.shape != (len(embeddings), 2):
            raise UsageError(
                f"{name} needs embeddings (B, D) and latlon (B, 2), a latitude and a longitude "
                f"for each embedding, not {tuple(embeddings.shape)} and {tuple(latlon.shape)}."
            )
        if latlon.device.type == "cpu":
            check_latlon(latlon)
        return embeddings, latlon


def to_tensor(values: torch.Tensor | ArrayLike, what: str) -> torch.Tensor:
    """A tensor as it is; an array, or a list of numbers, rows or tensors, as a new tensor.

    Args:
        values: Numbers; a list of tensors keeps their gradients.
        what: Name of the values, for the message.

    Raises:
        UsageError: If they are no numbers, or rows of unequal length.
    """
    if isinstance(values, torch.Tensor):
        return values
    try:
        if isinstance(values, list | tuple) and values and isinstance(values[0], torch.Tensor):
            return torch.stack(tuple(values))
        return torch.from_numpy(np.array(values))  # a copy: torch wants memory it may write to
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"{what} must be a tensor, an array or a list of rows of numbers: {error}"
        ) from error
