"""Facts of a store, as JSON values and as tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np

from georank_zoo.bands import BY_NAME
from georank_zoo.data.store.mapped_store import MappedStore
from georank_zoo.data.store.patch import NO_TIME, ROLES
from georank_zoo.utils.tables import Table

_CLASSES_NAMED = 12  # in the one line that the facts have for them


def describe(store: MappedStore) -> dict[str, Any]:
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
        "share": header.share or None,
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


def _extent(store: MappedStore) -> dict[str, float] | None:
    known = store.latlon[store.located]
    if not len(known):
        return None
    (south, west), (north, east) = known.min(axis=0).tolist(), known.max(axis=0).tolist()
    return {"south": south, "north": north, "west": west, "east": east}


def _class_counts(store: MappedStore) -> list[int]:
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


def facts_table(facts: dict[str, Any]) -> Table:
    """What `describe` says of a whole store."""
    per_place, extent = facts["acquisitions_per_place"], facts["extent"]
    dates = f"{facts['first_date']} to {facts['last_date']}" if facts["first_date"] else "unknown"
    if facts["first_date"] and facts["without_date"]:
        dates += f" ({facts['without_date']} patches without)"
    share = {"Share": f"{facts['share']} of the source's items"} if facts["share"] else {}
    rows = {
        **share,
        "Patches": f"{facts['patches']} of {facts['size']} px, {facts['bytes'] / 2**20:.0f} MiB",
        "Places": f"{facts['places']}, {per_place['mean']:.2f} acquisitions each "
        f"(min {per_place['min']}, max {per_place['max']})",
        "Latitude": f"{extent['south']:.4f} to {extent['north']:.4f}" if extent else "unknown",
        "Longitude": f"{extent['west']:.4f} to {extent['east']:.4f}" if extent else "unknown",
        "Dates": dates,
        "Bands": ", ".join(facts["bands"]),
        "Classes": _classes_line(facts),
        "Level": facts["level"],
        "Reader": facts["reader"],
        "Source": facts["source"],
        "License": facts["license"],
        "Hash": facts["hash"],
        "Left out": str(len(facts["skipped"])),
        **{
            f"Split {name}": ", ".join(f"{count} {role}" for role, count in parts.items())
            for name, parts in facts["splits"].items()
        },
    }
    return Table("", ("Store", facts["path"]), tuple(rows.items()))


def _classes_line(facts: dict[str, Any]) -> str:
    names = list(facts["classes"])
    if not names:
        return "none"
    more = f" and {len(names) - _CLASSES_NAMED} more" if len(names) > _CLASSES_NAMED else ""
    unlabeled = f" ({facts['unlabeled']} patches without)" if facts["unlabeled"] else ""
    return f"{len(names)}: {', '.join(names[:_CLASSES_NAMED])}{more}{unlabeled}"


def bands_table(facts: dict[str, Any]) -> Table:
    """Statistics of the bands, in reflectance."""
    rows = tuple(
        (name, BY_NAME[name].common_name, *(f"{s[k]:.4f}" for k in ("mean", "std", "min", "max")))
        for name, s in facts["bands"].items()
    )
    return Table("Reflectance", ("Band", "Measures", "Mean", "Std", "Min", "Max"), rows)


def classes_table(facts: dict[str, Any]) -> Table:
    """Number of patches of each class."""
    counts = facts["classes"].items()
    rows = [(str(label), name, str(count)) for label, (name, count) in enumerate(counts)]
    if facts["unlabeled"]:
        rows.append(("", "unlabeled", str(facts["unlabeled"])))
    return Table("Classes", ("Label", "Class", "Patches"), tuple(rows))
