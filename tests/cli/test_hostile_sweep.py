"""Stores, runs and files with names of strangers through all commands, one after the other."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.eval.results.table import read_rows
from georank_zoo.training.run import open_run
from tests.support import trees
from tests.support.command_line import run
from tests.support.hostile_names import HOSTILE_NAMES, is_harmless
from tests.support.models import make_store
from tests.support.training import TINY

ALL = "=\x1b[2J$x^{$|<b>\u202e`[l](javascript:x)\n# h"


def file_name(name: str) -> str:
    """The name as far as a file may have it."""
    # torch maps no file of another name than UTF-8: a message says so.
    return name.replace("/", "%2F").replace("\0", "").replace("\udcff", "")[:100]


@pytest.mark.parametrize(
    "name",
    [ALL, *(pytest.param(name, marks=pytest.mark.slow) for name in HOSTILE_NAMES)],
    ids=lambda name: ascii(name)[:30],
)
def test_all_commands(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def do(*arguments: object, code: int = 0) -> str:
        assert run(*arguments) == code, capsys.readouterr()
        text = "".join(capsys.readouterr())
        lines = [line[:2000] if "--json" in arguments else line for line in text.split("\n")]
        assert text and all(map(is_harmless, lines))
        return text

    monkeypatch.chdir(tmp_path)
    short = file_name(name)
    store, other, folder = (Path(part, short) for part in ("stores", "others", "runs"))
    classes = [name.replace("\udcff", ""), "other"]
    make_store(store, [0, 1] * 16, class_names=classes)
    make_store(other, [0, 1] * 8, class_names=classes, seed=1)
    do("data", "info", store)
    assert json.loads(do("data", "info", store, "--json"))["classes"]
    do("data", "verify", store)
    do("data", "overlap", store, other, "--out", f"{short}.svg", "--csv", f"{short}.csv")
    do("data", "merge", store, store, "--out", f"{short}.merged", code=2)
    overrides = [part for one in (*TINY, "train.steps=2") for part in ("--set", one)]
    do("train", "moco", "--data", store, "--probe", other, "--out", folder, *overrides)
    do("export", folder, "--format", "timm", "--overwrite")
    results = tmp_path / f"{short}.results.csv"
    do("eval", folder, "--task", "folder", "--data", store, "--results", results)
    do("compare", results, "--out", f"{short} compared")
    do("card", folder, "--results", results)
    do("features", folder, other, "--out", f"{short}.parquet")
    trees.write_tif(tmp_path / f"{short}.tif", trees.noise((4, 32, 32)), descriptions=["a"] * 4)
    do("features", folder, f"{short}.tif", "--out", f"{short}.out.tif", code=2)
    do("push", folder, "org/name", "--dry-run", code=1)
    read_rows(results)
    with Path(f"{short} compared", "scores.csv").open(newline="", encoding="utf-8") as text:
        assert all(not str(cell).startswith(("=", "@", "\t", "\r"))
                   for row in csv.reader(text) for cell in row)  # fmt: skip
    opened, trained = PatchStore(store), open_run(folder)
    for shown in (opened, trained):
        assert is_harmless(repr(shown)) and "<b>" not in shown._repr_html_()
    for figure in (opened.plot(0), opened.plot_map(), trained.plot()):
        assert figure._repr_png_()
