"""Random numbers as a function of (seed, purpose, index), with no hidden state."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, purpose: str, index: int = 0) -> np.random.Generator:
    """Generator that gives the same numbers whenever and wherever it is made.

    Args:
        seed: The run's seed.
        purpose: Purpose of the numbers; two purposes share none.
        index: Step or epoch.
    """
    return np.random.Generator(
        np.random.Philox(np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), index]))
    )
