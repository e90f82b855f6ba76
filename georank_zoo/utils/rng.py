"""Random numbers as a function of (seed, purpose, index), so that a run has no hidden state."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """A generator that gives the same numbers whenever and wherever it is made.

    Args:
        seed: The run's seed.
        purpose: What the numbers are for; purposes do not share numbers.
        index: Step or epoch.
    """
    return np.random.Generator(
        np.random.Philox(np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), index]))
    )
