"""What only all shards of a store together tell: places, statistics, and the header."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from georank_zoo.data.store.ground import sides, squares, to_ground
from georank_zoo.data.store.header import (
    HEADER_FILE,
    PLACE_FILE,
    Copies,
    Resolution,
    Shard,
    ShardHeader,
    Skipped,
    StoreHeader,
    content_hash,
)
from georank_zoo.data.store.mapped_file import Arrays, ShardFile
from georank_zoo.data.store.moments import applied_radiometry, statistics_of
from georank_zoo.data.store.patch import Target
from georank_zoo.data.store.places import Places, find_places
from georank_zoo.utils.files import new_file, sha256_of, write_text

_PIXEL_M = 10  # the finest of Sentinel-2; of patches of which only the center is known


def write_header(
    folder: Path,
    shards: Sequence[Shard],
    *,
    reader: str,
    spec: dict[str, Any],
    class_names: tuple[str, ...],
    target: Target,
    splits: tuple[str, ...],
    level: str,
    source: str,
    license: str,
) -> StoreHeader:
    """Writes `places.safetensors` and `store.json` next to the shards, which makes it a store.

    It depends on the shards and their order alone, so that shards of several preparations can be
    put into one folder.

    Args:
        folder: Folder of the shards.
        shards: The shards, in order; of a share of a source they may hold no patch.
        reader: Name of the reader that prepared them.
        spec: The reader's options, as given.
        class_names: Names of the labels 0, 1, ...; empty without labels.
        target: Kind of annotation of a patch.
        splits: Names of the published splits that patches have a part in.
        level: Product level of the pixels.
        source: Origin of the data.
        license: License of the data.
    """
    files = [ShardFile.read(folder / shard.file) for shard in shards]
    arrays, headers = [file.arrays for file in files], [file.header for file in files]
    bands, size = headers[0].bands, int(arrays[0]["patches"].shape[-1])
    places = places_of(arrays, size)
    place_file = _write_places(folder, places)
    header = StoreHeader(
        reader=reader,
        spec=spec,
        bands=bands,
        size=size,
        count=place_file.count,
        places=int(places.place.max(initial=-1)) + 1,
        footprints=int(places.footprint.max(initial=-1)) + 1,
        statistics=statistics_of(bands, headers),
        class_names=class_names,
        target=target,
        splits=splits,
        level=level,
        source=source,
        license=license,
        skipped=tuple(Skipped(s.item, s.reason) for h in headers for s in h.skipped),
        shards=tuple(
            dataclasses.replace(shard, columns=file.columns_hash)
            for shard, file in zip(shards, files, strict=True)
        ),
        place_file=place_file,
        hash=content_hash((*shards, place_file)),
        copies=_copies(places, headers),
        radiometry=applied_radiometry([one["radiometry"] for one in arrays], headers),
        resolution=_resolution(_column(arrays, "corners"), size),
    )
    write_text(folder / HEADER_FILE, header.to_json())
    return header


def places_of(shards: Sequence[Arrays], size: int) -> Places:
    """Finds the places of the patches of shards.

    A patch of which only the center is known covers a square of 10 m pixels around it.

    Args:
        shards: Arrays of the shards, in order.
        size: Patch side in pixels.
    """
    latlon = _column(shards, "latlon")
    ground = to_ground(_column(shards, "corners"))
    centered = ~np.isfinite(ground).all(axis=(1, 2))
    ground[centered] = squares(latlon[centered], size * _PIXEL_M)
    groups, first = [], 0
    for arrays in shards:
        groups.append(arrays["group"] + first)
        first += int(arrays["group"].max(initial=-1)) + 1
    return find_places(ground, np.concatenate(groups), _column(shards, "pixel_hash"))


def _column(shards: Sequence[Arrays], name: str) -> npt.NDArray[Any]:
    return np.concatenate([arrays[name] for arrays in shards])


def _write_places(folder: Path, places: Places) -> Shard:
    with new_file(folder / PLACE_FILE) as temporary:
        save_file({"place": places.place, "footprint": places.footprint}, temporary)
    return Shard(PLACE_FILE, len(places.place), sha256_of(folder / PLACE_FILE))


def _copies(places: Places, headers: Sequence[ShardHeader]) -> Copies | None:
    if not len(places.copies):
        return None
    keys = [key for header in headers for key in header.keys]
    one, first = places.copies[0]
    return Copies(len(places.copies), (keys[one], keys[first]))


def _resolution(corners: npt.NDArray[np.float64], size: int) -> Resolution | None:
    known = corners[np.isfinite(corners).all(axis=(1, 2))]
    if not len(known):
        return None
    meters = sides(to_ground(known)) / size
    # Rounded: the last digits differ from one processor to another, and the header's bytes not.
    return Resolution(*(round(float(f(meters)), 3) for f in (np.min, np.median, np.max)))
