"""BigEarthNet's metadata: `metadata.parquet`, or the JSON files of version 1."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from georank_zoo.data.datasets.bigearthnet import BIGEARTHNET, CORINE, DROPPED
from georank_zoo.data.files.text import read_json
from georank_zoo.data.store.patch import ROLES, Role
from georank_zoo.utils.errors import BadItem, UsageError
from georank_zoo.utils.regular_files import read_regular, require_regular

METADATA = "metadata.parquet"
_CLASSES = BIGEARTHNET.classes
UNSUITABLE = "for_patches_with_snow_cloud_or_shadow.parquet"
_COLUMNS = ("patch_id", "s2v1_name", "labels", "split")
# The published table has 549,488 rows of some 200 bytes.
_MAX_ROWS, _MAX_BYTES = 5_000_000, 2**29
_FLAGS = {"contains_seasonal_snow": "seasonal snow", "contains_cloud_or_shadow": "cloud or shadow"}
_CLASS_OF = {corine: n for n, name in enumerate(_CLASSES) for corine in CORINE[name]}


@dataclass(frozen=True)
class PatchTable:
    """The rows of `metadata.parquet` that belong to the patches of a folder.

    Attributes:
        patch_ids: Name of each patch (n,) in version 2.
        labels: 0 or 1 for each class (n, 19), uint8.
        roles: Part of each patch (n,) in the official split, a position in `ROLES`.
        left_out: Why a patch is not to be used, by its position (n,).
        digest: Identifies the files' content.
    """

    patch_ids: Sequence[str]
    labels: npt.NDArray[np.uint8]
    roles: npt.NDArray[np.int64]
    left_out: dict[int, str]
    digest: str

    def role(self, row: int) -> Role:
        """Part of a patch in the official split."""
        return ROLES[int(self.roles[row])]


def read_table(path: Path, names: Sequence[str], *, column: str) -> PatchTable:
    """Reads the rows of the patches of a folder; 500,000 of them take two seconds.

    Besides `metadata.parquet`, which holds the recommended patches only, the list of the patches
    under snow, cloud or shadow is published; where it lies in the same folder it says why
    patches are left out.

    Args:
        path: The file.
        names: The patches (n,).
        column: Column that holds such names: `patch_id`, or `s2v1_name` for version 1.

    Raises:
        UsageError: If the file is damaged or contradicts itself, or knows none of the patches.
    """
    table = _read(path)
    wanted = pa.array(names, pa.string())
    rows = pc.index_in(wanted, value_set=table[column].combine_chunks())
    known = rows.is_valid().to_numpy(zero_copy_only=False)
    if not known.any():
        raise UsageError(
            f"{path} knows none of the {len(names)} patches, the first of which is {names[0]}."
        )
    table = table.take(rows.fill_null(0))
    left_out = dict.fromkeys(np.flatnonzero(~known).tolist(), "not in the metadata")
    for flag, reason in _FLAGS.items():
        flagged = table[flag].to_numpy() & known if flag in table.column_names else []
        left_out.update(dict.fromkeys(np.flatnonzero(flagged).tolist(), reason))
    digest = hashlib.sha256(read_regular(path, _MAX_BYTES))
    for unsuitable in sorted(path.parent.glob(f"*{UNSUITABLE}")):
        digest.update(read_regular(unsuitable, _MAX_BYTES))
        left_out |= _unsuitable(unsuitable, wanted, column, left_out)
    return PatchTable(
        patch_ids=table["patch_id"].to_pylist() if column != "patch_id" else names,
        labels=_one_hot(table["labels"].combine_chunks(), path),
        roles=_position(table["split"], ROLES, "split", path),
        left_out=left_out,
        digest=digest.hexdigest(),
    )


def _require_sane_sizes(path: Path) -> None:
    """Refuses sizes in a footer that no file of these patches has: memory is taken by them."""
    facts = pq.read_metadata(path)
    size = sum(facts.row_group(n).total_byte_size for n in range(facts.num_row_groups))
    if facts.num_rows > _MAX_ROWS or size > _MAX_BYTES:
        raise UsageError(
            f"{path} would hold {facts.num_rows} rows of {size} bytes; at most {_MAX_ROWS} rows of "
            f"{_MAX_BYTES} bytes are read. It is damaged, or not the published one."
        )


def _read(path: Path, columns: Sequence[str] = _COLUMNS) -> Any:
    """The named columns and the flags of a parquet file, each patch once."""
    try:
        require_regular(path, _MAX_BYTES)
        present = pq.read_schema(path).names
        missing = [name for name in columns if name not in present]
        if missing:
            raise UsageError(f"{path} has no column(s) {', '.join(missing)}.")
        _require_sane_sizes(path)
        table = pq.read_table(path, columns=[*columns, *(f for f in _FLAGS if f in present)])
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path} is not a readable parquet file ({error}).") from error
    for name in set(columns) & {"patch_id", "s2v1_name"}:
        ids = table[name].combine_chunks()
        counts = pc.value_counts(ids)
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(twice):
            example = twice.field("values")[0].as_py()
            raise UsageError(
                f"{path} names {len(twice)} patches more than once, {example} for example: "
                "its splits overlap. Fetch it again."
            )
    return table


def _unsuitable(path: Path, wanted: Any, column: str, unknown: dict[int, str]) -> dict[int, str]:
    """Reasons, from the published list, for those patches that the metadata does not know."""
    table = _read(path, (column,))
    positions = np.array(sorted(unknown), np.int64)
    rows = pc.index_in(wanted.take(pa.array(positions)), value_set=table[column].combine_chunks())
    found = {}
    for flag, reason in _FLAGS.items():
        flagged = table[flag].take(rows).fill_null(False).to_numpy()
        found.update(dict.fromkeys(positions[flagged].tolist(), reason))
    return found


def _one_hot(labels: Any, path: Path) -> npt.NDArray[np.uint8]:
    classes = _position(labels.flatten(), _CLASSES, "label", path)
    lengths = pc.list_value_length(labels).fill_null(0).to_numpy()
    out = np.zeros((len(lengths), len(_CLASSES)), np.uint8)
    out[np.repeat(np.arange(len(lengths)), lengths), classes] = 1
    return out


def _position(values: Any, valid: Sequence[str], what: str, path: Path) -> npt.NDArray[np.int64]:
    found = pc.index_in(values, value_set=pa.array(valid))
    if found.null_count:
        wrong = values.filter(pc.is_null(found))[0].as_py()
        raise UsageError(f"{path}: unknown {what} {wrong!r}. Valid: {'; '.join(valid)}.")
    positions: npt.NDArray[np.int64] = found.to_numpy(zero_copy_only=False).astype(np.int64)
    return positions


def labels_of_version_1(file: Path) -> npt.NDArray[np.uint8]:
    """The 19 labels (19,) of a `<patch>_labels_metadata.json` with CORINE's 43.

    Raises:
        BadItem: If the file is missing or damaged, a label is none of CORINE's, or no class of
            the 19 stands for any of them.
    """
    try:
        names = read_json(file)["labels"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError("labels is not a list of names")
    except FileNotFoundError as error:
        raise BadItem("no labels: neither a JSON file nor metadata.parquet") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadItem(f"damaged labels: {error}") from error
    unknown = [name for name in names if name not in _CLASS_OF and name not in DROPPED]
    if unknown:
        raise BadItem(f"labels out of range: {unknown[0]}")
    labels = np.zeros(len(_CLASSES), np.uint8)
    labels[[_CLASS_OF[name] for name in names if name in _CLASS_OF]] = 1
    if not labels.any():
        raise BadItem("none of the 19 labels")
    return labels
