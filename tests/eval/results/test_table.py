"""The results file: nothing lost, nothing half."""

from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from filelock import FileLock

from georank_zoo.eval.results import table as results
from georank_zoo.eval.results.settings import settings_to_json
from georank_zoo.eval.results.table import (
    COLUMNS,
    Row,
    append_rows,
    check_results_file,
    read_rows,
)
from georank_zoo.utils.errors import GeorankError
from georank_zoo.utils.write_errors import DiskFullError
from tests.faults.commands import state_of

ROW = Row(
    when=results.now(), model="runs/moco", origin="", kind="model", baseline="", model_hash="a"
    * 64, architecture="resnet18", input_hash="c" * 16, recipe="moco@0123", task="eurosat",
    store_hash="b" * 64, protocol="knn", k=10, temperature=0.9, settings="", chosen="",
    split="loo", image_size=64, bands="B02 B03", seed=0, n_train=202, n_test=202,
    metric="accuracy_macro", value=0.5, ci_low=0.25, ci_high=0.75,
    versions=results.made_with("cpu"),
)  # fmt: skip


def test_round_trip_with_one_header(tmp_path):
    path = tmp_path / "new" / "results.csv"
    odd = replace(ROW, model='a, "quoted"\nname', k=5, value=1 / 3)
    append_rows(path, [ROW, odd])
    append_rows(path, [ROW])
    assert read_rows(path) == [ROW, replace(odd, value=0.333333), ROW]
    lines = path.read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert sum(line.startswith("when,") for line in lines) == 1
    assert "georank-zoo" in ROW.versions
    assert "accelerate" in ROW.versions
    assert "device cpu, " in ROW.versions


def test_a_protocol_without_neighbors(tmp_path):
    linear = replace(
        ROW, protocol="linear", k=None, temperature=None,
        settings=settings_to_json({"l2": [10.0, 0.01]}), chosen=settings_to_json({"l2": 0.01}),
    )  # fmt: skip
    append_rows(tmp_path / "results.csv", [linear])
    assert read_rows(tmp_path / "results.csv") == [linear]
    assert (linear.variant, ROW.variant) == (("l2", "0.01"), ("k", "10"))
    assert linear.protocol_text == "linear (l2=10 to 0.01 (2))"
    assert ROW.protocol_text == "knn (k=10, temperature=0.9)"
    sgd = replace(linear, settings=settings_to_json({"epochs": 30, "lr": 1e-3}), chosen="")
    assert (sgd.variant, sgd.protocol_text) == (("epochs", "30"), "linear (epochs=30, lr=0.001)")


def test_identity_is_of_weights_and_of_what_a_floor_is_given():
    renamed = replace(ROW, model="other", origin="runs/b")
    assert renamed.identity == ROW.identity and renamed.title == "other (runs/b)"
    assert replace(ROW, model_hash="b" * 64).identity != ROW.identity
    nameless = replace(ROW, model_hash="none")
    assert replace(nameless, model="other").identity != nameless.identity
    floor = replace(ROW, kind="random-init", model_hash="none")
    assert replace(floor, model="random", origin="input of x").identity == floor.identity
    for change in ({"kind": "scratch"}, {"architecture": "resnet50"}, {"input_hash": "d" * 16}):
        assert replace(floor, **change).identity != floor.identity


@pytest.mark.parametrize(
    ("column", "text", "reason"),
    [("kind", "floor", "unknown kind 'floor'"), ("settings", "lr=1", "row 2"),
     ("chosen", "[1]", "is not a JSON object")],
)  # fmt: skip
def test_a_cell_that_says_nothing_is_refused(tmp_path, column, text, reason):
    path = tmp_path / "results.csv"
    append_rows(path, [replace(ROW, **{column: text})])
    with pytest.raises(GeorankError, match=reason):
        read_rows(path)


def _append_many(path, worker):
    for number in range(25):
        append_rows(path, [replace(ROW, seed=number, model=f"model-{worker}")] * 3)


def test_concurrent_appends_lose_nothing(tmp_path):
    path = tmp_path / "results.csv"
    # A fork of a process with torch's threads may hang.
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append_many, args=(path, i)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    rows = read_rows(path)
    assert len(rows) == 4 * 25 * 3
    for worker in range(4):
        own = [row.seed for row in rows if row.model == f"model-{worker}"]
        assert own == [number for number in range(25) for _ in range(3)]
    # The rows of one append stay together.
    assert all(len({r.model for r in rows[i : i + 3]}) == 1 for i in range(0, len(rows), 3))


def test_append_waits_for_another_writer(tmp_path):
    path = tmp_path / "results.csv"
    append_rows(path, [ROW])
    before = path.read_bytes()
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    with FileLock(tmp_path / ".results.csv.lock"):
        # A forked process would inherit the lock.
        worker = multiprocessing.get_context("spawn").Process(
            target=append_rows, args=(link, [ROW])
        )
        worker.start()
        worker.join(3)
        assert worker.is_alive()
        assert path.read_bytes() == before
    worker.join(60)
    assert worker.exitcode == 0
    assert len(read_rows(path)) == 2


def test_works_without_the_modules_of_unix(tmp_path):
    # As on Windows, where neither exists.
    code = (
        "import os, sys\n"
        "sys.modules['fcntl'] = None\n"
        "del os.pread, os.pwrite\n"
        "from tests.eval.results.test_table import ROW\n"
        "from georank_zoo.eval.results import table as results\n"
        "for _ in range(2):\n"
        "    results.check_results_file(sys.argv[1])\n"
        "    results.append_rows(sys.argv[1], [ROW])\n"
        "assert len(results.read_rows(sys.argv[1])) == 2\n"
        "assert 'fcntl' not in dir(results)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "results.csv")],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "text",
    [
        ",".join(name for name in COLUMNS if name not in ("kind", "baseline")) + "\n",  # of before
        "model,accuracy\nx,1\n",
        "when",
        "\n",
        "PK\x03\x04",
    ],
)
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "results.csv"
    path.write_text(text)
    for call in (
        lambda: append_rows(path, [ROW]),
        lambda: check_results_file(path),
        lambda: read_rows(path),
    ):
        with pytest.raises(GeorankError, match="is not a results file of this version"):
            call()
    assert path.read_text() == text


@pytest.mark.parametrize("line", [b"\xff,1", b"a" * 200_000], ids=["bytes", "long"])
def test_a_line_that_is_no_csv_is_refused(tmp_path, line):
    path = tmp_path / "results.csv"
    append_rows(path, [ROW])
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(GeorankError, match="is damaged"):
        read_rows(path)


def test_a_line_cut_by_a_crash_is_refused(tmp_path):
    path = tmp_path / "results.csv"
    append_rows(path, [ROW])
    text = path.read_text() + "2026-11-23T10:00:00+00:00,runs/mo"
    path.write_text(text)
    for call in (
        lambda: append_rows(path, [ROW]),
        lambda: check_results_file(path),
        lambda: read_rows(path),
    ):
        with pytest.raises(GeorankError, match=r"ends within a line \('2026-11-23T10"):
            call()
    assert path.read_text() == text


@pytest.mark.parametrize("exists", [True, False])
def test_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch, exists):
    path = tmp_path / "results.csv"
    if exists:
        append_rows(path, [ROW])
    before = state_of(tmp_path)

    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match=r"full at .*results.csv, .*Nothing was added"):
        append_rows(path, [ROW] * 5)
    assert state_of(tmp_path) == before
    monkeypatch.undo()
    append_rows(path, [ROW])
    assert len(read_rows(path)) == 1 + exists


def test_check_creates_nothing(tmp_path):
    check_results_file(tmp_path / "new" / "results.csv")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        check_results_file(tmp_path / "file" / "results.csv")


def test_a_value_of_the_wrong_type(tmp_path):
    path = tmp_path / "results.csv"
    append_rows(path, [ROW])
    path.write_text(path.read_text().replace("0.25", "low"))
    with pytest.raises(GeorankError, match="row 2"):
        read_rows(path)
