"""What a store holds, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np

from georank_zoo.data.store.patch import NO_TIME, ROLES
from georank_zoo.data.store.patch_store import PatchStore


def describe(store: PatchStore) -> dict[str, Any]:
    """Counts, extents and statistics of a store, as JSON values.

    Reflectance is DN / 10000, positions are WGS84 degrees, times are UTC; what is not known is
    None.
    """
    header = store.header
    acquisitions = np.bincount(store.place)
    times = store.time[store.time != NO_TIME]
    return {
        "path": str(store.path),
        "reader": header.reader,
        "source": header.source,
        "license": header.license,
        "level": header.level,
        "patches": len(store),
        "size": store.size,
        "bytes": store.nbytes,
        "places": header.places,
        "acquisitions_per_place": {
            "min": int(acquisitions.min()),
            "mean": float(acquisitions.mean()),
            "max": int(acquisitions.max()),
        },
        "extent": _extent(store),
        "without_position": int((~store.located).sum()),
        "first_date": _day(times.min()) if len(times) else None,
        "last_date": _day(times.max()) if len(times) else None,
        "without_date": int((store.time == NO_TIME).sum()),
        "bands": {name: asdict(s) for name, s in header.statistics.items()},
        "classes": dict(zip(store.class_names, _class_counts(store), strict=True)),
        "target": store.target,
        "unlabeled": int((~store.labeled).sum()),
        "splits": {
            name: {role: int((roles == part).sum()) for part, role in enumerate(ROLES)}
            for name, roles in store.roles.items()
        },
        "skipped": [asdict(entry) for entry in header.skipped],
        "skipped_by_kind": by_kind([entry.reason for entry in header.skipped]),
        "hash": store.hash,
    }  # fmt: skip


def _extent(store: PatchStore) -> dict[str, float] | None:
    known = store.latlon[store.located]
    if not len(known):
        return None
    (south, west), (north, east) = known.min(axis=0).tolist(), known.max(axis=0).tolist()
    return {"south": south, "north": north, "west": west, "east": east}


def _class_counts(store: PatchStore) -> list[int]:
    """Patches that have each class (of a mask: as its most frequent one)."""
    if store.labels is not None:
        counts: list[int] = store.labels[store.labeled].sum(axis=0, dtype=np.int64).tolist()
        return counts
    classes = range(len(store.class_names))
    return [int((store.label == label).sum()) for label in classes]


def by_kind(reasons: list[str]) -> dict[str, int]:
    """Counts reasons by their kind, the part before the colon; the most frequent first."""
    return dict(Counter(reason.partition(":")[0] for reason in reasons).most_common())


def _day(seconds: np.int64) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).date().isoformat()
