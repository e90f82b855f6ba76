"""`georank release`: all checks before the first write, each run once, on again from anywhere."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from georank_cli.main import main
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.eval.results import table as results
from georank_zoo.publish.catalog import read_catalog
from georank_zoo.publish.verify import verify_model
from georank_zoo.training.run import open_run
from georank_zoo.utils.files import sha256_of
from tests.support.card_parts import row
from tests.support.hub import Hub
from tests.support.hub.client import environment
from tests.support.models import edit_config, make_store
from tests.support.pushing import kinds, on_hub
from tests.support.zoo_parts import finished_run

NAMES = ("georank-moco-r18", "moco-r18")
REPOS = tuple(f"org/{name}" for name in NAMES)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    store: PatchStore = make_store(folder / "store", [0, 1] * 16)
    for name, recipe in zip(NAMES, ("moco_georank", "moco"), strict=True):
        finished_run(store, folder / "runs" / name, recipe)
    return folder / "runs"


@pytest.fixture
def runs(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    shutil.copytree(trained, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return [Path("runs") / name for name in NAMES]


@pytest.fixture
def scores(runs: list[Path]) -> Path:
    path = Path("results.csv")
    hashes = [sha256_of(run / "export" / "model.safetensors") for run in runs]
    results.append_rows(path, [row(name, sha) for name, sha in zip(NAMES, hashes, strict=True)])
    return path


Release = Callable[..., tuple[int, str, str]]


@pytest.fixture
def release(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> Release:
    def call(*arguments: object, paths: list[Path] | None = None) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["release", *map(str, paths or runs), "--org", "org", *map(str, arguments)])
        shown = capsys.readouterr()
        return int(stopped.value.code or 0), shown.out, shown.err

    return call


def is_released(hub: Hub, runs: list[Path], path: Path = Path("models.json")) -> None:
    """Both are on the Hub, public and whole, and the catalog says so."""
    models = read_catalog(path).models
    assert sorted(models) == sorted(NAMES)
    for name, run in zip(NAMES, runs, strict=True):
        repo = hub.repos[f"org/{name}"]
        assert not repo.private and len(repo.history("main")) == 2
        assert models[name].revision == repo.head.oid
        files = {p.name: p.read_bytes() for p in (run / "export").iterdir()}
        assert on_hub(hub, repo.name) == files
        assert set(models[name].files) == set(files)
        done = verify_model(name, catalog=read_catalog(path))
        assert done.name == name and set(done.files) == set(files)


def test_a_release_and_the_same_again(
    hub: Hub, runs: list[Path], scores: Path, release: Release
) -> None:
    shutil.rmtree(runs[1] / "export")  # it is exported then
    code, out, err = release("--results", scores, "--tag", "v1.0", "--license", "cc-by-4.0")
    assert code == 0, err
    is_released(hub, runs)
    assert kinds(hub) == ["create", "object", "commit", "tag", "settings"] * 2
    for name, recipe in zip(NAMES, ("moco_georank", "moco"), strict=True):
        entry = read_catalog("models.json").models[name]
        run = open_run(Path("runs") / name)
        assert entry.recipe == recipe and entry.recipe_hash == run.recipe.hash
        assert {"backbone.name", "train.steps"} <= set(entry.recipe_changes)
        assert (entry.repo, entry.tag, entry.license) == (f"org/{name}", "v1.0", "cc-by-4.0")
        assert hub.repos[entry.repo].tags == {"v1.0": entry.revision}
        assert entry.trained_on == "32 places" and entry.image_size == 16
        (score,) = entry.scores
        assert (score.task, score.k, score.metric) == ("eurosat", 10, "accuracy_macro")
        card = on_hub(hub, entry.repo)["README.md"].decode()
        assert f"{100 * score.value:.1f}" in card and f"hf-hub:org/{name}@v1.0" in card
    assert out.count("published") >= 2

    before = Path("models.json").read_bytes(), Path("models.json").stat().st_mtime_ns
    hub.writes.clear()
    hub.downloads.clear()
    code, out, err = release("--results", scores, "--tag", "v1.0", "--license", "cc-by-4.0")
    assert code == 0, err
    assert hub.writes == [] and hub.downloads == [] and out.count("unchanged") == 2
    assert (Path("models.json").read_bytes(), Path("models.json").stat().st_mtime_ns) == before

    # Without the catalog, the Hub is asked, verified anew, and recorded.
    Path("models.json").unlink()
    code, out, _ = release("--results", scores, "--tag", "v1.0", "--license", "cc-by-4.0")
    assert code == 0 and hub.writes == [] and out.count("recorded") == 2
    assert Path("models.json").read_bytes() == before[0]


def test_a_dry_run_writes_nothing(hub: Hub, runs: list[Path], release: Release) -> None:
    code, out, err = release("--dry-run")
    assert code == 0, err
    assert "Dry run: nothing was sent." in out and all(repo in out for repo in REPOS)
    assert hub.writes == [] and hub.repos == {} and not Path("models.json").exists()
    assert "no score" in (runs[0] / "export" / "README.md").read_text().lower()


def test_private(hub: Hub, runs: list[Path], release: Release) -> None:
    assert release("--private", paths=runs[:1])[0] == 0
    assert hub.repos[REPOS[0]].private
    assert list(read_catalog("models.json").models) == [NAMES[0]]


def _unfinish(run: Path) -> None:
    open_run(run).update(status="started")


def _swap_bands(run: Path) -> None:
    config = json.loads((run / "export" / "config.json").read_text())
    bands = config["georank"]["bands"]
    edit_config(run / "export", georank__bands=[bands[1], bands[0], *bands[2:]])


def _add_pickle(run: Path) -> None:
    (run / "export" / "pytorch_model.bin").write_bytes(b"evil")


def _halve(run: Path) -> None:
    path = run / "export" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_unfinish, "has not finished (it is 'started')"),
        (_swap_bands, "gives other features than when it was exported"),
        (_add_pickle, "pytorch_model.bin"),
        (_halve, "damaged"),
    ],
)
def test_one_bad_run_and_nothing_is_sent(
    hub: Hub, runs: list[Path], release: Release, change: Callable[[Path], None], said: str
) -> None:
    change(runs[1])
    code, _, err = release()
    assert code in (1, 2) and said in err
    assert hub.writes == [] and hub.repos == {} and not Path("models.json").exists()


def test_checks_of_the_hub_come_before_the_first_write(
    hub: Hub, runs: list[Path], release: Release
) -> None:
    hub.add(REPOS[1])
    hub.commit(REPOS[1], {"old.bin": b"evil"})
    code, out, err = release()
    assert code == 1 and "old.bin" in err and "1 of 2 runs cannot be published" in err
    assert f"{runs[0]}: ready." in out and f"{runs[1]}: not ready." in out
    assert hub.writes == []


def test_scores_that_are_not_there(
    hub: Hub, runs: list[Path], scores: Path, release: Release
) -> None:
    lines = scores.read_text().splitlines(keepends=True)
    scores.write_text("".join(line for line in lines if ",moco-r18," not in line))
    code, _, err = release("--results", scores)
    assert code == 1 and "has no row of the weights" in err and "georank eval runs/moco-r18" in err
    assert hub.writes == []


def test_the_same_model_twice(hub: Hub, runs: list[Path], release: Release) -> None:
    code, _, err = release(paths=[runs[0], runs[1], runs[0]])
    assert code == 2 and "both called georank-moco-r18" in err
    assert hub.requests == []


def test_a_catalog_that_cannot_be_written(hub: Hub, release: Release, tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text("[]")
    code, _, err = release()
    assert code == 1 and "models.json is not a catalog" in err
    assert hub.writes == []


def test_one_failure_does_not_keep_the_other_back(
    hub: Hub, runs: list[Path], release: Release
) -> None:
    hub.fail("POST", f"{REPOS[0]}/commit", "status", status=500)
    code, out, err = release()
    assert code == 1 and "The Hub failed (500)" in err and "1 not published" in err
    assert "failed" in out and list(read_catalog("models.json").models) == [NAMES[1]]
    assert hub.repos[REPOS[0]].private and on_hub(hub, REPOS[0]) == {}
    hub.writes.clear()
    code, out, err = release()
    assert code == 0, err
    assert kinds(hub) == ["commit", "settings"], "more than what was lacking"
    assert "unchanged" in out
    is_released(hub, runs)


def test_a_token_that_is_no_longer_known_stops_all(
    hub: Hub, runs: list[Path], release: Release
) -> None:
    hub.fail("POST", f"{REPOS[0]}/commit", "status", status=401)
    code, out, err = release()
    assert code == 1 and "does not know your token (401)" in err and "2 not published" in err
    assert "not tried" in out and REPOS[1] not in hub.repos
    assert release()[0] == 0
    is_released(hub, runs)


def test_no_token(hub: Hub, release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    code, _, err = release()
    assert code == 1 and err.count("Found no token") == 1
    assert hub.writes == []


def test_a_tag_is_not_moved(hub: Hub, runs: list[Path], scores: Path, release: Release) -> None:
    one = runs[:1]
    assert release("--tag", "v1.0", paths=one)[0] == 0
    before = Path("models.json").read_bytes()
    hub.writes.clear()
    code, _, err = release(
        "--tag", "v1.0", "--results", scores, paths=one
    )  # the cards have changed
    assert code == 1 and "choose another tag" in err and hub.writes == []
    assert Path("models.json").read_bytes() == before
    assert release("--tag", "v1.1", "--results", scores, paths=one)[0] == 0
    assert kinds(hub) == ["commit", "tag"]
    models = read_catalog("models.json").models
    assert all(entry.tag == "v1.1" and entry.scores for entry in models.values())


def test_killed_after_the_first_of_two(
    hub: Hub, runs: list[Path], release: Release, tmp_path: Path
) -> None:
    held = threading.Event()
    hub.fail("POST", f"{REPOS[1]}/commit", "cut", meanwhile=lambda: held.wait(60))
    command = [sys.executable, "-m", "georank_cli", "release", *map(str, runs), "--org", "org"]
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)  # noqa: PTH100
    where = {**os.environ, **environment(hub, tmp_path / "hf"), "PYTHONPATH": path}
    process = subprocess.Popen(command, env=where, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while f"create {REPOS[1]} private" not in hub.writes:
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert list(read_catalog("models.json").models) == [NAMES[0]]
    assert not hub.repos[REPOS[0]].private
    assert hub.repos[REPOS[1]].private and on_hub(hub, REPOS[1]) == {}
    held.set()
    hub.heal()
    first = hub.repos[REPOS[0]].head.oid
    hub.writes.clear()
    code, out, err = release()
    assert code == 0, err
    assert not [write for write in hub.writes if REPOS[0] in write], "the first was sent again"
    assert hub.repos[REPOS[0]].head.oid == first and "unchanged" in out
    assert kinds(hub)[-2:] == ["commit", "settings"]
    is_released(hub, runs)
