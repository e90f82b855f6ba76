"""Means of the logged values between two rows of the log."""

from __future__ import annotations

import time

import torch


class LogWindow:
    """The steps since the last row of the log.

    Attributes:
        last: Embeddings (B, D) and positions (B, 2) of the last batch.
    """

    last: tuple[torch.Tensor, torch.Tensor]

    def __init__(self) -> None:
        self._parts: list[dict[str, torch.Tensor]] = []
        self._step = 0
        self._began = 0.0

    def __bool__(self) -> bool:
        """Whether a step was taken."""
        return bool(self._parts)

    def restart(self, step: int) -> None:
        """Begins anew after a step."""
        self._parts, self._step, self._began = [], step, time.monotonic()

    def pause(self, seconds: float) -> None:
        """Leaves out a time in which no step was taken."""
        self._began += seconds

    def add(self, logs: dict[str, torch.Tensor]) -> None:
        """Adds the scalars of a part of a batch, still on the device."""
        self._parts.append(logs)

    def means(self) -> dict[str, torch.Tensor]:
        """The mean of each scalar."""
        return {
            name: torch.stack([part[name].float() for part in self._parts]).mean()
            for name in self._parts[0]
        }

    def elapsed(self, step: int) -> tuple[int, float]:
        """Number of steps up to this one, and the seconds that they took."""
        return step - self._step, time.monotonic() - self._began
