"""The command line: quick, lazy, and clear about what went wrong."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from georank_zoo.training.recipe import list_recipes, load_recipe
from tests.support.command_line import run
from tests.support.models import make_store


def georank(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "georank_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize("argument", ["--help", "--version", "-h"])
def test_help_and_version_import_nothing_heavy(argument: str) -> None:
    code = (
        "import sys\nfrom georank_cli.main import main\n"
        f"try:\n    main([{argument!r}])\nexcept SystemExit as e:\n    assert e.code == 0\n"
        "heavy = {'torch', 'timm', 'rasterio', 'numpy', 'pydantic', 'matplotlib', 'accelerate'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("HEAVY []")


@pytest.mark.parametrize(
    "command", ["data", "train", "eval", "export", "features", "push", "recipes", "demo"]
)
def test_help_of_each_command_is_quick(command: str) -> None:
    done = georank(command, "--help")
    assert done.returncode == 0 and "Usage: georank" in done.stdout
    assert "Traceback" not in done.stderr


def test_recipes() -> None:
    listed = georank("recipes", "list")
    assert listed.returncode == 0 and "georank-moco-r18" in listed.stdout
    assert georank("recipes").stdout == listed.stdout
    # Each name stands whole on a line of its own, whatever the terminal's width.
    first = [line.split()[0] for line in listed.stdout.splitlines() if line.strip()]
    names = list_recipes()
    assert {*names, *(load_recipe(name).name for name in names)} <= set(first)
    assert max(map(len, listed.stdout.splitlines())) <= 100
    shown = georank("recipes", "show", "moco_georank", "--set", "seed=3")
    assert "seed: 3" in shown.stdout and "# hash " in shown.stdout
    assert georank("recipes", "schema").stdout.startswith("{")


def test_train_eval_export(tmp_path: Path) -> None:
    from tests.support.training import TINY

    store = make_store(tmp_path / "store", [0, 1] * 16)
    sets = [part for override in (*TINY, "train.steps=2") for part in ("--set", override)]
    trained = georank("train", "moco_georank", "--data", "store", *sets, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "2/2" in trained.stderr and "img/s" in trained.stderr
    run = "runs/georank-moco-r18"
    evaluated = georank(
        "eval", run, "--task", "folder", "--data", "store", "--split", "loo", "--size", "16",
        "--results", "results.csv", cwd=tmp_path,
    )  # fmt: skip
    assert evaluated.returncode == 0, evaluated.stderr
    assert "image statistics" in evaluated.stdout and (tmp_path / "results.csv").is_file()
    exported = georank("export", run, "--out", "copy", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    one, two = (
        (tmp_path / folder / "model.safetensors").read_bytes()
        for folder in (f"{run}/export", "copy")
    )
    assert one == two
    again = georank("train", "moco_georank", "--data", "store", *sets, cwd=tmp_path)
    assert again.returncode == 2 and "--resume" in again.stderr
    assert len(store) == 32


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "moco", "--data", "nowhere"], 1, "No store at nowhere"),
        (["train", "moca"], 2, "Did you mean 'moco'?"),
        (["train", "nope/r.yaml"], 2, "No recipe at nope/r.yaml"),
        (["train", "moco", "--set", "trian.steps=3"], 2, "Did you mean 'train'?"),
        (["train", "moco", "--set", "algorithm.name=mocov2"], 2, "Did you mean 'moco'?"),
        (["eval", "nowhere", "--task", "eurosat", "--data", "nowhere"], 1, "No store at nowhere"),
        (["export", "nowhere"], 2, "is not a run folder"),
        (["fly"], 2, "No such command 'fly'"),
        (["recipes", "show", "moco", "--set", "x"], 2, "An override is section.key=value"),
    ],
)
def test_errors_are_sentences(
    arguments: list[str], code: int, message: str, tmp_path: Path
) -> None:
    done = georank(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = georank("train", "moco", "--data", "nowhere", "--debug", cwd=tmp_path)
    assert done.returncode != 0 and "Traceback" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="limits a file's size by a POSIX call")
def test_a_disk_that_takes_no_more_is_an_error_in_words(tmp_path: Path) -> None:
    import resource

    from tests.support.training import TINY

    make_store(tmp_path / "store", [0] * 32)
    command = [sys.executable, "-m", "georank_cli", "train", "moco", "--data", "store"]
    for override in (*TINY, "train.steps=4", "backbone.name=resnet18"):
        command += ["--set", override]
    limit = 8 * 2**20  # far less than a checkpoint
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "may not grow further" in done.stderr and "Traceback" not in done.stderr
    assert "continue with `georank train runs/moco-r18 --resume`" in done.stderr
    left = {path.name for path in (tmp_path / "runs" / "moco-r18").rglob("*")}
    assert left == {"recipe.yaml", "run.json", "footprint.json", "metrics.jsonl", "checkpoints"}
    resumed = georank("train", "runs/moco-r18", "--resume", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"moco-r18"}


def test_interrupt_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    import signal

    from tests.support.training import TINY

    make_store(tmp_path / "store", [0] * 32)
    command = [sys.executable, "-m", "georank_cli", "train", "moco", "--data", "store"]
    for override in (*TINY, "train.steps=100000"):
        command += ["--set", override]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "runs" / "moco-r18" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (metrics.is_file() and metrics.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "`georank train runs/moco-r18 --resume`" in error and "Traceback" not in error
    assert list((tmp_path / "runs" / "moco-r18" / "checkpoints").glob("step-*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "run", "--out", ""), "--out is empty"),
        (("export", "run", "--out="), "--out is empty"),
        (("train", " "), "An argument is empty"),
        (("data", "info", ""), "An argument is empty"),
        (("data", "info", "."), "No store at ."),
        (("data", "verify", "/"), "No store at /"),
        (("data", "info", ".."), "No store at .."),
    ],
)
def test_what_names_no_file(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == (2 if "empty" in message else 1)
    shown = capsys.readouterr()
    assert message in shown.err and shown.out == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "number"),
    [("click", 2), ("georank_zoo.utils.errors", 2), ("torch", 2), ("torch", 15), ("torch", 1)],
)
def test_a_signal_while_modules_are_imported(module: str, number: int) -> None:
    code = f"""
import os, sys
class Finder:
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Finder)
sys.argv = ["georank", "recipes", "show", "moco"]
from georank_cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "Interrupted.\n")


def test_what_python_writes_goes_through_the_gate() -> None:
    code = (
        "import logging, warnings\nfrom georank_cli import main\n"
        "try:\n    main(['--version'])\nexcept SystemExit:\n    pass\n"
        "warnings.warn('a\\x1b[2Jb')\nlogging.getLogger('x').warning('e\\x1b[2Jf')\n"
        "raise RuntimeError('c\\x1b[2Jd')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "\x1b" not in done.stderr
    assert r"UserWarning: a\x1b[2Jb" in done.stderr and r"e\x1b[2Jf" in done.stderr
    assert r"RuntimeError: c\x1b[2Jd" in done.stderr


@pytest.mark.parametrize(
    "command",
    ["data info", "data verify", "data prepare eurosat --out o", "train moco --out o --data",
     "doctor", "features --out o.tif", "compare"],
)  # fmt: skip
def test_a_link_to_itself_is_named(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    arguments = [*command.split(), "loop"]
    if command.startswith("features"):
        arguments.append("loop")
    assert run(*arguments) in (1, 2)
    said = capsys.readouterr().err
    assert "loop" in said and "fault of georank-zoo" not in said and "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]
