"""Weights of models: `model.safetensors`, read without trusting it.

Everything is decided from the header, whose length is bounded, before a tensor is read: the
file can neither run code nor ask for more memory than the network that it is for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from georank_zoo.utils.errors import ModelError, plain
from georank_zoo.utils.regular_files import require_regular

# The header of a network of 2,500 tensors has 300 kB; the library reads up to 100 MB.
MAX_HEADER_BYTES = 4 * 2**20
_LENGTH_BYTES = 8

# A pickle of protocol 2 or later, and the zip file that torch.save writes.
_PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")

# Names of safetensors for what a network's state may hold.
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def largest_file(wanted: Mapping[str, torch.Tensor]) -> int:
    """Most bytes that a weights file of these tensors may have."""
    return num_bytes(wanted.values()) + _LENGTH_BYTES + MAX_HEADER_BYTES


def num_bytes(tensors: Any) -> int:
    """Bytes that tensors take, or would take if they are on the meta device."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def check_weights(wanted: Mapping[str, torch.Tensor], path: Path) -> None:
    """Compares a file's header with the tensors that a network takes; reads no tensor.

    Args:
        wanted: The network's state; may be on the meta device.
        path: The file.

    Raises:
        ModelError: If the file is damaged, or a tensor is missing, unexpected or of another
            shape or type.
    """
    with _opened(path, largest_file(wanted)) as file:
        _compare_names(set(wanted), set(file.keys()), path)
        for name, tensor in wanted.items():
            found = file.get_slice(name)
            shape, dtype = list(found.get_shape()), _DTYPES.get(found.get_dtype())
            if shape != list(tensor.shape):
                raise ModelError(
                    f"{path}: {name} has shape {plain(shape)}, but the model takes "
                    f"{list(tensor.shape)}."
                )
            if dtype != tensor.dtype:
                raise ModelError(
                    f"{path}: {name} is {dtype or found.get_dtype()}, not {tensor.dtype}."
                )


def read_weights(wanted: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file: every one that a network takes, none besides.

    Args:
        wanted: The network's state; may be on the meta device.
        path: The file.

    Raises:
        ModelError: As `check_weights`, and if a weight is NaN or infinite, or a variance
            negative.
    """
    check_weights(wanted, path)
    with _opened(path, largest_file(wanted)) as file:
        tensors = {name: file.get_tensor(name) for name in wanted}
    check_finite(tensors, where=str(path))
    for name, tensor in tensors.items():
        # Its square root is NaN, and so is every feature.
        if name.endswith("running_var") and tensor.numel() and float(tensor.min()) < 0:
            raise ModelError(f"{path}: {name} is a variance, but holds {float(tensor.min()):g}.")
    return tensors


def check_finite(tensors: Mapping[str, torch.Tensor], *, where: str) -> None:
    """Refuses NaN and infinite weights.

    Raises:
        ModelError: Names the first tensor that has one.
    """
    broken = [
        name
        for name, tensor in tensors.items()
        # Smallest and largest are NaN where any is, and found ten times faster than by isfinite.
        if tensor.is_floating_point()
        and tensor.numel()
        and not all(map(math.isfinite, (float(end) for end in tensor.aminmax())))
    ]
    if broken:
        raise ModelError(
            f"{where}: {len(broken)} tensor(s) hold NaN or infinite weights, the first is "
            f"{broken[0]}. The training diverged or the file is damaged."
        )


@contextmanager
def _opened(path: Path, max_bytes: int) -> Iterator[Any]:
    try:
        # The library maps the whole file, which a sparse one of many terabytes makes fail.
        size = require_regular(path)
        if size > max_bytes:
            raise ModelError(
                f"{path} has {size} bytes, but at most {max_bytes} can be part of this model."
            )
        with path.open("rb") as raw:
            start = raw.read(_LENGTH_BYTES)
        if start.startswith(_PICKLE_STARTS):
            raise ModelError(
                f"{path} is not a safetensors file but a pickle, which can run code when it is "
                "read. It is not read: ask its author for safetensors."
            )
        length = int.from_bytes(start, "little")
        if length > MAX_HEADER_BYTES:
            raise ModelError(
                f"{path} is damaged: its header would have {length} bytes, and at most "
                f"{MAX_HEADER_BYTES} are read."
            )
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ModelError(
            f"{path} is damaged or cannot be read: {plain(error, 200)}. Download or export it "
            "again."
        ) from error


def _compare_names(wanted: set[str], found: set[str], path: Path) -> None:
    for kind, names in (("is missing", wanted - found), ("has unexpected", found - wanted)):
        if names:
            shown = ", ".join(plain(name) for name in sorted(names)[:5])
            more = ", ..." if len(names) > 5 else ""
            raise ModelError(f"{path} {kind} {len(names)} tensor(s): {shown}{more}.")
