"""A run that is killed at any change of the file system goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.models import make_store
from tests.support.training import TINY

# Forks one process for each command, which is killed just before its n-th change. Times are equal
# in all of them, so that all bytes are.
SERVER = """
import json, os, resource, signal, sys, warnings
import torch
from georank_cli.main import _run
from georank_zoo.training import log_window, loop, trainer
torch.set_num_threads(1)
warnings.simplefilter("ignore")
log_window.LogWindow.elapsed = lambda self, step: (step - self._step, float(step - self._step))

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"}

def command(kill_at, folder, arguments, at_signal, note, limit):
    os.chdir(folder)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    out = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1), os.dup2(out, 2)
    count = 0
    def look(event, found):
        nonlocal count
        flags = found[2] if event == "open" and isinstance(found[2], int) else 0
        changes = flags & (os.O_WRONLY | os.O_RDWR) or event in CHANGES
        if not changes or str(found[0]).startswith("/dev"):
            return
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), at_signal)
    sys.addaudithook(look)
    code = _run(arguments, False)
    sys.stdout.flush()
    os.write(1, f"\\nCHANGES {count}\\n".encode())
    return code

for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = command(**asked)
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass
class Georank:
    """The command line, in processes that are quick to start and can be killed."""

    server: subprocess.Popen[str]
    folder: Path
    store: Path

    def __call__(
        self,
        folder: Path,
        *arguments: str,
        kill_at: int = 0,
        at_signal: int = signal.SIGKILL,
        limit: int = 0,
    ) -> tuple[int, str]:
        """Exit code (negative for a signal) and what was said."""
        assert self.server.stdin is not None and self.server.stdout is not None
        note = self.folder / "said"
        asked = {
            "kill_at": kill_at, "folder": str(folder), "arguments": arguments,
            "at_signal": at_signal, "note": str(note), "limit": limit,
        }  # fmt: skip
        self.server.stdin.write(json.dumps(asked) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline()), note.read_text()

    @property
    def train(self) -> list[str]:
        """The command that begins the run in `runs/x`."""
        sets = [part for override in (*TINY, "train.steps=12") for part in ("--set", override)]
        return ["train", "moco_georank", "--data", str(self.store), *sets, "--out", "runs/x"]


RESUME = ["train", "runs/x", "--resume"]


@pytest.fixture(scope="module")
def georank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Georank]:
    folder = tmp_path_factory.mktemp("kills")
    make_store(folder / "store", [0, 1] * 16)
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    yield Georank(server, folder, folder / "store")
    assert server.stdin is not None
    server.stdin.close()
    server.wait()


@pytest.fixture(scope="module")
def whole(georank: Georank) -> tuple[dict[str, bytes], int]:
    """All that an undisturbed run leaves, and the number of its changes."""
    folder = georank.folder / "whole"
    folder.mkdir()
    code, said = georank(folder, *georank.train)
    assert code == 0, said
    return tree(folder), int(said.rpartition("CHANGES ")[2])


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*")]


def differences(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    names = found.keys() | expected.keys()
    return sorted(name for name in names if found.get(name) != expected.get(name))


def ways_on(georank: Georank, killed: Path) -> list[list[str]]:
    """The commands that must all go on from what a kill left."""
    ways = [[*georank.train, "--resume"]]
    if (killed / "runs/x").exists():
        ways.append(RESUME)
    if not any((killed / "runs/x").glob("checkpoints/step-*")):
        ways.append(georank.train)
    return ways


def go_on(georank: Georank, killed: Path, expected: dict[str, bytes], ways: int = 3) -> int:
    """Goes on from what a kill left; the number of ways that were tried."""
    chosen = ways_on(georank, killed)[-ways:]
    for way in chosen:
        copy = georank.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)  # of a test that failed
        shutil.copytree(killed, copy)
        code, said = georank(copy, *way)
        assert code == 0, f"{way[-2:]} in {sorted(tree(killed))}: {said}"
        assert not differences(tree(copy), expected)
        shutil.rmtree(copy)
    return len(chosen)


def kill(georank: Georank, folder: Path, command: list[str], kill_at: int) -> None:
    code, said = georank(folder, *command, kill_at=kill_at)
    assert code == -signal.SIGKILL, said


@pytest.mark.parametrize("share", [0.2, 0.33, 0.8])
def test_a_killed_run_goes_on(
    share: float, georank: Georank, whole: tuple[dict[str, bytes], int], tmp_path: Path
) -> None:
    expected, changes = whole
    kill(georank, tmp_path, georank.train, round(share * changes))
    go_on(georank, tmp_path, expected, ways=1)


@pytest.mark.slow
def test_a_run_killed_at_any_change_goes_on(
    georank: Georank, whole: tuple[dict[str, bytes], int], tmp_path: Path
) -> None:
    expected, changes = whole
    tried = 0
    for number in range(1, changes + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        kill(georank, folder, georank.train, number)
        tried += go_on(georank, folder, expected)
        shutil.rmtree(folder)
    sys.stdout.write(f"{changes} kills, {tried} commands after them\n")


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.3, 0.55, 0.85, 1.0])
def test_a_resumed_run_killed_at_any_change_goes_on(
    share: float, georank: Georank, whole: tuple[dict[str, bytes], int], tmp_path: Path
) -> None:
    expected, changes = whole
    first = tmp_path / "first"
    (first / "runs/x").mkdir(parents=True)  # an empty folder is taken too, as it is
    if share:
        kill(georank, first, georank.train, max(1, round(share * changes)))
    tried = kills = 0
    for way in ways_on(georank, first)[-1:]:
        number, code = 0, -signal.SIGKILL
        while code == -signal.SIGKILL:
            number += 1
            folder = tmp_path / "again"
            shutil.copytree(first, folder)
            code, said = georank(folder, *way, kill_at=number)
            if code == -signal.SIGKILL:
                kills += 1
                tried += go_on(georank, folder, expected, ways=1)
            shutil.rmtree(folder)
        assert code == 0, said
    sys.stdout.write(f"{kills} kills, {tried} commands after them\n")


@pytest.mark.parametrize(
    "ends", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda s: s.name
)
def test_a_signal_while_exporting(
    ends: signal.Signals, georank: Georank, whole: tuple[dict[str, bytes], int], tmp_path: Path
) -> None:
    expected, changes = whole
    code, said = georank(tmp_path, *georank.train, kill_at=changes - 12, at_signal=ends)
    assert code == 128 + ends and "Continue with `georank train runs/x --resume`" in said, said
    assert "Traceback" not in said
    go_on(georank, tmp_path, expected, ways=1)


@pytest.mark.slow
def test_a_signal_at_any_change(
    georank: Georank, whole: tuple[dict[str, bytes], int], tmp_path: Path
) -> None:
    changes = whole[1]
    for number in range(1, changes + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        code, said = georank(folder, *georank.train, kill_at=number, at_signal=signal.SIGTERM)
        assert "Traceback" not in said, said
        if code == 0:  # the last moments
            assert number > changes - 4, said
        else:
            assert code == 143, said
            began = (folder / "runs/x").exists()
            assert ("train runs/x --resume`" if began else "repeat the command") in said, said
            left = {name for name in hidden(folder) if not name.endswith(".lock")}
            assert not left, (number, left)
        code, said = georank(folder, *georank.train, "--resume")
        assert code == 0 and not hidden(folder), said
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["run.json", pytest.param("*", marks=pytest.mark.slow)])
def test_a_disk_that_takes_no_more(
    name: str, georank: Georank, whole: tuple[dict[str, bytes], int], tmp_path: Path
) -> None:
    expected = whole[0]
    sizes = {len(content) for path, content in expected.items() if Path(path).match(name)}
    for limit in sorted(size - 1 for size in sizes if size > 100):
        folder = tmp_path / str(limit)
        folder.mkdir()
        code, said = georank(folder, *georank.train, limit=limit)
        assert code == 1 and "may not grow further" in said and "Traceback" not in said, said
        began = (folder / "runs/x").exists()
        assert ("continue with `georank train runs/x --resume`" if began else "repeat") in said
        assert "at runs/x" in said and not hidden(folder)
        go_on(georank, folder, expected, ways=3 if name == "*" else 1)
