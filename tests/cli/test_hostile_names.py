"""Names that strangers chose, through the commands that show them."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from georank_zoo.eval.results import table as results
from georank_zoo.eval.results.table import Row, read_rows
from tests.eval.results.test_table import ROW
from tests.support import trees
from tests.support.command_line import run
from tests.support.hostile_names import HOSTILE_NAMES, is_harmless
from tests.support.models import make_store
from tests.support.zoo_parts import make_entry

NAMES = [name for name in HOSTILE_NAMES if "\udcff" not in name]  # no text file holds that one


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    text = "".join(capsys.readouterr())
    assert all(map(is_harmless, text.split("\n")))
    return text


def hostile_rows() -> list[Row]:
    """A model per name, and each name as task, protocol, split and metric as well."""
    rows = [
        replace(ROW, model=name, model_hash=f"{n:064x}", baseline=NAMES[0] if n else "")
        for n, name in enumerate(NAMES)
    ]
    for name in NAMES[::3]:
        odd = replace(rows[0], task=name, protocol=name, split=name, metric=name)
        rows += [odd, replace(odd, model="twin", origin=name, model_hash="f" * 64)]
    return rows


def test_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results\x1b[2J$x^{$.csv"
    results.append_rows(path, hostile_rows())
    assert read_rows(path) == hostile_rows()  # every name is read as it was written
    out = tmp_path / "out"
    assert run("compare", path, "--task", ROW.task, "--task", NAMES[9], "--out", out) == 0
    shown(capsys)
    for file in ("scores.csv", "differences.csv"):
        with (out / file).open(newline="", encoding="utf-8") as text:
            for line in list(csv.DictReader(text)):
                for column in ("model", "task", "split", "protocol"):
                    assert line[column][:1] not in ("=", "+", "-", "@", "\t", "\r")
                float(line.get("value", 0))
    markdown = (out / "compare.md").read_text(encoding="utf-8")
    assert all(map(is_harmless, markdown.split("\n")))
    rendered = MarkdownIt("gfm-like", {"linkify": False}).render(markdown)
    assert set(re.findall(r"<(\w+)", rendered)) <= {
        "h1", "h3", "table", "thead", "tbody", "tr", "th", "td", "ul", "li",
    }  # fmt: skip
    svg = (out / "compare.svg").read_text(encoding="utf-8")
    assert "<script>" not in svg and "\x1b" not in svg


def test_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s\x1b[2J"
    make_store(path, list(range(len(NAMES))), class_names=NAMES)
    assert run("data", "info", path) == 0
    text = shown(capsys)
    assert "$x^{$" in text and r"\x1b[2J" in text and "[bold red]markup[/]" in text


def test_preparing_and_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in"
    for number, name in enumerate(["\x1b[2Jevil", "a\u202eb", "=1+1", "$x^{$", "<b>"]):
        folder = source / name
        folder.mkdir(parents=True)
        trees.write_tif(folder / f"{name}.tif", trees.noise((4, 32, 32)),
                        descriptions=trees.FOLDER_BANDS)  # fmt: skip
        (folder / f"{name} {number}.tif").write_bytes(b"no raster")
    arguments = ("data", "prepare", "folder", source, "--out", tmp_path / "s", "--max-bad", 1)
    assert run(*arguments) == 0
    assert r"\x1b[2Jevil" in shown(capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ("{}",), ("data", "info", "{}"), ("data", "prepare", "{}", "x", "--out", "y"),
        ("recipes", "show", "{}"), ("recipes", "show", "moco", "--set", "{}"),
        ("recipes", "show", "moco", "--set", "{}=1"),
        ("recipes", "show", "moco", "--set", "seed={}"),
        ("models", "show", "{}"), ("models", "list", "--catalog", "{}"), ("tasks", "{}"),
        ("compare", "{}"), ("card", "{}"), ("card", "--recipe", "{}"), ("export", "{}"),
        ("train", "{}"), ("train", "moco", "--data", "{}"), ("eval", "x", "--task", "{}"),
        ("eval", "x", "--task", "folder", "--data", "{}"),
    ],
)  # fmt: skip
def test_messages(
    arguments: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name in HOSTILE_NAMES:
        given = name.replace("\0", "")  # the operating system passes none
        assert run(*(argument.replace("{}", given) for argument in arguments)) in (0, 1, 2)
        text = shown(capsys)
        assert text and "Traceback" not in text
        assert len(text) < 6000


def test_catalog_and_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, name in enumerate(NAMES):
        catalog = {"models": {name: make_entry().model_dump(mode="json")}}
        (tmp_path / "models.json").write_text(json.dumps(catalog), encoding="utf-8")
        assert run("models", "list", "--catalog", tmp_path / "models.json") in (0, 1)
        shown(capsys)
        if number % 8:  # a recipe's objective is built
            continue
        recipe = {"extends": "moco", "summary": name, "data": {"store": name}}
        (tmp_path / "r.yaml").write_text(json.dumps(recipe), encoding="utf-8")
        assert run("recipes", "show", tmp_path / "r.yaml") in (0, 2)
        assert is_harmless("".join(capsys.readouterr().out.replace("\n", ""))[:2000])
