"""A process that has imported everything and forks for each command, with a fault at a moment.

Requests and answers are lines of JSON on its standard input and output. Run by `commands.Server`.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import pkgutil
import resource
import signal
import sys
import time
import traceback
from dataclasses import replace
from typing import Any, NoReturn

import rasterio
import timm  # noqa: F401
from huggingface_hub import constants

import georank_cli
import georank_zoo
from georank_cli.main import main
from georank_zoo.data.datasets import DATASETS
from georank_zoo.data.datasets.base import Archive, Checksum, Download, RemoteFile

_EVENTS = {
    "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink",
    "os.chmod", "os.utime",
}  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_pipes: dict[int, tuple[int, int]] = {}


def _install(root: str, at: int, number: int) -> list[int]:
    """Counts the changes of the file system below a folder; the at-th finds a signal sent."""
    count = [0]
    sync = os.fsync

    def change(where: object) -> None:
        if isinstance(where, bytes):
            where = os.fsdecode(where)
        if isinstance(where, str | os.PathLike):
            where = os.path.abspath(where)  # noqa: PTH100 - no link is to be followed
            if not where.startswith(root):
                return
        count[0] += 1
        if count[0] == at:
            os.kill(os.getpid(), number)

    def audit(event: str, args: tuple[Any, ...]) -> None:
        if event in _EVENTS or (
            event == "open" and not isinstance(args[0], int) and args[2] & _WRITES
        ):
            change(args[0])

    def fsync(file: int) -> None:
        change(None)
        sync(file)

    sys.addaudithook(audit)
    os.fsync = fsync
    return count


def _serve(archive: dict[str, Any]) -> None:
    """Lets EuroSAT be a zip at an address."""
    facts = {key: archive[key] for key in ("url", "size")}
    part = RemoteFile("a.zip", **facts, checksum=Checksum("sha256", archive["sha256"]))
    source = Download(
        landing="https://example.org", size="small", by_hand=(),
        archive=Archive((part,), "zip", unpacked_bytes=10 * archive["size"]),
    )  # fmt: skip
    DATASETS["eurosat"] = replace(DATASETS["eurosat"], download=source)


def _child(request: dict[str, Any], log: int, told: int) -> NoReturn:
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(request["cwd"])
    os.environ |= request["environment"]
    constants.HF_HUB_CACHE = os.path.join(os.environ["XDG_CACHE_HOME"], "hub")  # noqa: PTH118
    if limit := request.get("limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        kill = request.get("signal") == signal.SIGKILL
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if kill else signal.SIG_IGN)
    if archive := request.get("archive"):
        _serve(archive)
    code, count = 70, [0]
    try:
        count = _install(request["root"], request.get("at", 0), request.get("signal", 0))
        main(request["arguments"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:  # noqa: BLE001 - a traceback of any kind is a finding
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(told, str(count[0]).encode())
    os._exit(code)


def _start(request: dict[str, Any]) -> int:
    log, told = os.pipe(), os.pipe()
    fcntl.fcntl(log[1], fcntl.F_SETPIPE_SZ, 1 << 20)
    pid = os.fork()
    if pid == 0:
        _child(request, log[1], told[1])
    os.close(log[1])
    os.close(told[1])
    _pipes[pid] = log[0], told[0]
    return pid


def _wait(pid: int, seconds: float) -> dict[str, Any] | None:
    """How a command ended; None if it still runs."""
    end = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > end:
            return None
        time.sleep(0.005)
    log, told = _pipes.pop(pid)
    text = b""
    os.set_blocking(log, False)  # a grandchild may hold the other end
    while part := _read(log):
        text += part
    os.set_blocking(told, False)
    count = int(_read(told) or 0)
    os.close(log)
    os.close(told)
    return {
        "code": os.waitstatus_to_exitcode(status), "text": text.decode(errors="replace"),
        "changes": count,
    }  # fmt: skip


def _read(pipe: int) -> bytes:
    try:
        return os.read(pipe, 1 << 20)
    except BlockingIOError:
        return b""


def _import_all() -> None:
    for package in (georank_zoo, georank_cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    for name in ("matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg",
                 "pyarrow.parquet", "torch._dynamo", "onnxscript", "onnxruntime", "sklearn",
                 "torch.onnx._internal.exporter._core"):  # fmt: skip
        importlib.import_module(name)
    with rasterio.Env():
        pass


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _import_all()
    for line in sys.stdin:
        asked = json.loads(line)
        found = _wait(asked["pid"], asked["seconds"]) if "pid" in asked else _start(asked)
        answers.write(json.dumps(found) + "\n")
        answers.flush()
