"""Documents that we wrote ourselves, read by their schema and by nothing else.

A file may have been cut, edited or come from someone else: each has one reader, which refuses what
its schema does not hold and names the file and the field.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from georank_zoo.utils.errors import GeorankError, plain

_Document = TypeVar("_Document")

# Of a dataclass or a model that is read from a file: `__pydantic_config__`, or `model_config`.
STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

Count = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[int, Field(gt=0, lt=2**63)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

CHECKSUM = "checksum"
_MAX_BYTES = 2**30  # a thousand times the largest of ours


def read_limited(path: Path, *, error: type[GeorankError], remedy: str) -> str:
    """Text of a document.

    Args:
        path: The file.
        error: Class of the error.
        remedy: Sentence that says what to do.

    Raises:
        GeorankError: Of class `error`, if it is no regular file, is too large or is not UTF-8.
    """
    try:
        if not path.is_file():
            raise error(f"{path} is missing or is not a file. {remedy}")
        if path.stat().st_size > _MAX_BYTES:
            raise error(f"{path} is damaged: it is larger than any file of its kind. {remedy}")
        return path.read_bytes().decode()
    except UnicodeDecodeError as problem:
        raise error(f"{path} is damaged: it is not UTF-8. {remedy}") from problem


def parse_json(text: str) -> Any:
    """Strict JSON: no key twice in an object, no NaN and no infinity.

    Raises:
        ValueError: If it is not.
    """
    try:
        return json.loads(text, object_pairs_hook=no_key_twice, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON document, for `json.loads(..., object_pairs_hook=no_key_twice)`.

    Raises:
        ValueError: If a key is given twice, where Python would take the last.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{plain(repr(twice))} stands twice in one object")
    return found


def parse_document(
    kind: type[_Document], text: str, *, where: Path, error: type[GeorankError], remedy: str
) -> _Document:
    """Reads a JSON document by its schema.

    Args:
        kind: Dataclass or model with the configuration `STRICT`.
        text: The text.
        where: Its file, for messages.
        error: Class of the error.
        remedy: Sentence that says what to do.

    Raises:
        GeorankError: Of class `error`, with the file and the field.
    """
    try:
        parse_json(text)
        document: _Document = _adapter(cast(Any, kind)).validate_json(text)
    except (ValueError, RecursionError) as problem:
        raise error(f"{where} is damaged: {fault_in(problem)}. {remedy}") from problem
    return document


def fault_in(problem: BaseException) -> str:
    """What is wrong with a document, with the field where there is one."""
    if not isinstance(problem, ValidationError):
        return plain(problem, 200)
    first = problem.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    reason = plain(first["msg"][:1].lower() + first["msg"][1:], 200)
    return f"{plain(field)}: {reason}" if field else reason


def checksum_of(document: dict[str, Any]) -> str:
    """SHA-256 of a document of JSON values without its own `checksum`."""
    rest = {key: value for key, value in document.items() if key != CHECKSUM}
    # JSON knows no tuples, and keys of text only: what is read again has the same checksum.
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def seal(document: dict[str, Any]) -> dict[str, Any]:
    """A document of JSON values with its checksum."""
    return {**document, CHECKSUM: checksum_of(document)}


def open_seal(text: str, *, where: Path, error: type[GeorankError], remedy: str) -> dict[str, Any]:
    """What a JSON document of a known schema holds beside its checksum, compared if it has one.

    Args:
        text: The text.
        where: Its file, for messages.
        error: Class of the error.
        remedy: Sentence that says what to do.

    Raises:
        GeorankError: Of class `error`, if the content is another than was written.
    """
    document: dict[str, Any] = json.loads(text)
    checksum = document.pop(CHECKSUM, "")
    if checksum and checksum != checksum_of(document):
        raise error(
            f"{where} is damaged: {CHECKSUM}: its content is another than was written. {remedy}"
        )
    return document


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _no_constant(name: str) -> Any:
    raise ValueError(f"it holds {name}, which is no number")
