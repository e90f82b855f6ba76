"""What a store holds, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np

from georank_zoo.data.store import NO_LABEL, NO_TIME, PatchStore


def describe(store: PatchStore) -> dict[str, Any]:
    """Counts, extents and statistics of a store, as JSON values.

    Reflectance is DN / 10000, positions are WGS84 degrees, times are UTC; what is not known is
    None.
    """
    manifest = store.manifest
    acquisitions = np.bincount(store.place)
    (south, west), (north, east) = store.latlon.min(axis=0), store.latlon.max(axis=0)
    times = store.time[store.time != NO_TIME]
    return {
        "path": str(store.path),
        "reader": manifest.reader,
        "source": manifest.source,
        "licence": manifest.licence,
        "level": manifest.level,
        "patches": len(store),
        "size": store.size,
        "bytes": store.nbytes,
        "places": manifest.places,
        "acquisitions_per_place": {
            "min": int(acquisitions.min()),
            "mean": float(acquisitions.mean()),
            "max": int(acquisitions.max()),
        },
        "extent": {
            "south": float(south), "north": float(north), "west": float(west), "east": float(east),
        },
        "first_date": _day(times.min()) if len(times) else None,
        "last_date": _day(times.max()) if len(times) else None,
        "without_date": int((store.time == NO_TIME).sum()),
        "bands": {name: asdict(s) for name, s in manifest.statistics.items()},
        "classes": {
            name: int((store.label == label).sum())
            for label, name in enumerate(store.class_names)
        },
        "unlabelled": int((store.label == NO_LABEL).sum()),
        "skipped": [asdict(entry) for entry in manifest.skipped],
        "skipped_by_kind": by_kind([entry.reason for entry in manifest.skipped]),
        "hash": store.hash,
    }  # fmt: skip


def by_kind(reasons: list[str]) -> dict[str, int]:
    """Counts reasons by their kind, the part before the colon; the most frequent first."""
    return dict(Counter(reason.partition(":")[0] for reason in reasons).most_common())


def _day(seconds: np.int64) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).date().isoformat()
