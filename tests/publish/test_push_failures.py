"""`georank push` when something breaks: what is said, what is published, and that it goes on."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from georank_zoo.publish import repo as hub_repo
from georank_zoo.publish.checks import CheckedFolder
from georank_zoo.publish.plan import is_public_pending, plan_push
from georank_zoo.utils.errors import HubError, Interrupted
from tests.support.hub import Hub
from tests.support.hub.client import environment
from tests.support.pushing import REPO, kinds, loads_as, make_model, on_hub, push, shown


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CheckedFolder:
    return make_model(tmp_path_factory.mktemp("push") / "export")


def again(hub: Hub, model: CheckedFolder, **options: object) -> None:
    """What each message promises: the same command, and all is well."""
    hub.heal()
    done, _ = push(model, **options)
    repo = hub.repos[REPO]
    assert on_hub(hub) == shown(model) and not repo.private
    assert repo.head.oid == done.commit and len(repo.history("main")) == 2
    assert loads_as(f"hf-hub:{REPO}@{done.commit}", model)
    assert not is_public_pending(REPO)
    hub.writes.clear()
    push(model, **options)
    assert hub.writes == [] and not hub.leaks


def test_nothing_listens(hub: Hub, model: CheckedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"connection to http://127.0.0.1:9 broke"):
        push(model)


def test_the_hub_does_not_answer(
    hub: Hub, model: CheckedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_repo, "PATIENCE", 0.1)
    held = threading.Event()
    hub.fail("GET", "api/models", None, meanwhile=lambda: held.wait(20))
    with pytest.raises(HubError, match=r"connection .* broke: .*timed out"):
        push(model)
    held.set()
    assert hub.writes == []


def test_offline_mode(hub: Hub, model: CheckedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set: unset it"):
        push(model)
    assert hub.requests == []


@pytest.mark.parametrize("kind", ["status", "cut"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "whoami"), ("GET", REPO + "$"), ("GET", "refs"), ("GET", "auth-check")],
)
def test_the_hub_fails_before_anything_is_written(
    hub: Hub, model: CheckedFolder, method: str, path: str, kind: str
) -> None:
    hub.add(REPO)
    hub.fail(method, path, kind)
    with pytest.raises(
        HubError, match=r"failed .503." if kind == "status" else r"connection .*broke"
    ):
        push(model)
    assert hub.writes == []
    again(hub, model)


def test_the_card_is_checked_again_with_the_commit(hub: Hub, model: CheckedFolder) -> None:
    hub.fail("POST", "validate-yaml", "status")
    push(model)
    assert kinds(hub)[-1] == "settings"


@pytest.mark.parametrize("kind", ["status", "cut", "lose"])
def test_creating_fails(hub: Hub, model: CheckedFolder, kind: str) -> None:
    hub.fail("POST", "repos/create", kind)
    with pytest.raises(HubError, match=r"Nothing was published. Run the same command again"):
        push(model)
    assert kinds(hub) == (["create"] if kind == "lose" else [])
    assert all(repo.private for repo in hub.repos.values())
    again(hub, model)


def test_somebody_else_creates_it_first(hub: Hub, model: CheckedFolder) -> None:
    hub.fail("POST", "repos/create", None, meanwhile=lambda: hub.add(REPO, private=True))
    with pytest.raises(HubError, match="somebody else created it while this push ran"):
        push(model)
    assert hub.writes == []
    done, _ = push(model)
    assert done.private, "somebody else's private repository was opened"


def test_an_upload_that_is_cut_once(hub: Hub, model: CheckedFolder) -> None:
    hub.fail("PUT", "/objects/", "cut")
    push(model)
    assert kinds(hub) == ["create", "object", "commit", "settings"]


def test_an_upload_that_is_always_cut(any_hub: Hub, model: CheckedFolder) -> None:
    hub = any_hub
    hub.fail("PUT", "/objects/", "cut", times=None)
    hub.fail("POST", "/v1/xorbs", "cut", times=None)
    with pytest.raises(HubError, match=r"connection .* broke.*Nothing was published"):
        push(model)
    assert hub.repos[REPO].private and on_hub(hub) == {}
    assert kinds(hub) == ["create"]
    again(hub, model)


def test_a_refused_xet_token(any_hub: Hub, model: CheckedFolder) -> None:
    any_hub.fail("GET", "xet-write-token", "status", status=403, times=None)
    any_hub.fail("POST", "lfs/objects/batch", "status", status=403, times=None)
    with pytest.raises(HubError, match=r"403.*Nothing was published"):
        push(model)
    assert kinds(any_hub) == ["create"]
    again(any_hub, model)


def test_a_busy_hub_is_asked_again(hub: Hub, model: CheckedFolder) -> None:
    hub.fail("POST", "preupload", "status", times=2)
    hub.fail("POST", "lfs/objects/batch", "status", status=429, headers={"Retry-After": "1"})
    push(model)
    assert kinds(hub) == ["create", "object", "commit", "settings"]


@pytest.mark.parametrize("kind", ["status", "cut"])
def test_the_commit_fails(any_hub: Hub, model: CheckedFolder, kind: str) -> None:
    hub = any_hub
    hub.fail("POST", "/commit/", kind)
    with pytest.raises(HubError, match=r"Nothing was published. Run the same command again"):
        push(model, tag="v1")
    assert on_hub(hub) == {} and hub.repos[REPO].private and not hub.repos[REPO].tags
    hub.writes.clear()
    again(hub, model, tag="v1")


def test_what_arrived_is_not_sent_twice(hub: Hub, model: CheckedFolder) -> None:
    hub.fail("POST", "/commit/", "status")
    with pytest.raises(HubError):
        push(model)
    push(model)
    assert kinds(hub).count("object") == 1


@pytest.mark.parametrize("private", [False, True])
def test_the_answer_to_the_commit_is_lost(
    any_hub: Hub, model: CheckedFolder, private: bool
) -> None:
    hub = any_hub
    hub.fail("POST", "/commit/", "lose")
    done, said = push(model, tag="v1", private=private)
    assert "The commit had arrived although its answer was lost." in said
    assert kinds(hub).count("commit") == 1 and hub.repos[REPO].tags == {"v1": done.commit}
    assert done.private == private == hub.repos[REPO].private


def test_the_answer_is_lost_and_then_the_hub(hub: Hub, model: CheckedFolder) -> None:
    hub.fail("POST", "/commit/", "lose", meanwhile=lambda: hub.fail("GET", REPO, "cut", times=None))
    with pytest.raises(HubError, match=r"Whether the commit arrived is not known. Run the same"):
        push(model, tag="v1")
    assert hub.repos[REPO].private
    again(hub, model, tag="v1")


def test_somebody_else_commits_meanwhile(any_hub: Hub, model: CheckedFolder) -> None:
    hub = any_hub
    hub.add(REPO)
    theirs = {"config.json": b"{}"}
    hub.fail("POST", "/commit/", None, meanwhile=lambda: hub.commit(REPO, theirs))
    with pytest.raises(HubError, match=r"changed while this push ran \(412\): nothing of yours"):
        push(model, tag="v1")
    assert on_hub(hub) == theirs and "commit" not in kinds(hub) and not hub.repos[REPO].tags
    push(model, tag="v1")
    assert on_hub(hub) == shown(model)


def test_the_download_is_damaged(any_hub: Hub, model: CheckedFolder) -> None:
    hub = any_hub
    hub.fail("GET", "/objects/", "damage", times=None)
    hub.fail("GET", "^/xorbs/", "damage", times=None)
    with pytest.raises(HubError, match=r"Published as .*stays private. Run the same command again"):
        push(model, tag="v1")
    assert hub.repos[REPO].private and not hub.repos[REPO].tags
    again(hub, model, tag="v1")


def test_a_file_is_changed_during_the_push(hub: Hub, tmp_path: Path) -> None:
    model = make_model(tmp_path / "export")
    checked = shown(model)
    (model.folder / "README.md").write_text("what nobody has checked")
    with pytest.raises(HubError, match=r"README.md came back .* with other content"):
        push(model)
    assert hub.repos[REPO].private
    (model.folder / "README.md").write_bytes(checked["README.md"])
    push(model)
    assert on_hub(hub) == checked and not hub.repos[REPO].private


def test_what_the_hub_says_does_not_reach_the_terminal_as_it_is(
    hub: Hub, model: CheckedFolder
) -> None:
    said = {"X-Error-Message": "\x1b[2J\x1b]0;owned\x07"}
    hub.fail("POST", "repos/create", "status", status=400, headers=said)
    with pytest.raises(HubError) as refused:
        push(model)
    assert str(refused.value).isprintable()
    hub.add(REPO)
    hub.commit(REPO, {"\x1b[2J.bin": b"evil"})
    with pytest.raises(HubError, match=r"x1b\[2J.bin, .*--prune") as refused:
        push(model)
    assert str(refused.value).isprintable()


def test_a_small_file_is_damaged(hub: Hub, model: CheckedFolder) -> None:
    hub.fail("GET", "resolve/.*/recipe.yaml", "damage")
    with pytest.raises(HubError, match=r"recipe.yaml came back .* with other content"):
        push(model)
    assert hub.repos[REPO].private
    again(hub, model)


def test_a_download_that_is_cut_is_resumed(hub: Hub, model: CheckedFolder) -> None:
    hub.fail("GET", "/objects/", "halve")
    push(model)
    assert len(hub.downloads) == 2 and kinds(hub)[-1] == "settings"


def test_the_download_fails(hub: Hub, model: CheckedFolder) -> None:
    hub.fail("HEAD", "resolve/", "status", times=None)
    with pytest.raises(HubError, match=r"check by download failed.*it checks and finishes"):
        push(model)
    assert hub.repos[REPO].private
    again(hub, model)


def test_timm_gives_other_features_from_the_hub(hub: Hub, model: CheckedFolder) -> None:
    with pytest.raises(HubError, match="timm computes other features from there"):
        push(replace(model, features=model.features + 1e-6))
    assert hub.repos[REPO].private
    again(hub, model)


@pytest.mark.parametrize("step", ["/tag/", "/settings"])
@pytest.mark.parametrize("kind", ["status", "cut"])
def test_the_last_steps_fail(hub: Hub, model: CheckedFolder, step: str, kind: str) -> None:
    hub.fail("POST" if step == "/tag/" else "PUT", step, kind)
    with pytest.raises(HubError, match=r"Published as .* but .*Run the same command again"):
        push(model, tag="v1")
    assert hub.repos[REPO].private and on_hub(hub) == shown(model)
    again(hub, model, tag="v1")


@pytest.mark.parametrize("step", ["/tag/", "/settings"])
def test_the_answers_to_the_last_steps_are_lost(hub: Hub, model: CheckedFolder, step: str) -> None:
    hub.fail("POST" if step == "/tag/" else "PUT", step, "lose")
    push(model, tag="v1")
    assert kinds(hub) == ["create", "object", "commit", "tag", "settings"]
    again(hub, model, tag="v1")


def test_the_tag_is_taken_meanwhile(hub: Hub, model: CheckedFolder) -> None:
    def take() -> None:
        hub.repos[REPO].tags["v1"] = hub.repos[REPO].history("main")[-1].oid

    hub.fail("POST", "/tag/", None, meanwhile=take)
    with pytest.raises(HubError, match="'v1' was given to another commit meanwhile"):
        push(model, tag="v1")
    again(hub, model, tag="v2")


def test_private_is_kept_after_an_interruption(hub: Hub, model: CheckedFolder) -> None:
    hub.fail("POST", "/commit/", "status")
    with pytest.raises(HubError):
        push(model)
    assert is_public_pending(REPO)
    done, _ = push(model, private=True)  # thought better of it
    assert done.private
    done, _ = push(model)
    assert done.private, "opened by an older push's wish"


def test_ctrl_c(hub: Hub, model: CheckedFolder) -> None:
    def press() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)

    hub.fail("POST", "/commit/", "cut", meanwhile=press)
    with pytest.raises(Interrupted, match="Run the same command again"):
        push(model)
    assert on_hub(hub) == {} and hub.repos[REPO].private
    again(hub, model)


def _start(hub: Hub, model: CheckedFolder, home: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "georank_cli", "push", str(model.folder), REPO]
    where = {**os.environ, **environment(hub, home), "XDG_CACHE_HOME": str(home)}
    return subprocess.Popen(
        command, env=where, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.slow
def test_killed_in_the_middle_of_the_upload(hub: Hub, model: CheckedFolder, tmp_path: Path) -> None:
    held = threading.Event()
    hub.fail("POST", "/v1/xorbs", None, meanwhile=lambda: held.wait(60))
    first = _start(hub, model, tmp_path / "home")
    deadline = time.monotonic() + 60
    while not any("xet-write-token" in path for _, path in hub.requests):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.02)
    first.kill()
    first.communicate()
    assert on_hub(hub) == {} and hub.repos[REPO].private
    held.set()
    hub.heal()
    second = _start(hub, model, tmp_path / "home")
    out, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    assert "Published and verified" in out and on_hub(hub) == shown(model)
    assert not hub.repos[REPO].private


@pytest.mark.slow
def test_two_processes_push_at_once(hub: Hub, model: CheckedFolder, tmp_path: Path) -> None:
    hub.add(REPO)
    other = make_model(tmp_path / "other", seed=1)
    pushes = [_start(hub, each, tmp_path / str(i)) for i, each in enumerate((model, other))]
    ends = [process.communicate(timeout=120) for process in pushes]
    codes = [process.returncode for process in pushes]
    # Either one saw the other's commit in time, or it was told so.
    assert sorted(codes) in ([0, 0], [0, 1])
    winner = (model, other)[codes.index(0)] if 1 in codes else None
    if winner:
        assert on_hub(hub) == shown(winner)
        assert "nothing of yours was published" in ends[codes.index(1)][1]


def test_the_plan_alone_writes_nothing(hub: Hub, model: CheckedFolder) -> None:
    plan = plan_push(model, REPO, tag="v1")
    assert plan.sends and plan.writes and hub.writes == []
