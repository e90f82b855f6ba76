"""`georank models`: what is published, got and verified to the last byte."""

import json
import re
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from georank_cli.main import main
from georank_zoo.models.encoder import create_model
from georank_zoo.publish.catalog import (
    Catalog,
    list_models,
    open_catalog,
    read_catalog,
    record_model,
    scores_of,
)
from georank_zoo.publish.checks import CheckedFolder
from georank_zoo.publish.verify import pull_model, verify_model
from georank_zoo.training.recipe import list_recipes, load_recipe
from georank_zoo.utils.errors import GeorankError, ModelError, UsageError
from georank_zoo.utils.files import sha256_of
from tests.support.card_parts import row
from tests.support.hub import Hub
from tests.support.models import edit_config, make_network
from tests.support.pushing import REPO, make_model, push
from tests.support.zoo_parts import entry_of, make_entry

NAME = "georank-moco-r18"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CheckedFolder:
    return make_model(tmp_path_factory.mktemp("models") / "export")


@pytest.fixture
def published(hub: Hub, model: CheckedFolder) -> Catalog:
    done, _ = push(model, tag="v1.0")
    hub.writes.clear()
    hub.requests.clear()
    hub.downloads.clear()
    return Catalog(models={NAME: entry_of(model, done.commit, tag="v1.0")})


@pytest.fixture
def file(published: Catalog, tmp_path: Path) -> Path:
    path = tmp_path / "models.json"
    path.write_text(published.to_json())
    return path


def georank(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["models", *map(str, arguments)])
    shown = capsys.readouterr()
    return int(stopped.value.code or 0), shown.out, shown.err


def flip_bit(path: Path, at: int = -1) -> None:
    """Of the file itself, be it a link."""
    path = path.resolve()
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


def cached(tmp_path: Path, name: str) -> Path:
    (path,) = (tmp_path / "hf" / "hub").glob(f"models--org--{NAME}/snapshots/*/{name}")
    return path


def test_the_zoo_s_own_catalog_names_no_model_yet(capsys: pytest.CaptureFixture[str]) -> None:
    assert read_catalog().models == {}
    code, out, _ = georank(capsys, "list")
    assert code == 0
    for name in list_recipes():
        assert load_recipe(name).name in out
    assert out.count("not published") == len(list_recipes())
    assert "0 published" in out
    code, out, _ = georank(capsys, "show", NAME)
    assert code == 0 and "not published" in out and "georank train moco_georank" in out
    for command in ("pull", "verify"):
        code, _, err = georank(capsys, command, NAME)
        assert code == 2 and "no published model yet" in err
    code, _, err = georank(capsys, "show", "georank-moco-r81")
    assert code == 2 and f"Did you mean '{NAME}'?" in err


def test_list_models_gives_ids_of_commits(tmp_path: Path) -> None:
    assert list_models() == list_models("*georank*") == []
    path = tmp_path / "models.json"
    entries = {
        NAME: make_entry(tag="v1.0"),
        "byol-r18": make_entry(repo="else/byol-r18", revision="d" * 40),
    }
    path.write_text(Catalog(models=entries).to_json())
    georank_id, byol_id = f"{REPO}@{'c' * 40}", f"else/byol-r18@{'d' * 40}"
    assert list_models(catalog=path) == [byol_id, georank_id]
    assert list_models("*georank*", catalog=path) == [georank_id]
    assert list_models("else/*", catalog=path) == [byol_id]
    assert list_models("vit*", catalog=path) == []
    with pytest.raises(UsageError, match="No catalog at"):
        list_models(catalog=tmp_path / "other.json")


def test_list_models_gives_what_create_model_takes(file: Path) -> None:
    (model_id,) = list_models(catalog=file)
    assert create_model(model_id).name == model_id


def test_list_and_show_a_published_model(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = read_catalog(file).models[NAME]
    scored = entry.model_copy(update={"scores": scores_of([row(NAME, "a" * 64)], "a" * 64)})
    record_model(file, NAME, scored)
    code, out, _ = georank(capsys, "list", "--catalog", file)
    assert code == 0 and f"{REPO}@v1.0" in out and "1 published" in out
    assert out.count("not published") == len(list_recipes()) - 1
    code, out, _ = georank(capsys, "show", NAME, "--catalog", file)
    assert code == 0
    facts = " ".join(out.split())
    assert f"timm.create_model('hf-hub:{REPO}@v1.0', pretrained=True)" in out
    assert f"{REPO}@{entry.revision}" in out
    for known in ("B8A", "cc-by-4.0", "81.2 [80.0, 82.6]", "knn (k=10,"):
        assert known in facts
    for facts_of_file in entry.files.values():
        assert facts_of_file.sha256 in facts.replace(" ", "") or facts_of_file.sha256 in facts


def test_pull_and_verify(
    hub: Hub, model: CheckedFolder, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # The branch has moved on since; the catalog's commit is what is wanted.
    other = make_model(tmp_path / "other", seed=1)
    push(other)
    hub.writes.clear()
    monkeypatch.delenv("HF_TOKEN")
    out = tmp_path / "models" / NAME
    code, shown, err = georank(capsys, "pull", NAME, "--out", out, "--catalog", file)
    assert code == 0, err
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {
        f.name: f.path.read_bytes() for f in model.files
    }
    assert not any(path.is_symlink() for path in out.iterdir())
    assert f"Verified: {NAME}." in shown and f"local-dir:{out}" in shown
    assert [path.name for path in out.parent.iterdir()] == [NAME]
    sent = list(hub.requests)
    code, shown, _ = georank(capsys, "pull", NAME, "--out", out, "--catalog", file)
    assert code == 0 and hub.requests == sent, "asked for what is there"

    code, shown, _ = georank(capsys, "verify", NAME, "--catalog", file)
    assert code == 0 and "as published" in shown and f"Verified: {NAME}." in shown
    code, shown, _ = georank(capsys, "verify", f"{REPO}@v1.0", "--catalog", file)
    assert code == 0 and f"Verified: {NAME}." in shown
    # `main` is another model, which knows itself, but is none of the catalog's.
    code, shown, _ = georank(capsys, "verify", REPO, "--catalog", file)
    assert code == 0 and "no published model has" in shown and "its own export" in shown
    code, _, err = georank(capsys, "verify", REPO, "--name", NAME, "--catalog", file)
    assert code == 1 and f"is not the config.json of {NAME}" in err
    assert hub.writes == [] and not hub.leaks


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md", "recipe.yaml"])
def test_a_bit_flipped_in_a_pulled_folder(published: Catalog, tmp_path: Path, name: str) -> None:
    out = pull_model(NAME, tmp_path / "out", catalog=published).folder
    flip_bit(out / name, at=-2)
    with pytest.raises(ModelError):
        verify_model(out, catalog=published, name=NAME)
    with pytest.raises(ModelError):
        pull_model(NAME, out, catalog=published)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md"])
def test_a_bit_flipped_in_the_cache(
    hub: Hub, published: Catalog, tmp_path: Path, name: str
) -> None:
    verify_model(NAME, catalog=published)
    blob = cached(tmp_path, name).resolve()
    flip_bit(blob, at=-2)
    for source in (NAME,) if name == "README.md" else (NAME, f"{REPO}@v1.0"):
        with pytest.raises(ModelError, match=f"{name} was damaged on the way.*Delete .*blobs"):
            verify_model(source, catalog=published)
    with pytest.raises(ModelError, match="damaged"):
        pull_model(NAME, tmp_path / "out", catalog=published)
    assert not (tmp_path / "out").exists()
    blob.unlink()  # as the message says
    assert verify_model(NAME, catalog=published).name == NAME
    assert hub.writes == []


def test_weights_changed_and_named_anew_in_the_cache(
    hub: Hub, published: Catalog, tmp_path: Path
) -> None:
    """Whoever changes a blob can rename it too, and the Hub cannot tell where it is not asked."""
    verify_model(NAME, catalog=published)
    link = cached(tmp_path, "model.safetensors")
    weights = load_file(link)
    next(tensor for tensor in weights.values() if tensor.ndim == 4).view(-1)[0] += 1e-7
    blob = link.resolve().with_name("plain")
    save_file(weights, blob, metadata={"format": "pt"})
    link.unlink()
    link.symlink_to(Path("../../blobs/plain"))
    hub.fail("HEAD", "", "cut", times=None)
    with pytest.raises(ModelError, match=r"is not the model.safetensors of"):
        verify_model(NAME, catalog=published)


def test_a_wrong_fingerprint(model: CheckedFolder, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model.folder, tmp_path / "copy"))
    empty = Catalog()
    done = verify_model(copy, catalog=empty)
    assert done.name is None and done.files == () and done.difference < 1e-6
    noted = json.loads((copy / "config.json").read_text())["georank"]["fingerprint"]
    noted["projections"][0][5] *= 1.01
    edit_config(copy, georank__fingerprint=noted)
    with pytest.raises(ModelError, match="other features than when it was exported"):
        verify_model(copy, catalog=empty)
    edit_config(copy, georank__fingerprint=None)
    with pytest.raises(ModelError, match="has no fingerprint"):
        verify_model(copy, catalog=empty)


def test_a_catalog_that_vouches_for_a_wrong_fingerprint(
    hub: Hub, model: CheckedFolder, tmp_path: Path
) -> None:
    """The bytes are right, and still it is not what was exported: that is what it is for."""
    copy = Path(shutil.copytree(model.folder, tmp_path / "copy"))
    weights = {name: t.contiguous() for name, t in make_network(seed=3).state_dict().items()}
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    hub.add(REPO, copy)
    config = model.config
    entry = make_entry(
        revision=hub.repos[REPO].head.oid, image_size=config.image_size,
        files={p.name: {"sha256": sha256_of(p), "size": p.stat().st_size}
               for p in copy.iterdir()},
    )  # fmt: skip
    with pytest.raises(ModelError, match="other features"):
        pull_model(NAME, tmp_path / "out", catalog=Catalog(models={NAME: entry}))
    assert not (tmp_path / "out").exists()


def test_a_revision_that_is_not_there(published: Catalog, tmp_path: Path) -> None:
    entry = published.models[NAME].model_copy(update={"revision": "d" * 40})
    with pytest.raises(ModelError, match=f"has no revision '{'d' * 40}'"):
        pull_model(NAME, tmp_path / "out", catalog=Catalog(models={NAME: entry}))


def test_a_revision_of_another_model(
    hub: Hub, model: CheckedFolder, published: Catalog, tmp_path: Path
) -> None:
    other, _ = push(make_model(tmp_path / "other", seed=1))
    entry = published.models[NAME].model_copy(update={"revision": other.commit})
    wrong = Catalog(models={NAME: entry})
    hub.downloads.clear()
    for source in (NAME, f"{REPO}@{other.commit}"):
        with pytest.raises(ModelError, match=r"is not the config.json of"):
            verify_model(source, catalog=wrong)
    assert len(hub.downloads) == 1, "the weights were asked for although the config is wrong"


def test_a_cut_connection(hub: Hub, published: Catalog, tmp_path: Path) -> None:
    out = tmp_path / "out"
    hub.fail("GET", "objects", "halve")
    hub.fail("GET", "objects", "cut", times=None)
    with pytest.raises(ModelError, match=r"broke|did not answer"):
        pull_model(NAME, out, catalog=published)
    assert not out.exists() and not list(tmp_path.glob(".out*"))
    hub.heal()
    assert pull_model(NAME, out, catalog=published).name == NAME
    assert hub.writes == []


def test_without_a_network_the_cache_is_enough(
    hub: Hub, published: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify_model(NAME, catalog=published)
    hub.fail("HEAD", "", "cut", times=None)
    hub.fail("GET", "", "cut", times=None)
    assert pull_model(NAME, tmp_path / "out", catalog=published).name == NAME


def test_folders_that_are_something_else(published: Catalog, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        pull_model(NAME, out, catalog=published)
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
    (out / "notes.txt").unlink()
    pull_model(NAME, out, catalog=published)
    for name in ("evil.bin", "modeling.py"):
        (out / name).write_bytes(b"code")
        with pytest.raises(ModelError, match=name):
            verify_model(out, catalog=published)
        (out / name).unlink()


def test_more_than_the_catalog_says_is_not_asked_for(
    hub: Hub, published: Catalog, tmp_path: Path
) -> None:
    entry = published.models[NAME]
    small = {name: facts.model_copy(update={"size": 10}) for name, facts in entry.files.items()}
    liar = Catalog(models={NAME: entry.model_copy(update={"files": small})})
    with pytest.raises(ModelError, match="at most 10 can be part of this model"):
        pull_model(NAME, tmp_path / "out", catalog=liar)
    assert not hub.downloads


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(version=2), "version"),
        (lambda m: m["models"].update({"../x": m["models"][NAME]}), "pattern"),
        (lambda m: m["models"][NAME].update(revision="v1.0"), "revision"),
        (lambda m: m["models"][NAME].update(repo="org/../x/y"), "repo"),
        (lambda m: m["models"][NAME]["files"].update({"../../x": {"sha256": "a" * 64,
                                                                  "size": 1}}), "pattern"),
        (lambda m: m["models"][NAME]["files"].pop("model.safetensors"), "has no hash"),
        (lambda m: m["models"][NAME].update(extra=1), "extra"),
    ],
)  # fmt: skip
def test_a_catalog_from_a_stranger(tmp_path: Path, change: object, said: str) -> None:
    path = tmp_path / "models.json"
    raw = json.loads(Catalog(models={NAME: make_entry()}).to_json())
    assert callable(change)
    change(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(GeorankError, match=said):
        read_catalog(path)


def test_a_catalog_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "models.json"
    code, _, err = georank(capsys, "list", "--catalog", path)
    assert code == 2 and "No catalog at" in err
    for content in (b"", b"\xff\xfe", b"[]", b'{"models": {"a'):
        path.write_bytes(content)
        code, _, err = georank(capsys, "list", "--catalog", path)
        assert code == 1 and re.search(r"models\.json is not a catalog", err), content


def test_scores_are_the_newest_rows_of_these_weights() -> None:
    rows = [
        row(NAME, "a" * 64, when="2026-11-23T12:00:00+00:00", value=0.5),
        row(NAME, "a" * 64, when="2026-11-23T13:00:00+00:00", value=0.6),
        row(NAME, "a" * 64, when="2026-11-23T11:00:00+00:00", value=0.7),
        row(NAME, "a" * 64, k=20, value=0.8),
        row("moco-r18", "b" * 64),
        row("image statistics", "none"),
    ]
    assert [(s.k, s.value) for s in scores_of(rows, "a" * 64)] == [(10, 0.6), (20, 0.8)]
    assert scores_of(rows, "c" * 64) == ()


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "models.json"
    assert open_catalog(path) == Catalog()
    entry = make_entry(tag="v1.0", scores=scores_of([row(NAME, "a" * 64)], "a" * 64))
    assert record_model(path, NAME, entry)
    before = path.stat().st_mtime_ns
    assert not record_model(path, NAME, entry) and path.stat().st_mtime_ns == before
    assert record_model(path, "a-model", make_entry())
    assert list(read_catalog(path).models) == ["a-model", NAME]
    assert open_catalog(path).models[NAME] == entry
