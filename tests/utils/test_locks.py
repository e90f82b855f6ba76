"""Locks of outputs, what kills leave, and what a disk refuses."""

from __future__ import annotations

import contextvars
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from georank_zoo.utils import locks
from georank_zoo.utils.errors import GeorankError
from georank_zoo.utils.files import new_file, new_folder, write_text
from georank_zoo.utils.locks import is_locked, output_lock, running_command, tidy
from georank_zoo.utils.write_errors import DiskFullError, explain_write_errors

HOLD = """
import sys, time
from pathlib import Path
from georank_zoo.utils.files import new_folder
from georank_zoo.utils.locks import output_lock, running_command, tidy
path = Path(sys.argv[1])
with output_lock(path), new_folder(path) as temporary:
    (temporary / "half").write_text("half")
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that fills a folder and never gets done."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_held_output_is_refused_with_its_holder_s_name(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    before = names(tmp_path)
    refused = pytest.raises(GeorankError, match=rf"out is being .* \(process {holder.pid} on ")
    for wait in (0, 0.1):
        with refused, output_lock(tmp_path / "out", wait=wait):
            pass
    with output_lock(tmp_path / "other"):
        pass
    assert names(tmp_path) == before  # and the holder's own files are left to it


def test_a_dead_holder_s_lock_and_leftovers_go(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert len(names(tmp_path)) == 2  # the lock's file and the folder that was being filled
    with output_lock(tmp_path / "out"):
        write_text(tmp_path / "out", "done")
    assert names(tmp_path) == ["out"]


def test_a_lock_is_taken_over_when_its_holder_dies(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    threading.Timer(0.3, holder.kill).start()
    with new_folder(tmp_path / "out") as temporary:
        (temporary / "file").touch()
    assert names(tmp_path) == ["out"]


def test_leftovers_within_a_folder_are_cleared_but_for_those_being_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in (".a.1.tmp", ".b.2.tmp", ".c.old.tmp"):
        (out / name).mkdir()
    (out / ".mine.tmp").touch()
    (out / ".mine.lock").touch()
    (out / ".d.lock").write_text('{"pid": 1}')  # killed while it cleared what another had left
    entered, leave = threading.Event(), threading.Event()

    def write_b() -> None:
        with output_lock(out / "b"):
            (out / ".b.2.tmp").mkdir()
            entered.set()
            leave.wait()

    other = threading.Thread(target=write_b)
    other.start()
    entered.wait()
    try:
        with output_lock(out):
            assert names(out) == [".b.2.tmp", ".b.lock", ".mine.lock", ".mine.tmp", "c"]
    finally:
        leave.set()
        other.join()


def test_a_folder_whose_replacement_was_killed_is_back(tmp_path: Path) -> None:
    old = tmp_path / ".out.old.tmp"
    old.mkdir()
    (old / "file").write_text("all there is")
    with output_lock(tmp_path / "out"):
        assert (tmp_path / "out" / "file").read_text() == "all there is"


def test_a_thread_locks_again_what_it_holds_and_another_does_not(tmp_path: Path) -> None:
    out, refused = tmp_path / "out", []

    def write() -> None:
        try:
            with output_lock(out):
                write_text(out / "file", "text")
        except GeorankError as error:
            refused.append(error)

    with output_lock(out):
        out.mkdir()
        write()
        assert names(out) == ["file"]  # without a lock of its own
        for target, expected in ((write, 1), (lambda: contextvars.copy_context().run(write), 1)):
            refused.clear()
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
            assert len(refused) == expected
        refused.clear()
        thread = threading.Thread(target=contextvars.copy_context().run, args=(write,))
        thread.start()
        thread.join()
        assert not refused


def test_a_forked_process_does_not_hold_its_parent_s_lock(tmp_path: Path) -> None:
    with output_lock(tmp_path / "out"):
        child = os.fork()
        if child == 0:
            os._exit(locks.holds(tmp_path / "out"))
        assert os.waitpid(child, 0)[1] == 0


def test_folders_above_a_refused_output_do_not_stay(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), output_lock(tmp_path / "a" / "b" / "out"):
        raise ZeroDivisionError
    assert names(tmp_path) == []
    (tmp_path / "file").touch()
    refused = pytest.raises(GeorankError, match="A file stands where a folder is needed")
    with refused, output_lock(tmp_path / "file" / "out"):
        pass


def test_names_may_be_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    write_text(tmp_path / ("x" * 255), "text")
    assert names(tmp_path) == ["x" * 255]
    with pytest.raises(GeorankError, match="name is too long"):
        write_text(tmp_path / ("x" * 256), "text")


def test_a_file_system_without_locks_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr(locks, "_unlocked_file_systems", set())
    write_text(tmp_path / "a", "text")
    write_text(tmp_path / "b", "text")
    assert names(tmp_path) == ["a", "b"]
    assert [record.message.count("has no locks") for record in caplog.records] == [1]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, r"The disk is full at .*out, \d+ MiB free\. Make room"),
        (errno.EDQUOT, r"Your quota is used up at .*out"),
        (errno.EFBIG, r"may not grow further .* at .*out"),
    ],
)
def test_a_full_disk_names_path_room_and_remedy(tmp_path: Path, number: int, words: str) -> None:
    with pytest.raises(DiskFullError, match=words), new_file(tmp_path / "out"):
        raise OSError(number, os.strerror(number))
    with (
        pytest.raises(DiskFullError, match=r"\. It resumes\.$"),
        explain_write_errors(tmp_path, "It resumes."),
        new_file(tmp_path / "out"),
    ):
        raise RuntimeError(f"Io Error (os error {number})")
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EFBIG])
def test_an_unreadable_source_is_not_an_unwritable_output(tmp_path: Path, number: int) -> None:
    with pytest.raises(OSError, match="refused"), new_file(tmp_path / "out"):
        raise OSError(number, "refused", "/elsewhere/source")


def test_a_hostile_note_of_the_holder_is_plain(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    note = {"host": "\x1b[31mred" + "x" * 5000, "pid": 1, "since": "\x07"}
    (tmp_path / ".out.lock").write_text(json.dumps(note))
    with pytest.raises(GeorankError) as caught, output_lock(tmp_path / "out"):
        pass
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 500
    (tmp_path / ".out.lock").write_text("{")
    with pytest.raises(GeorankError, match="has not said"), output_lock(tmp_path / "out"):
        pass


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize(
    ("arguments", "there_before", "done", "finished"),
    [
        ("same", False, True, True),
        ("same", True, True, True),
        ("same", False, False, False),
        ("same", True, False, False),
        ("other", False, True, False),
    ],
)
def test_a_command_killed_when_its_output_was_complete_had_finished(
    kind: str, arguments: str, there_before: bool, done: bool, finished: bool, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def write() -> None:
        if kind == "file":
            write_text(out, "done")
        else:
            with new_folder(out) as temporary:
                (temporary / "file").touch()

    if there_before:
        write()
    for _ in range(2):  # killed twice
        child = os.fork()
        if child == 0:
            with running_command(["same"]), output_lock(out) as taken:
                if done and not taken.finished:
                    write()
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert ".out.lock" in names(tmp_path)
    with running_command([arguments]), output_lock(out) as taken:
        assert taken.finished == finished
        assert taken.killed_since is not None
    with running_command(["same"]), output_lock(out) as taken:
        assert not taken.finished and taken.killed_since is None
    assert names(tmp_path) == (["out"] if done or there_before else [])


def test_an_interrupted_command_that_was_done_had_finished(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for done in (False, True):
        with pytest.raises(KeyboardInterrupt), running_command(["x"]), output_lock(out):
            if done:
                write_text(out, "done")
            raise KeyboardInterrupt
        assert names(tmp_path) == ([".out.lock", "out"] if done else [])
    with running_command(["x"]), output_lock(out) as taken:
        assert taken.finished
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_signal_while_a_lock_is_released_leaves_no_lock(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, signals = Path.unlink, [KeyboardInterrupt]

    def interrupted(path: Path, missing_ok: bool = False) -> None:
        if moment == "after":
            unlink(path, missing_ok)
        if signals:
            raise signals.pop()
        unlink(path, missing_ok)

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), output_lock(out):
        out.touch()
        monkeypatch.setattr(Path, "unlink", interrupted)
    monkeypatch.undo()
    assert names(tmp_path) == ["out"] and not is_locked(out)


def test_a_signal_while_the_lock_of_a_finished_output_is_released_keeps_its_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), running_command(["x"]), output_lock(out):
        write_text(out, "done")
        monkeypatch.setattr(Path, "unlink", Mock(side_effect=KeyboardInterrupt))
    monkeypatch.undo()
    with running_command(["x"]), output_lock(out) as taken:
        assert taken.finished
    assert names(tmp_path) == ["out"]


def test_tidy_leaves_a_lock_that_is_held(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    before = names(tmp_path)
    tidy(tmp_path / "out")
    assert names(tmp_path) == before
    holder.kill()
    holder.wait()
    tidy(tmp_path / "out")
    assert names(tmp_path) == []


def test_many_writers_of_one_file_take_turns(tmp_path: Path) -> None:
    """The lock's file is deleted each time: nobody may lock one that is gone already."""
    path = tmp_path / "count"
    path.write_text("0")

    def add() -> None:
        for _ in range(50):
            with output_lock(path, wait=30):
                number = int(path.read_text())
                time.sleep(0.0002)
                path.write_text(str(number + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() == "200"
    assert names(tmp_path) == ["count"]
