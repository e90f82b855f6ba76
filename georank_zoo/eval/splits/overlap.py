"""Overlap: how near evaluation patches lie to what was seen in training.

A gain that needs spatial proximity is a gain of memory. Which test patches lie near pretraining
places, and which near the labeled patches that they are predicted from, is therefore part of a
result.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from sklearn.neighbors import BallTree

from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.eval.arrays import Floats, Indices
from georank_zoo.eval.splits.make import make_split
from georank_zoo.geo import check_latlon, km_of_chord, unit_vectors
from georank_zoo.utils.errors import UsageError
from georank_zoo.utils.files import write_text
from georank_zoo.utils.tables import Table, tables_as_text, tables_with_notes
from georank_zoo.utils.untrusted_text import csv_text

RADII_KM: tuple[float, ...] = (1, 10, 50, 100, 500, 1000)
_FOUND_AT_ONCE = 2**20  # neighbors in memory at a time: 16 MB


def nearest_km(
    queries: Floats,
    points: Floats,
    *,
    query_groups: Indices | None = None,
    point_groups: Indices | None = None,
) -> Floats:
    """Great-circle distance of each query to the nearest point.

    A tree over unit vectors: chords order pairs as great-circle distances do, so neither the
    date line nor a pole is special, and memory grows with Q + P only. A tree of balls, not of
    boxes: from afar, where all of a city lies at nearly one distance, a k-d tree takes a hundred
    times longer.

    Args:
        queries: Positions (Q, 2) as latitude, longitude in degrees.
        points: Positions (P, 2).
        query_groups: Group of each query (Q,). Points of a query's own group do not count: with
            places as groups, a patch is not near to itself or to its other dates.
        point_groups: Group of each point (P,).

    Returns:
        Distances (Q,) in km; infinite where no point counts.

    Raises:
        UsageError: If a position is none, for instance NaN.
    """
    if (query_groups is None) != (point_groups is None):
        raise ValueError("give the groups of both queries and points, or of neither")
    for name, positions in (("queries", queries), ("points", points)):
        check_latlon(torch.from_numpy(positions), where=f"The {name}")
    if query_groups is None or point_groups is None:
        query_groups = np.full(len(queries), -1)
        point_groups = np.zeros(len(points), np.int64)
    # Dates of a place share its position; in the tree they would only be in the way.
    kept = np.unique(np.column_stack((points, point_groups)), axis=0, return_index=True)[1]
    groups = point_groups[kept]
    if len(kept) == 0:
        return np.full(len(queries), np.inf)
    tree = BallTree(_vectors(points[kept]), leaf_size=16)
    chord = np.full(len(queries), np.inf)
    pending, k = np.arange(len(queries)), 1
    # A query asks for more neighbors until one of them is of another group.
    while len(pending):
        size = max(1, _FOUND_AT_ONCE // k)
        parts = [pending[start : start + size] for start in range(0, len(pending), size)]
        for part in parts:
            near, index = tree.query(_vectors(queries[part]), k)
            counts = groups[index] != query_groups[part, None]
            chord[part] = np.where(counts, near, np.inf).min(axis=1)
        if k == len(kept):
            break
        pending, k = pending[np.isinf(chord[pending])], min(2 * k, len(kept))
    finite = np.isfinite(chord)
    chord[finite] = km_of_chord(torch.from_numpy(chord[finite])).numpy()
    return chord


def _vectors(latlon: Floats) -> Floats:
    vectors: Floats = unit_vectors(torch.from_numpy(latlon)).numpy()
    return vectors


@dataclass(frozen=True)
class Within:
    """How many evaluation patches lie near something.

    Attributes:
        near: Reference positions: `pretraining` or `training`.
        km: Radius.
        patches_within: Number of patches at most that far from the nearest.
        patches: Number of all patches.
        places_within: Number of places of which a patch is at most that far.
        places: Number of all places.
    """

    near: str
    km: float
    patches_within: int
    patches: int
    places_within: int
    places: int


@dataclass(frozen=True)
class Overlap:
    """Distances of evaluation patches to what was seen in training.

    Attributes:
        pretrain_hash: Content of the pretraining store.
        eval_hash: Content of the evaluation store.
        split: Name of the split whose test patches these are; empty for a whole store.
        pretrain_latlon: Different positions (P, 2) in pretraining.
        latlon: Positions (N, 2) of the evaluation patches.
        place: Their places (N,).
        km: Distance of each to the nearest pretraining position (N,).
        train_km: Distance of each to the nearest training patch of another place (N,), where
            there is a split.
    """

    pretrain_hash: str
    eval_hash: str
    split: str
    pretrain_latlon: Floats
    latlon: Floats
    place: Indices
    km: Floats
    train_km: Floats | None

    def within(self, radii: Sequence[float] = RADII_KM) -> list[Within]:
        """Counts for each radius in km, of pretraining first."""
        kinds = {"pretraining": self.km}
        if self.train_km is not None:
            kinds["training"] = self.train_km
        places = len(np.unique(self.place))
        return [
            Within(
                near=near,
                km=radius,
                patches_within=int((km <= radius).sum()),
                patches=len(km),
                places_within=len(np.unique(self.place[km <= radius])),
                places=places,
            )
            for near, km in kinds.items()
            for radius in sorted(set(radii))
        ]

    def table(self, radii: Sequence[float] = RADII_KM) -> Table:
        """The counts, a line per radius in km."""
        rows = self.within(radii)
        header = ["km"]
        for near in dict.fromkeys(row.near for row in rows):
            header += [f"{near}: patches", "places"]
        lines: dict[float, list[str]] = {}
        for row in rows:
            lines.setdefault(row.km, [f"{row.km:g}"]).extend(
                [_share(row.patches_within, row.patches), _share(row.places_within, row.places)]
            )
        return Table("Near, within km", tuple(header), tuple(map(tuple, lines.values())))

    @property
    def notes(self) -> tuple[str, ...]:
        """What was compared, and the range of the distances."""
        which = f"test patches of split {self.split}" if self.split else "patches of the store"
        found = (
            f"{len(self.km)} {which}, {len(np.unique(self.place))} places; "
            f"{len(self.pretrain_latlon)} pretraining positions. To the nearest: "
            f"{self.km.min():.3g} to {self.km.max():.5g} km, median {np.median(self.km):.4g} km. "
            "Great-circle distances between patch centers."
        )
        if self.train_km is None:
            return (found,)
        return (found, "training: training patches of the split that are of another place.")

    def __str__(self) -> str:
        return tables_as_text([self.table()], self.notes)

    def _repr_html_(self) -> str:
        return tables_with_notes([self.table()], self.notes)

    def to_csv(self, path: Path, radii: Sequence[float] = RADII_KM) -> None:
        """Writes the counts, one line per radius."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = io.StringIO()
        stores = {"pretrain_hash": self.pretrain_hash, "eval_hash": self.eval_hash}
        columns = [*stores, "split", *(field.name for field in fields(Within))]
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        for row in self.within(radii):
            writer.writerow(
                {**stores, "split": csv_text(self.split), **asdict(row), "km": f"{row.km:g}"}
            )
        write_text(path, text.getvalue())


def overlap(
    pretrain: PatchStore, evaluation: PatchStore, *, split: str | None = None, seed: int = 0
) -> Overlap:
    """Measures how near the patches of an evaluation store lie to pretraining places.

    Args:
        pretrain: The store of the pretraining.
        evaluation: The store of the evaluation.
        split: Name of a split. Only its test patches are then looked at, and their distances to
            its training patches too. By default all patches are.
        seed: Seed of the split.

    Raises:
        StoreError: If the store cannot be split.
        UsageError: If there is no such split, or a position is invalid.
    """
    for store in (pretrain, evaluation):
        store.require_positions("a distance")
    chosen = np.arange(len(evaluation))
    name, train_km = "", None
    if split is not None:
        made = make_split(evaluation, split, seed=seed)
        name, chosen, train = made.name, made.samples[made.test], made.samples[made.train]
        train_km = nearest_km(
            evaluation.latlon[chosen],
            evaluation.latlon[train],
            query_groups=evaluation.place[chosen],
            point_groups=evaluation.place[train],
        )
    positions = np.unique(pretrain.latlon, axis=0)
    latlon = evaluation.latlon[chosen]
    return Overlap(
        pretrain_hash=pretrain.hash,
        eval_hash=evaluation.hash,
        split=name,
        pretrain_latlon=positions,
        latlon=latlon,
        place=evaluation.place[chosen],
        km=nearest_km(latlon, positions),
        train_km=train_km,
    )


def check_radii(radii: Sequence[float]) -> None:
    """Refuses radii that are no distances.

    Raises:
        UsageError: If one is negative, infinite or NaN.
    """
    wrong = [radius for radius in radii if not 0 <= radius < np.inf]
    if wrong:
        raise UsageError(f"A radius must be a distance in km, 0 or more, not {wrong[0]:g}.")


def _share(count: int, total: int) -> str:
    return f"{count} ({100 * count / total:.1f} %)"
