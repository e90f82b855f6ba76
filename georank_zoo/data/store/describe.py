"""Facts of a store, as JSON values and as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np

from georank_zoo.bands import BY_NAME, DN_PER_REFLECTANCE
from georank_zoo.data.store.ground import sides, to_ground
from georank_zoo.data.store.mapped_store import MappedStore
from georank_zoo.data.store.patch import NO_TIME, ROLES
from georank_zoo.utils.errors import plain
from georank_zoo.utils.tables import Table

_CLASSES_NAMED = 12  # in the one line that the facts have for them
_GROUPS_NAMED = 4
_ALIKE = 1.1  # pixels that differ by less are of one resolution; UTM alone makes 0.1 %


def describe(store: MappedStore) -> dict[str, Any]:
    """Counts, extents and statistics of a store, as JSON values.

    Reflectance is DN / 10000, positions are WGS84 degrees, times are UTC; what is not known is
    None. In an extent across the antimeridian, west is larger than east. `resolution_m` has groups
    of patches whose pixels differ by at most 10 % on the ground.
    """
    header = store.header
    acquisitions = np.bincount(store.place) if len(store) else np.zeros(1, np.int64)
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
        "footprints": header.footprints,
        "copies": asdict(header.copies) if header.copies else None,
        "acquisitions_per_place": {
            "min": int(acquisitions.min()),
            "mean": float(acquisitions.mean()),
            "max": int(acquisitions.max()),
        },
        "extent": _extent(store),
        "without_position": int((~store.located).sum()),
        "resolution_m": _resolution(store),
        "radiometry": [asdict(one.radiometry) | {"patches": one.patches}
                       for one in header.radiometry],
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
    lat, lon = known[:, 0], np.unique(known[:, 1])
    # All but the largest gap between two longitudes, the one across the antimeridian included.
    gaps = np.diff(lon, append=lon[0] + 360)
    last = int(gaps.argmax()) if gaps.max() > gaps[-1] else len(lon) - 1
    return {
        "south": float(lat.min()),
        "north": float(lat.max()),
        "west": float(lon[(last + 1) % len(lon)]),
        "east": float(lon[last]),
    }


def _resolution(store: MappedStore) -> dict[str, Any] | None:
    whole = store.header.resolution
    if whole is None:
        return None
    known = store.corners[np.isfinite(store.corners).all(axis=(1, 2))]
    meters = np.sort(sides(to_ground(known)) / store.size)
    groups = []
    while len(meters):
        group = meters[: np.searchsorted(meters, meters[0] * _ALIKE, side="right")]
        groups.append({"m": round(float(np.median(group)), 3), "patches": len(group)})
        meters = meters[len(group) :]
    return {**asdict(whole), "groups": groups}


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
        **({"Footprints": f"{facts['footprints']}"} if _joined(facts) else {}),
        "Latitude": f"{extent['south']:.4f} to {extent['north']:.4f}" if extent else "unknown",
        "Longitude": _longitude(extent) if extent else "unknown",
        "Resolution": _resolution_line(facts),
        "Numbers": _radiometry_line(facts),
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


def remarks(facts: dict[str, Any]) -> list[str]:
    """What the counts of a store do not tell, in sentences: places, resolution, radiometry."""
    lines = []
    if _joined(facts):
        lines.append(
            f"{facts['footprints']} footprints, which overlap or are equal, make "
            f"{counted(facts['places'], 'place')}."
        )
    if facts["resolution_m"]:
        lines.append(f"Resolution on the ground: {_resolution_line(facts)}.")
    if facts["radiometry"]:
        lines.append(f"Numbers of the files: {_radiometry_line(facts)}.")
    return lines


def warnings(facts: dict[str, Any]) -> list[str]:
    """What of a store is probably not as its user thinks, in sentences."""
    lines = []
    if copies := facts["copies"]:
        one, other = copies["example"]
        lines.append(
            f"{counted(copies['patches'], 'patch shows', 'patches show')} exactly the pixels of an "
            f"earlier one at another position (e.g. {one} those of {other}): counted as one place."
        )
    if facts["resolution_m"] and len(facts["resolution_m"]["groups"]) > 1:
        lines.append(
            f"The patches differ in resolution ({_resolution_line(facts)}): a model sees the same "
            "ground in different sizes. Where that is not meant, prepare a store for each."
        )
    return lines


def counted(number: int, one: str, more: str = "") -> str:
    """A number of things, such as `1 place` and `2 places`."""
    return f"{number} {one if number == 1 else more or one + 's'}"


def _joined(facts: dict[str, Any]) -> bool:
    return bool(facts["places"] < facts["footprints"])


def _longitude(extent: dict[str, float]) -> str:
    across = " (across the antimeridian)" if extent["west"] > extent["east"] else ""
    return f"{extent['west']:.4f} to {extent['east']:.4f}{across}"


def _resolution_line(facts: dict[str, Any]) -> str:
    resolution = facts["resolution_m"]
    if resolution is None:
        return "unknown"
    groups = resolution["groups"]
    if len(groups) == 1:
        return f"{resolution['median']:.1f} m"
    if len(groups) > _GROUPS_NAMED:
        return f"mixed: {resolution['min']:.1f} to {resolution['max']:.1f} m"
    named = [f"{group['m']:.1f}".removesuffix(".0") + f" m ({group['patches']})"
             for group in groups]  # fmt: skip
    return f"mixed: {', '.join(named)}"


def _radiometry_line(facts: dict[str, Any]) -> str:
    applied = facts["radiometry"]
    if not applied:
        return "as the reader gives them"
    return "; ".join(
        f"{one['source']}{_applied(one)} ({counted(one['patches'], 'patch', 'patches')})"
        for one in applied
    )


def _applied(one: dict[str, Any]) -> str:
    """Scale and offset in words, where they are not those of digital numbers."""
    usual = {"scale": 1 / DN_PER_REFLECTANCE, "offset": 0.0}
    parts = [
        f"{name} {_span(one[name])}"
        for name, value in usual.items()
        if not np.allclose(one[name], value, rtol=1e-9, atol=1e-12)
    ]
    return f": {', '.join(parts)}" if parts else ""


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _classes_line(facts: dict[str, Any]) -> str:
    names = list(facts["classes"])
    if not names:
        return "none"
    more = f" and {len(names) - _CLASSES_NAMED} more" if len(names) > _CLASSES_NAMED else ""
    unlabeled = f" ({facts['unlabeled']} patches without)" if facts["unlabeled"] else ""
    return f"{len(names)}: {', '.join(map(plain, names[:_CLASSES_NAMED]))}{more}{unlabeled}"


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
    rows = [
        (str(label), plain(name, 300), str(count)) for label, (name, count) in enumerate(counts)
    ]
    if facts["unlabeled"]:
        rows.append(("", "unlabeled", str(facts["unlabeled"])))
    return Table("Classes", ("Label", "Class", "Patches"), tuple(rows))
