"""Damages of files: each field removed, of another type or value, and the bytes cut or changed."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

Damage = tuple[str, bytes]
Path_ = tuple[Any, ...]

_OTHERS: dict[type, list[Any]] = {
    bool: [None, 0, "yes"],
    int: [None, "7", -1, 10**9, 2**63, 10**400, 1.5, True, float("nan"), []],
    float: [None, "7", -1e9, float("nan"), float("inf"), True, []],
    str: [None, 7, "\x1b[31mother", "../../etc/passwd", "", []],
    list: [None, {}, "a", 7],
    dict: [None, [], "a", 7],
    type(None): ["a", -7.5],
}


def of_text(content: bytes) -> Iterator[Damage]:
    """Damages that know nothing of a document's fields."""
    for part in (0, 1, 2, 3):
        yield f"cut at {part}/4", content[: len(content) * part // 4]
    yield "cut by three bytes", content[:-3]
    yield "no UTF-8", content[: len(content) // 2] + b"\xff\xfe" + content[len(content) // 2 :]
    yield "zeros", bytes(len(content))
    yield "twice", content + content
    yield "nested", b"[" * 100_000
    for other in (b"[]", b"{}", b"7", b"null", b'"text"'):
        yield f"{other.decode()} instead", other


def of_document(document: Any) -> Iterator[tuple[str, Any]]:
    """Each field of a JSON document removed, or of another type or value."""
    for path, value in list(_fields(document)):
        name = ".".join(map(str, path))
        if isinstance(_at(document, path[:-1]), dict):
            yield f"{name} removed", _changed(document, path, _remove)
            yield f"{name} has a sister", _changed(document, path, _add_sister)
        for other in _OTHERS[type(value)]:
            if type(other) is not type(value) or other != value:
                yield f"{name} = {other!r:.30}", _changed(document, path, _set(other))
        if isinstance(value, list) and value:
            yield f"{name} one shorter", _changed(document, path, _set(value[:-1]))
            yield f"{name} first twice", _changed(document, path, _set([value[0], *value]))
            if value[::-1] != value:
                yield f"{name} reversed", _changed(document, path, _set(value[::-1]))


def of_json(
    content: bytes, seal: Callable[[Any], Any] = lambda document: document
) -> Iterator[Damage]:
    """Damages of a JSON file; `seal` makes its checksum right again."""
    for name, document in of_document(json.loads(content)):
        yield name, json.dumps(seal(document)).encode()


def of_safetensors(content: bytes) -> Iterator[Damage]:
    """Damages of a safetensors file: its layout, its tensors and the document in its header."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    for part in range(8):
        yield f"cut at {part}/8", content[: len(content) * part // 8]
    yield "a byte too many", content + b"\0"
    for size in (0, length - 1, len(content), 2**63):
        yield f"length {size}", struct.pack("<Q", size) + content[8:]
    for name, changed in of_document(header):
        yield f"header {name}", _file(changed, data)
    text = header.get("__metadata__", {}).get("georank")
    if text is not None:
        for name, document in of_document(json.loads(text)):
            metadata = {"__metadata__": {"georank": json.dumps(document)}}
            yield f"document {name}", _file({**header, **metadata}, data)
    for name, entry in header.items():
        if name != "__metadata__" and entry["data_offsets"][1] > entry["data_offsets"][0]:
            first = entry["data_offsets"][0]
            flipped = bytearray(data)
            flipped[first] ^= 0x11
            yield f"first byte of {name}", _file(header, bytes(flipped))


def _file(header: Any, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def _fields(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Every field; of a list the first and the last, which are as the others."""
    if path:
        yield path, value
    if isinstance(value, dict):
        for key in value:
            yield from _fields(value[key], (*path, key))
    elif isinstance(value, list):
        for index in sorted({0, len(value) - 1} if value else ()):
            yield from _fields(value[index], (*path, index))


def _at(document: Any, path: Path_) -> Any:
    for key in path:
        document = document[key]
    return document


def _changed(document: Any, path: Path_, change: Callable[[Any, Any], None]) -> Any:
    changed = copy.deepcopy(document)
    change(_at(changed, path[:-1]), path[-1])
    return changed


def _remove(parent: Any, key: Any) -> None:
    del parent[key]


def _add_sister(parent: Any, key: Any) -> None:
    parent[f"{key}_"] = parent[key]


def _set(other: Any) -> Callable[[Any, Any], None]:
    def change(parent: Any, key: Any) -> None:
        parent[key] = other

    return change
