"""Files of a store, mapped into memory: no tensor is read before it is looked at."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, Field, RootModel

from georank_zoo.data.store.header import ShardHeader
from georank_zoo.utils.documents import STRICT, Count, fault_in, parse_json
from georank_zoo.utils.errors import StoreError, plain

Arrays = dict[str, npt.NDArray[Any]]

_REMEDY = "Prepare the store again."
_MAX_HEADER = 2**28  # bytes; a thousand times the largest of ours
# What a look at a patch reads, and opening a store does not.
_LARGE = ("patches", "mask")


class _Tensor(BaseModel):
    """Where a tensor lies behind the header of a safetensors file."""

    model_config = STRICT

    dtype: Literal["U16", "F64", "I64", "U8"]
    shape: Annotated[tuple[Count, ...], Field(max_length=8)]
    data_offsets: tuple[Count, Count]

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(f"<{self.dtype[0].lower()}{int(self.dtype[1:]) // 8}")


class _Layout(RootModel[dict[str, _Tensor]]):
    """The tensors of a file by name."""


class _Metadata(RootModel[dict[str, str]]):
    """The texts in a header."""


def map_safetensors(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Memory-maps a safetensors file.

    `safetensors.safe_open` copies what it returns to numpy; training must read single patches
    of a file without touching the rest. The map is torch's and not numpy's, which holds a file
    descriptor as long as it lives: large stores have more shards than a process may open files.

    Returns:
        Read-only arrays by name, and the header's metadata.

    Raises:
        StoreError: If the file is missing, damaged or not a safetensors file, its tensors do not
            fill it one after the other, or it cannot be mapped.
    """
    if not path.is_file():
        raise StoreError(f"{path} is missing or is not a file. {_REMEDY}")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size - 8, _MAX_HEADER):
                raise ValueError("its header is cut off")
            header = parse_json(file.read(length).decode())
        metadata = _Metadata.model_validate(header.pop("__metadata__", {})).root
        layout = _Layout.model_validate_json(json.dumps(header)).root
        _require_filled(layout, size - 8 - length)
        mapped = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8).numpy()
    except (ValueError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise StoreError(f"{path} is damaged: {fault_in(error)}. {_REMEDY}") from error
    except RuntimeError as error:  # torch's word for the operating system's refusal
        raise StoreError(f"{path} cannot be mapped into memory: {error}.") from error
    mapped.flags.writeable = False
    arrays: Arrays = {
        name: np.ndarray(t.shape, t.numpy, mapped, 8 + length + t.data_offsets[0])
        for name, t in layout.items()
    }
    return arrays, metadata


def _require_filled(layout: Mapping[str, _Tensor], size: int) -> None:
    """Checks that tensors fill `size` bytes without overlap, gap or cut."""
    end = 0
    for name, tensor in sorted(layout.items(), key=lambda item: item[1].data_offsets):
        first, last = tensor.data_offsets
        if first != end or last - first != tensor.numpy.itemsize * math.prod(tensor.shape):
            raise ValueError(f"tensor {plain(repr(name))} does not lie where its shape says")
        end = last
    if end != size:
        raise ValueError(f"its tensors take {end} bytes, but it holds {size}")


@dataclass(frozen=True)
class ShardFile:
    """A shard that is mapped into memory.

    Attributes:
        path: The file.
        arrays: Its tensors by name, read-only.
        document: JSON text in its header.
    """

    path: Path
    arrays: Arrays
    document: str

    @classmethod
    def read(cls, path: Path) -> ShardFile:
        """Maps a shard.

        Raises:
            StoreError: If it is missing or damaged, or holds no document of ours.
        """
        arrays, metadata = map_safetensors(path)
        # One key: with more, safetensors' bytes differ from process to process.
        if list(metadata) != ["georank"]:
            raise StoreError(f"{path} is damaged: its header holds no document. {_REMEDY}")
        return cls(path, arrays, metadata["georank"])

    @property
    def header(self) -> ShardHeader:
        """What the document says.

        Raises:
            StoreError: If it does not follow the schema.
        """
        return ShardHeader.from_json(self.document, where=self.path)

    @property
    def columns_hash(self) -> str:
        """SHA-256 of all that the shard holds but pixels and masks."""
        digest = hashlib.sha256(self.document.encode())
        for name in sorted(set(self.arrays) - set(_LARGE)):
            digest.update(f"\0{name}\0".encode())
            digest.update(np.ascontiguousarray(self.arrays[name]).data)
        return digest.hexdigest()
