"""Text files of the user or of a data set: one notion of encodings and line ends."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from georank_zoo.utils.documents import no_key_twice
from georank_zoo.utils.errors import UsageError, plain
from georank_zoo.utils.regular_files import read_regular

# UTF-32's little-endian mark begins with UTF-16's, so it is looked for first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The labels of a million files are 100 MB; a parsed document takes ten times its text.
MAX_TEXT_BYTES = 2**28
_LOOKED_AT = 4096  # bytes that show whether NULs alternate with letters
_ALTERNATING = 0.2  # share of NULs among every other byte of UTF-16; commas and line ends are 1/5


def read_text(path: Path) -> str:
    r"""Reads a text, with `\n` as its only line end and without a byte order mark.

    It is UTF-8, UTF-16 or UTF-32, as the mark says; without one, UTF-16 where NULs alternate with
    letters, else UTF-8. Latin-1 and its like are not guessed: any bytes are valid in them.

    Args:
        path: The file.

    Raises:
        UsageError: If it is none of these; says which byte, and what to do.
        OSError: If it cannot be read, is no regular file or has more than `MAX_TEXT_BYTES`.
    """
    content = read_regular(path, MAX_TEXT_BYTES)
    encoding = _encoding(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        name = {"utf-8-sig": "UTF-8"}.get(encoding, encoding.upper())
        line = _line(content[: error.start].decode(encoding, "replace"))
        raise UsageError(
            f"{plain(path, 300)} is not {name} text: byte {error.start} (line {line}) is "
            f"0x{content[error.start]:02X}. Save it as UTF-8: other encodings, such as Latin-1 and "
            "Windows-1252, are not guessed."
        ) from error
    if (where := text.find("\0")) >= 0:
        raise UsageError(
            f"{plain(path, 300)}: a NUL byte in line {_line(text[:where])}. The file is damaged or "
            "no text. Write it again, as UTF-8 text."
        )
    # A second mark comes from a program that took the first one for a letter.
    return text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON document.

    Args:
        path: The file, in an encoding of `read_text`.

    Raises:
        UsageError: If it is not text or not JSON, is nested too deeply, or gives a key twice.
        OSError: If it cannot be read.
    """
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=no_key_twice)
    except RecursionError as error:
        raise UsageError(f"{plain(path, 300)} is nested too deeply for a JSON file.") from error
    except ValueError as error:
        raise UsageError(f"{plain(path, 300)} is not a JSON file ({plain(error)}).") from error


def _encoding(content: bytes) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    start = content[:_LOOKED_AT]
    # Letters of Latin scripts have a NUL as the higher byte: the first of two is big-endian.
    big, little = (start[parity::2].count(0) for parity in (0, 1))
    if max(big, little) > _ALTERNATING * len(start) / 2 and max(big, little) > 8 * min(big, little):
        return "utf-16-be" if big > little else "utf-16-le"
    return "utf-8"


def _line(before: str) -> int:
    return before.replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1
