"""Damages of files: each field removed, of another type or value, and the bytes cut or changed."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

Damage = tuple[str, Callable[[], bytes]]  # its name, and the bytes when they are wanted
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


def every(step: int, damages: Iterable[Damage]) -> Iterator[tuple[str, bytes]]:
    """Each `step`-th of the damages, whose bytes are made one after the other."""
    for name, make in islice(damages, 0, None, step):
        yield name, make()


def of_text(content: bytes) -> Iterator[Damage]:
    """Damages that know nothing of a document's fields."""
    half = len(content) // 2
    changed = {
        **{f"cut at {part}/4": content[: len(content) * part // 4] for part in range(4)},
        "cut by three bytes": content[:-3],
        "no UTF-8": content[:half] + b"\xff\xfe" + content[half:],
        "zeros": bytes(len(content)),
        "twice": content + content,
        "nested": b"[" * 100_000,
        **{f"{other} instead": other.encode() for other in ("[]", "{}", "7", "null", '"text"')},
    }
    yield from ((name, partial(bytes, damaged)) for name, damaged in changed.items())


def of_document(document: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each field of a JSON document removed, or of another type or value."""
    for path, value in list(_fields(document)):
        name = ".".join(map(str, path))
        changed = partial(partial, _changed, document, path)
        if isinstance(_at(document, path[:-1]), dict):
            yield f"{name} removed", changed(_remove)
            yield f"{name} has a sister", changed(_add_sister)
        for other in _OTHERS[type(value)]:
            if type(other) is not type(value) or other != value:
                yield f"{name} = {other!r:.30}", changed(_set(other))
        if isinstance(value, list) and value:
            yield f"{name} one shorter", changed(_set(value[:-1]))
            yield f"{name} first twice", changed(_set([value[0], *value]))
            if value[::-1] != value:
                yield f"{name} reversed", changed(_set(value[::-1]))


def of_json(
    content: bytes, seal: Callable[[Any], Any] = lambda document: document
) -> Iterator[Damage]:
    """Damages of a JSON file; `seal` makes its checksum right again."""
    for name, make in of_document(json.loads(content)):
        yield name, partial(_json, make, seal)


def of_lines(content: bytes) -> Iterator[Damage]:
    """Damages of a file of lines, JSON or CSV: lines cut, doubled and in another order."""
    lines = content.splitlines(keepends=True)
    for number, line in enumerate(lines):
        name, before, after = f"line {number}", lines[:number], lines[number + 1 :]
        changed = {
            "cut": [line[: len(line) // 2] + b"\n"],
            "joined with the next": [line.rstrip(b"\n")],
            "twice": [line, line],
            "in bytes of another code": [line[:-2] + b"\xff\n"],
            "a comma more": [line[:-1] + b",\n"],
            "a comma less": [line.replace(b",", b" ", 1)],
            "fields swapped": [b",".join(_swapped(line.rstrip(b"\n").split(b","))) + b"\n"],
        }
        for what, replaced in changed.items():
            yield f"{name} {what}", partial(b"".join, [*before, *replaced, *after])
        if line.startswith(b"{"):
            for what, make in of_json(line):
                yield f"{name}: {what}", partial(_in_line, before, make, after)
    yield "reversed", partial(b"".join, lines[::-1])
    yield "first line missing", partial(b"".join, lines[1:])


def of_safetensors(content: bytes) -> Iterator[Damage]:
    """Damages of a safetensors file: its layout, its tensors and the document in its header."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    for part in range(8):
        yield f"cut at {part}/8", partial(_cut, content, len(content) * part // 8)
    yield "a byte too many", lambda: content + b"\0"
    for size in (0, length - 1, len(content), 2**63):
        yield f"length {size}", partial(_with_length, content, size)
    for name, make in of_document(header):
        yield f"header {name}", partial(_remade, make, data)
    text = header.get("__metadata__", {}).get("georank")
    if text is not None:
        for name, make in of_document(json.loads(text)):
            yield f"document {name}", partial(_with_document, header, make, data)
    for name, entry in header.items():
        if name != "__metadata__" and entry["data_offsets"][1] > entry["data_offsets"][0]:
            yield f"first byte of {name}", partial(_flipped, header, data, entry)


def _in_line(before: list[bytes], make: Callable[[], bytes], after: list[bytes]) -> bytes:
    return b"".join([*before, make() + b"\n", *after])


def _swapped(fields: list[bytes]) -> list[bytes]:
    return [*fields[:-2], *fields[:-3:-1]]


def _json(make: Callable[[], Any], seal: Callable[[Any], Any]) -> bytes:
    return json.dumps(seal(make())).encode()


def _cut(content: bytes, end: int) -> bytes:
    return content[:end]


def _with_length(content: bytes, length: int) -> bytes:
    return struct.pack("<Q", length) + content[8:]


def _remade(make: Callable[[], Any], data: bytes) -> bytes:
    return _file(make(), data)


def _with_document(header: Any, make: Callable[[], Any], data: bytes) -> bytes:
    return _file({**header, "__metadata__": {"georank": json.dumps(make())}}, data)


def _flipped(header: Any, data: bytes, entry: Any) -> bytes:
    flipped = bytearray(data)
    flipped[entry["data_offsets"][0]] ^= 0x11
    return _file(header, bytes(flipped))


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
