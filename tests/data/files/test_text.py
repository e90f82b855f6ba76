"""Texts in the encodings that programs write."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from georank_zoo.data.files.text import read_json, read_text
from georank_zoo.utils.errors import UsageError

TEXT = "filename,label\np0.tif,Forêt\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF8 * 2 + TEXT.encode(),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
    ],
)
def test_one_text_in_many_encodings(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert read_text(tmp_path / "a.csv") == TEXT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT.encode("latin-1"), r"not UTF-8 text: byte 25 \(line 2\) is 0xEA. Save it as UTF-8"),
        (TEXT.encode("utf-16")[:-1], "not UTF-16 text"),
        (TEXT.replace("p0", "p\0").encode(), "a NUL byte in line 2"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UsageError, match=f"a.csv.*{message}"):
        read_text(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a JSON file"),
        ('{"a": 1, "a": 2}', "'a' stands twice in one object"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_json_that_is_none(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UsageError, match=message):
        read_json(tmp_path / "a.json")
