"""Schedules as functions of the global step, with no state to save."""

from __future__ import annotations

import math


def warmup_cosine(step: int, *, total: int, warmup: int, final: float) -> float:
    """Factor of the learning rate at a step (0-based): linear warm-up, then half a cosine.

    Args:
        step: Optimizer steps taken so far.
        total: Steps of the whole run.
        warmup: Steps of the warm-up; the first has 1 / warmup, the step after it 1.
        final: Factor that the cosine ends at.
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return final + (1 - final) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
