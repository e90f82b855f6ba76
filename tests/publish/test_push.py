"""`georank push` where nothing breaks: what it publishes, and what it refuses to."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
from huggingface_hub import snapshot_download
from torch import nn

from georank_cli.main import main
from georank_zoo.publish.checks import CheckedFolder, check_publishable
from georank_zoo.publish.plan import PushPlan, plan_push
from georank_zoo.publish.push import push as push_folder
from georank_zoo.training.recipe import load_recipe
from georank_zoo.training.trainer import train
from georank_zoo.utils.errors import HubError, ModelError, UsageError
from tests.support.hub import Hub
from tests.support.models import edit_config, make_store
from tests.support.pushing import REPO, kinds, loads_as, make_model, on_hub, push, shown
from tests.support.training import TINY


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("push") / "export"
    make_model(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> CheckedFolder:
    return check_publishable(folder)


def test_a_new_repository_and_the_same_again(
    any_hub: Hub, model: CheckedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = any_hub
    done, said = push(model, tag="v1")
    repo = hub.repos[REPO]
    uploads = ("object", "xorb", "shard")
    steps = [kind for kind in kinds(hub) if kind not in uploads]
    assert steps == ["create", "commit", "tag", "settings"]
    assert hub.writes[0] == f"create {REPO} private", "public before it was verified"
    assert hub.writes[-1] == f"settings {REPO} public"
    assert len(repo.history("main")) == 2, "not one commit on top of the Hub's own"
    assert repo.head.oid == repo.tags["v1"] == done.commit
    assert on_hub(hub) == shown(model)
    assert set(shown(model)) == {"model.safetensors", "config.json", "README.md", "recipe.yaml"}
    assert not hub.leaks, "the token was sent to the storage"
    assert hub.downloads, "nothing was downloaded to verify it"
    assert len(said) == 5
    # As a stranger would.
    monkeypatch.delenv("HF_TOKEN")
    assert loads_as(f"hf-hub:{REPO}@v1", model)
    snapshot = Path(snapshot_download(REPO, revision=done.commit))
    found = {path.name: path.read_bytes() for path in snapshot.iterdir()}
    assert found.items() >= shown(model).items()

    monkeypatch.setenv("HF_TOKEN", "hf_alice_writes")
    hub.writes.clear()
    again, _ = push(model, tag="v1")
    assert again == done
    assert hub.writes == []


def test_the_recipe_names_no_path_of_this_machine(model: CheckedFolder) -> None:
    text = shown(model)["recipe.yaml"].decode()
    assert "store: mine" in text and "somebody" not in text


def test_xet_was_used_and_lfs_was(any_hub: Hub, model: CheckedFolder) -> None:
    push(model)
    by_xet = any(path.endswith("xet-write-token/main") for _, path in any_hub.requests)
    by_lfs = any(path.endswith("info/lfs/objects/batch") for _, path in any_hub.requests)
    assert by_xet != by_lfs
    assert by_xet == ("xorb" in kinds(any_hub))


def test_private_stays_private_until_public_is_said(hub: Hub, model: CheckedFolder) -> None:
    done, _ = push(model, private=True)
    assert done.private and hub.repos[REPO].private
    hub.writes.clear()
    done, _ = push(model)
    assert done.private and hub.writes == [], "opened unasked"
    done, _ = push(model, public=True)
    assert not done.private and hub.writes == [f"settings {REPO} public"]
    with pytest.raises(UsageError, match="does not make it private"):
        push(model, private=True)
    with pytest.raises(UsageError, match="exclude each other"):
        push(model, private=True, public=True)
    assert hub.writes == [f"settings {REPO} public"]


def test_a_private_repository_made_by_hand_is_not_opened(hub: Hub, model: CheckedFolder) -> None:
    hub.add(REPO, private=True)
    done, _ = push(model)
    assert done.private and kinds(hub) == ["object", "commit"]


def test_only_what_changed_is_sent(hub: Hub, model: CheckedFolder, tmp_path: Path) -> None:
    hub.add(REPO)
    hub.commit(REPO, {"notes.txt": b"kept", "README.md": b"an older card"})
    hub.commit(REPO, {name: data for name, data in shown(model).items() if name != "README.md"})
    plan = plan_push(model, REPO)
    assert {file.name: plan.state(file) for file in plan.files} == {
        "model.safetensors": "same", "config.json": "same", "recipe.yaml": "same",
        "README.md": "changed",
    }  # fmt: skip
    push(model)
    assert kinds(hub) == ["commit"]
    assert on_hub(hub) == {**shown(model), "notes.txt": b"kept"}
    hub.writes.clear()
    other = make_model(tmp_path / "other", seed=1)
    push(other, tag="v2")
    assert kinds(hub) == ["object", "commit", "tag"]
    assert loads_as(f"hf-hub:{REPO}@v2", other)


def test_a_damaged_map_of_places_is_not_published(tmp_path: Path) -> None:
    model = make_model(tmp_path / "export")
    assert (model.folder / "README.md").is_file()
    (model.folder / "footprint.json").write_text("my places: ...")
    with pytest.raises(ModelError, match=r"footprint\.json is damaged"):
        check_publishable(model.folder)


def test_pickles_are_refused_or_pruned_in_the_same_commit(hub: Hub, model: CheckedFolder) -> None:
    hub.add(REPO)
    hub.commit(REPO, {"pytorch_model.bin": b"evil", "logs/run.PKL": b"evil"})
    with pytest.raises(HubError, match=r"logs/run.PKL, pytorch_model.bin, .*--prune"):
        push(model)
    assert hub.writes == []
    push(model, prune=True)
    assert kinds(hub) == ["object", "commit"]
    assert on_hub(hub) == shown(model)
    hub.commit(REPO, {"pytorch_model.bin": b"evil"})
    hub.writes.clear()
    push(model, prune=True)
    assert kinds(hub) == ["commit"], "nothing but the deletion"
    assert on_hub(hub) == shown(model)


def test_a_tag_is_never_moved(hub: Hub, model: CheckedFolder, tmp_path: Path) -> None:
    first, _ = push(model, tag="v1")
    other = make_model(tmp_path / "other", seed=1)
    hub.writes.clear()
    with pytest.raises(HubError, match=r"'v1' .* is another commit"):
        push(other, tag="v1")
    assert hub.writes == [] and hub.repos[REPO].tags == {"v1": first.commit}
    second, _ = push(other, tag="v2")
    with pytest.raises(HubError, match="is another commit"):
        push(other, tag="v1")
    with pytest.raises(UsageError, match="a branch 'main'"):
        push(other, tag="main")
    assert hub.repos[REPO].tags == {"v1": first.commit, "v2": second.commit}


def test_a_branch_is_made_from_main(hub: Hub, model: CheckedFolder, tmp_path: Path) -> None:
    first, _ = push(model)
    other = make_model(tmp_path / "other", seed=1)
    hub.writes.clear()
    done, _ = push(other, revision="next/r18")
    assert kinds(hub) == ["branch", "object", "commit"]
    repo = hub.repos[REPO]
    assert repo.branches == {"main": first.commit, "next/r18": done.commit}
    assert on_hub(hub) == shown(model) and on_hub(hub, revision="next/r18") == shown(other)
    assert done.timm_id == f"hf-hub:{REPO}@next/r18"
    hub.writes.clear()
    assert push(other, revision="next/r18")[0] == done and hub.writes == []
    push(model, tag="v1")
    for taken in ("v1", first.commit):
        with pytest.raises(UsageError, match="takes a branch"):
            push(other, revision=taken)
    assert kinds(hub) == ["tag"]


def test_a_new_repository_with_a_branch(hub: Hub, model: CheckedFolder) -> None:
    push(model, revision="next")
    assert kinds(hub) == ["create", "branch", "object", "commit", "settings"]
    assert on_hub(hub, revision="next") == shown(model) and on_hub(hub) == {}


@pytest.mark.parametrize(
    ("token", "repo", "message"),
    [
        (None, REPO, "no token of the Hub.*hf auth login"),
        ("hf_wrong", REPO, "does not know your token .401."),
        ("hf_alice_reads", REPO, "token of alice can only read"),
        ("hf_alice_reads", "org/there", "may not write to org/there .403."),
        ("hf_bob_writes", REPO, "You are bob; you can publish to: bob"),
        ("hf_bob_writes", "org/there", "may not write to org/there .403."),
        ("hf_bob_writes", "org/hidden", "You are bob; you can publish to: bob"),
        ("hf_alice_writes", "readers/model", "only read access.*publish to: alice, org"),
    ],
)
def test_who_may_not_write(
    hub: Hub,
    model: CheckedFolder,
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
    repo: str,
    message: str,
) -> None:
    hub.add("org/there")
    hub.add("org/hidden", private=True)
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=message) as error:
        plan_push(model, repo)  # so a dry run says it too
    assert hub.writes == [] and (token or "hf_") not in str(error.value)


@pytest.mark.parametrize("name", ["model", "org/name@v1", "hf-hub:org/name", "../x", "org/a/b"])
def test_names_that_cannot_be(hub: Hub, model: CheckedFolder, name: str) -> None:
    with pytest.raises(UsageError, match=r"pass org/name|Pass org/name"):
        push(model, name)
    with pytest.raises(UsageError, match="not a revision"):
        push(model, tag="a b")
    assert hub.requests == []


def test_a_renamed_repository(hub: Hub, model: CheckedFolder) -> None:
    hub.repos[REPO] = hub.add("org/new-name")
    with pytest.raises(HubError, match="renamed to org/new-name"):
        push(model)
    assert hub.writes == []


def test_a_card_that_only_the_hub_refuses(hub: Hub, model: CheckedFolder) -> None:
    hub.fail("POST", "validate-yaml", "status", status=400)
    with pytest.raises(ModelError, match=r"does not accept .*README.md"):
        push(model)
    assert hub.writes == []


def _spoil(folder: Path, kind: str) -> None:
    match kind:
        case "pickle":
            (folder / "pytorch_model.bin").write_bytes(b"evil")
        case "other file":
            (folder / "secrets.env").write_text("KEY=1")
        case "no recipe":
            (folder / "recipe.yaml").unlink()
        case "no weights":
            (folder / "model.safetensors").unlink()
        case "other recipe":
            text = (folder / "recipe.yaml").read_text()
            (folder / "recipe.yaml").write_text(text.replace("georank-moco-r18", "dino-r18"))
        case "broken recipe":
            (folder / "recipe.yaml").write_text("name: x")
        case "card":
            (folder / "README.md").write_text("---\ntags: [\n---\n")
        case "card list":
            (folder / "README.md").write_text("---\n- tags\n---\n")
        case "card twice":
            (folder / "README.md").write_text("---\nlicense: mit\nlicense: mit\n---\n")
        case "card alias":
            (folder / "README.md").write_text("---\ntags: &a [x]\ndatasets: *a\n---\n")
        case "card bytes":
            (folder / "README.md").write_bytes(b"---\nlicense: \xff\n---\n")
        case "card index":
            (folder / "README.md").write_text("---\nmodel-index: [{results: [7]}]\n---\n")
        case "redirect":
            edit_config(folder, pretrained_cfg__hf_hub_filename="evil.bin")
        case "half a file":
            data = (folder / "model.safetensors").read_bytes()
            (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pickle", "pytorch_model.bin: a pickle"),
        ("other file", "secrets.env: not part of a model"),
        ("no recipe", "has no recipe.yaml. Export the run again"),
        ("no weights", "has no model.safetensors"),
        ("other recipe", "is the recipe of dino-r18, but config.json says georank-moco-r18"),
        ("broken recipe", "recipe.yaml is not a recipe"),
        ("card", "front matter of .*README.md is not valid YAML, line 2"),
        ("card twice", "front matter of .*README.md is .*'license' stands twice"),
        ("card alias", "front matter of .*README.md is .*alias"),
        ("card bytes", "README.md is not UTF-8 text"),
        ("card index", "front matter of .*README.md is damaged"),
        ("card list", "front matter of .*README.md is damaged"),
        ("redirect", "hf_hub_filename"),
        ("half a file", "is damaged"),
    ],
)
def test_folders_that_are_not_published(tmp_path: Path, kind: str, message: str) -> None:
    folder = tmp_path / "export"
    make_model(folder)
    (folder / ".DS_Store").touch()
    check_publishable(folder)
    _spoil(folder, kind)
    with pytest.raises(ModelError, match=message):
        check_publishable(folder)


def test_timm_must_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(tmp_path / "export")
    create = timm.create_model

    def earlier_timm(name: str, **options: Any) -> nn.Module:
        # As timm before 1.0.31 does with 12 bands when the config names the first convolution.
        network: nn.Module = create(name, **options)
        if name.startswith("local-dir:"):
            nn.init.normal_(next(network.parameters()))
        return network

    monkeypatch.setattr(timm, "create_model", earlier_timm)
    with pytest.raises(ModelError, match=r"1 tensor\(s\) differ after loading"):
        check_publishable(model.folder)


def test_a_run_folder(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_store(tmp_path / "store", [0, 1] * 16)
    tiny = load_recipe("moco_georank", [f"data.store={store.path}", *TINY, "train.steps=8"])
    run = train(tiny, tmp_path / "run")
    exported = run.path / "export"
    assert {path.name for path in exported.iterdir()} == {
        "config.json", "footprint.json", "model.safetensors", "recipe.yaml"
    }  # fmt: skip
    published = load_recipe(exported / "recipe.yaml")
    assert published.hash == run.recipe.hash and published.data.store == "store"
    assert str(tmp_path) not in (exported / "recipe.yaml").read_text()

    shutil.rmtree(exported)
    with pytest.raises(SystemExit) as stopped:
        main(["push", str(run.path), REPO])
    assert stopped.value.code == 0, capsys.readouterr().err
    assert on_hub(hub) == shown(check_publishable(exported))
    assert loads_as(f"hf-hub:{REPO}", check_publishable(exported))

    run.update(status="started")
    with pytest.raises(SystemExit):
        main(["push", str(run.path), REPO, "--dry-run"])
    assert "The training has not finished" in capsys.readouterr().out

    run.export(checkpoint=min(path.name for path in run.checkpoints.iterdir()), overwrite=True)
    with pytest.raises(UsageError, match=r"is of step 4, but the last checkpoint is step-0+8"):
        run.exported()


def test_push_from_python(hub: Hub, folder: Path) -> None:
    with pytest.raises(UsageError, match="pass org/name"):
        push_folder(folder, "no-org")
    assert hub.requests == []
    seen: list[PushPlan] = []
    report = push_folder(folder, REPO, dry_run=True, on_plan=seen.append)
    assert report.model is None and seen == [report.plan] and hub.writes == []
    assert "nothing was sent" in str(report)
    report = push_folder(folder, REPO, tag="v1")
    assert report.model is not None and report.model.timm_id == f"hf-hub:{REPO}@v1"
    for shown_as in (str(report), report._repr_html_()):
        assert "Published and verified" in shown_as and "model.safetensors" in shown_as
        assert report.model.commit in shown_as
    assert report._repr_html_().count("<td") == 4 * 3


def test_command_line(
    hub: Hub, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def georank(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["push", *arguments])
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    code, out, _ = georank(str(folder), REPO, "--dry-run")
    assert code == 0 and "nothing was sent" in out and out.count(" new ") == 4
    assert hub.writes == []
    code, out, _ = georank(str(folder), REPO, "--tag", "v1")
    assert code == 0 and f"timm.create_model('hf-hub:{REPO}@v1', pretrained=True)" in out
    assert "Published and verified" in out
    code, out, _ = georank(str(folder), REPO, "--tag", "v1")
    assert code == 0 and "Verified, unchanged" in out and out.count(" same  ") == 4
    hub.commit(REPO, {"pytorch_model.bin": b"evil", "[/x] [red].bin": b"evil"})
    code, _, err = georank(str(folder), REPO)
    assert code == 1 and "--prune" in err and "Traceback" not in err
    code, out, _ = georank(str(folder), REPO, "--prune")
    assert code == 0 and out.count("delete") == 2 and "[/x] [red].bin" in out
    code, _, err = georank(str(tmp_path), REPO)
    assert code == 2 and "is not a run folder" in err
    code, _, err = georank(str(tmp_path / "nothing"), REPO)
    assert code == 2 and "Give a run folder" in err
    os.environ.pop("HF_TOKEN")
    code, out, err = georank(str(folder), REPO, "--dry-run")
    assert code == 1 and "no token" in err and "model.safetensors" in out
