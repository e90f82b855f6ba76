"""Commands that write, and what a fault in the middle of one leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.hub import Hub
from tests.support.hub.client import environment

ROOT = Path(__file__).parents[2]
# What tells nothing: when something was done, and in which commit.
_TIMES = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[\d.:+Z]*|(?<=revision\": \")[0-9a-f]{40}")
SECONDS = 120.0


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Attributes:
        name: For the tests' names.
        arguments: In a folder of copies of its inputs.
        inputs: Names of what it reads or changes, see `Inputs`.
        appends: Whether two at once both succeed, in turn.
        every: The moments tried are every so many changes, where it takes long.
        varies: Files, as a pattern, that hold times or a measure of them.
    """

    name: str
    arguments: str
    inputs: tuple[str, ...] = ()
    appends: bool = False
    every: int = 1
    varies: str = ""


@dataclass
class Ended:
    """How a command ended: its exit code, what it said, and the changes that it made."""

    code: int
    text: str
    changes: int


class Server:
    """Runs commands in forks of a process that has imported everything."""

    def __init__(self, cache: Path, hub: Hub) -> None:
        self._environment = os.environ | environment(hub, cache) | {
            "OMP_NUM_THREADS": "1", "MPLCONFIGDIR": str(cache), "PYTHONPATH": str(ROOT),
            "HF_HUB_DISABLE_XET": "1",
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.server"], cwd=ROOT, env=self._environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, arguments: str, folder: Path, **fault: Any) -> int:
        """Starts a command in a folder; `at` and `signal` send one at a change, `limit` bytes."""
        environment = {
            "XDG_CACHE_HOME": str(folder / "cache"),
            "HOME": str(folder),
            "TMPDIR": str(folder / "tmp"),
        }
        return int(self._ask({
            "arguments": arguments.split(), "cwd": str(folder), "root": str(folder),
            "environment": environment, **fault,
        }))  # fmt: skip

    def wait(self, pid: int, seconds: float = SECONDS) -> Ended | None:
        found = self._ask({"pid": pid, "seconds": seconds})
        return found and Ended(**found)

    def run(self, arguments: str, folder: Path, **fault: Any) -> Ended:
        pid = self.start(arguments, folder, **fault)
        ended = self.wait(pid)
        if ended is None:
            os.killpg(pid, signal.SIGKILL)
            self.wait(pid)
            return Ended(-1000, "hangs", 0)
        return ended


def state_of(folder: Path) -> dict[str, str]:
    """All files and folders below a folder, with the files' hashes but for times in them."""
    found = {}
    shutil.rmtree(folder / "cache" / "hub", ignore_errors=True)  # the client's own
    for path in sorted(folder.rglob("*")):
        content = "folder"
        if path.is_file():
            data = path.read_bytes()
            if path.suffix in (".csv", ".json", ".jsonl", ".md"):
                data = _TIMES.sub(b"TIME", data)
            content = hashlib.sha256(data).hexdigest()
        name = str(path.relative_to(folder))
        # Predictions are named by the time of their rows.
        found[re.sub(r"(_predictions/).*", rf"\g<1>{content}", name)] = content
    return found


@dataclass
class Tally:
    """What attempts found, by kind; the first of each kind in words."""

    tried: int = 0
    found: Counter[str] = field(default_factory=Counter)
    words: dict[str, str] = field(default_factory=dict)

    def note(self, kind: str, words: str) -> None:
        self.found[kind] += 1
        self.words.setdefault(kind, words)

    def __str__(self) -> str:
        return f"{self.tried} tried, {dict(self.found)}\n" + "\n".join(
            f"--- {kind}: {words}" for kind, words in self.words.items()
        )


class Attempts:
    """Attempts at one command, each in a new folder."""

    def __init__(
        self,
        server: Server,
        command: Command,
        inputs: Path,
        folder: Path,
        archive: dict[str, Any] | None = None,
        restore: Callable[[], object] = lambda: None,
    ) -> None:
        """`restore` gives back what lies elsewhere, before each attempt."""
        self.archive, self._restore = archive, restore
        self.server, self.command, self.inputs, self.root = server, command, inputs, folder
        self.tally = Tally()
        self._number = 0
        first = self.folder()
        undisturbed = server.run(command.arguments, first, archive=archive)
        assert undisturbed.code == 0, undisturbed.text
        self.changes = undisturbed.changes
        self.moments = range(1, undisturbed.changes + 1, command.every)
        self.expected = state_of(first)
        self.largest = max(
            (path.stat().st_size for path in first.rglob("*") if path.is_file()), default=0
        )
        shutil.rmtree(first)

    def folder(self) -> Path:
        self._number += 1
        self._restore()
        folder = self.root / str(self._number)
        (folder / "tmp").mkdir(parents=True)
        for name in self.command.inputs:
            source = self.inputs / name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / name)
        return folder

    def kill(self, moments: Sequence[int]) -> None:
        """Kills before each of these changes, and repeats the command."""
        for at in moments:
            self._disturb(f"killed at {at}", (-signal.SIGKILL,), at=at, signal=signal.SIGKILL)

    def kill_within(self, limits: Sequence[int]) -> None:
        """Kills when a file grows beyond so many bytes."""
        for limit in limits:
            self._disturb(
                f"killed at byte {limit}", (-signal.SIGXFSZ, 0), limit=limit, signal=signal.SIGKILL
            )

    def terminate(self, moments: Sequence[int]) -> None:
        """Sends SIGTERM before each of these changes."""
        for at in moments:
            self._disturb(f"terminated at {at}", (143, 0), at=at, signal=signal.SIGTERM)

    def fill(self, limits: Sequence[int]) -> None:
        """Lets no file grow beyond so many bytes."""
        for limit in limits:
            self._disturb(f"limit {limit}", (1, 0), limit=limit)

    def meet(self, moments: Sequence[int]) -> None:
        """Starts the command a second time while the first is stopped before such a change."""
        for at in moments:
            self.tally.tried += 1
            folder, words = self.folder(), f"two at {at}: "
            first = self.server.start(
                self.command.arguments, folder, archive=self.archive, at=at, signal=signal.SIGSTOP
            )
            stopped(first)
            pid = self.server.start(self.command.arguments, folder, archive=self.archive)
            second = self.server.wait(pid, 0.7)
            os.kill(first, signal.SIGCONT)
            ended = self.server.wait(first) or Ended(-1000, "hangs", 0)
            second = second or self.server.wait(pid) or Ended(-1000, "hangs", 0)
            refused = "is being written by another process" in second.text
            # Before it took the lock, the first one has not begun.
            if ended.code != 0 and not (second.code == 0 and "exists" in ended.text):
                self.tally.note("first fails", words + ended.text)
            elif second.code != 0 and not refused and "exists" not in second.text:
                self.tally.note("second fails", words + second.text)
            elif self.command.appends and second.code != 0:
                self.tally.note("does not wait", words + second.text)
            elif not self.command.appends:
                self._compare(folder, words)
            shutil.rmtree(folder)

    def _disturb(self, words: str, codes: Sequence[int], **fault: int) -> None:
        self.tally.tried += 1
        folder = self.folder()
        ended = self.server.run(self.command.arguments, folder, archive=self.archive, **fault)
        words = f"{self.command.name} {words}: "
        if ended.code not in codes:
            kind = "hangs" if ended.code == -1000 else "wrong exit"
            self.tally.note(kind, f"{words}{ended.code} {ended.text}")
        if "Traceback" in ended.text or ended.code == 70:
            self.tally.note("tracebacks", words + ended.text)
        full = r"(disk is full|may not grow|cannot be written).* (at|in) .*(room|epeat)"
        if ended.code == 1 and not re.search(full, ended.text, re.DOTALL):
            self.tally.note("poor words", words + ended.text)
        if ended.code == 143 and "epeat" not in ended.text:
            self.tally.note("poor words", words + ended.text)
        if ended.code == 0:
            self._compare(folder, words)
            shutil.rmtree(folder)
            return
        again = self.server.run(self.command.arguments, folder, archive=self.archive)
        if again.code != 0:
            self.tally.note("hangs" if again.code == -1000 else "blocked", words + again.text)
        else:
            self._compare(folder, words)
        shutil.rmtree(folder)

    def _compare(self, folder: Path, words: str) -> None:
        found = state_of(folder)
        more = sorted(set(found) - set(self.expected))
        varies = re.compile(self.command.varies or "$")
        other = [
            name for name in self.expected
            if found.get(name) != self.expected[name]
            and not (name in found and varies.search(name))
        ]  # fmt: skip
        if more:
            self.tally.note("leftovers", f"{words}{more}")
        if other:
            self.tally.note("silent", f"{words}{other} differ")


def stopped(pid: int) -> None:
    """Waits until a process is stopped, or has ended."""
    while True:
        try:
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if status in "TZ":
            return
