"""What the shards of a store add up to: statistics of the bands, and what was applied to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from georank_zoo import bands as s2
from georank_zoo.data.files.radiometry import Radiometry
from georank_zoo.data.store.header import Applied, BandStatistics, ShardHeader


def moments(pixels: npt.NDArray[np.uint16]) -> dict[str, Any]:
    """Exact integer moments per band, so that shards add up without rounding."""
    empty = len(pixels) == 0
    flat = [pixels[:, band].reshape(-1) for band in range(pixels.shape[1])]
    return {
        "pixels": flat[0].size,
        "sums": [int(x.sum(dtype=np.uint64)) for x in flat],
        "squares": [int((x.astype(np.uint64) ** 2).sum()) for x in flat],
        "mins": [65535 if empty else int(x.min()) for x in flat],
        "maxs": [0 if empty else int(x.max()) for x in flat],
    }


def statistics_of(
    bands: Sequence[str], headers: Sequence[ShardHeader]
) -> dict[str, BandStatistics]:
    """Mean, deviation and extremes of each band, in reflectance."""
    pixels = sum(header.pixels for header in headers)
    if pixels == 0:  # of a share that gave nothing
        return {name: BandStatistics(0.0, 0.0, 0.0, 0.0) for name in bands}
    statistics = {}
    for band, name in enumerate(bands):
        mean = sum(header.sums[band] for header in headers) / pixels
        # Exact in integers: n * sum(x^2) - sum(x)^2.
        total = sum(header.sums[band] for header in headers)
        variance = (pixels * sum(h.squares[band] for h in headers) - total**2) / pixels**2
        statistics[name] = BandStatistics(
            mean=mean / s2.DN_PER_REFLECTANCE,
            std=float(np.sqrt(variance)) / s2.DN_PER_REFLECTANCE,
            min=min(header.mins[band] for header in headers) / s2.DN_PER_REFLECTANCE,
            max=max(header.maxs[band] for header in headers) / s2.DN_PER_REFLECTANCE,
        )
    return statistics


def applied_radiometry(
    numbers: Sequence[npt.NDArray[np.int64]], headers: Sequence[ShardHeader]
) -> tuple[Applied, ...]:
    """What was applied to how many patches.

    Args:
        numbers: Column `radiometry` of each shard.
        headers: Documents of the shards.
    """
    counts: Counter[Radiometry] = Counter()
    for column, header in zip(numbers, headers, strict=True):
        patches = np.bincount(column[column >= 0], minlength=len(header.radiometry))
        counts.update(dict(zip(header.radiometry, patches.tolist(), strict=True)))
    return tuple(Applied(one, patches) for one, patches in counts.items())
