from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from torchgeo.datasets import EuroSAT, EuroSATSpatial

from georank_zoo.data.datasets.eurosat import LISTS
from georank_zoo.data.readers.eurosat import read_splits
from georank_zoo.data.store.patch import NO_ROLE, ROLES
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.eval.splits.make import make_split
from georank_zoo.eval.tasks import TASKS
from georank_zoo.utils.errors import UsageError
from tests.support.command_line import run

KINDS = ("AnnualCrop", "Forest", "SeaLake")
# Of the nine files of the miniature tree; River_7 stands for those that it lacks.
PARTS = {
    "public-random": {
        "train": [*(f"{kind}_1" for kind in KINDS), "River_7"],
        "validation": [f"{kind}_2" for kind in KINDS],
        "test": [f"{kind}_3" for kind in KINDS],
    },
    "public-spatial": {
        "train": [f"{kind}_3" for kind in KINDS],
        "validation": [f"{kind}_1" for kind in KINDS],
        "test": ["AnnualCrop_2", "Forest_2"],  # SeaLake_2 stands in no list
    },
}


def test_lists_are_torchgeos() -> None:
    for split, theirs in (("public-random", EuroSAT), ("public-spatial", EuroSATSpatial)):
        expected = [
            (theirs.split_filenames[part], theirs.split_md5s[part])
            for part in ("train", "val", "test")
        ]
        assert list(LISTS[split].values()) == expected
    assert set(TASKS["eurosat"].official) == set(LISTS)
    assert all(EuroSAT.url[-41:-1] in text for text in TASKS["eurosat"].official.values())


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lists of the miniature tree, which count as the published ones."""
    folder = tmp_path / "lists"
    folder.mkdir()
    for split, parts in PARTS.items():
        for role, patches in parts.items():
            name, _ = LISTS[split][role]
            (folder / name).write_text("".join(f"{patch}.jpg\n" for patch in patches))
    publish(folder, monkeypatch)
    return folder


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for lists in LISTS.values():
        for role, (name, _) in lists.items():
            if (folder / name).is_file():
                md5 = hashlib.md5((folder / name).read_bytes()).hexdigest()
                monkeypatch.setitem(lists, role, (name, md5))


def test_prepared_store_has_both_splits(
    eurosat_tree: Path, lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s"
    command = ("data", "prepare", "eurosat", eurosat_tree, "--out", out, "--splits", lists)
    assert run(*command) == 0
    store = PatchStore(out)
    for split, parts in PARTS.items():
        role_of = {patch: role for role, patches in parts.items() for patch in patches}
        for key, role in zip(store.keys, store.roles[split], strict=True):
            expected = role_of.get(Path(key).stem)
            assert role == (NO_ROLE if expected is None else ROLES.index(expected))
    split = make_split(store, "public-spatial")
    assert split.validation is not None
    assert (len(split.train), len(split.validation), len(split.test)) == (3, 3, 2)
    assert split.dropped == 1
    assert run("data", "info", out) == 0
    shown = capsys.readouterr().out
    assert "3 train, 3 validation, 3 test" in shown
    assert "3 train, 3 validation, 2 test" in shown


def test_torchgeo_puts_the_same_files_into_the_parts(
    eurosat_tree: Path, lists: Path, tmp_path: Path
) -> None:
    roles = read_splits(lists)
    root = tmp_path / "torchgeo"
    (root / EuroSAT.base_dir).parent.mkdir(parents=True)
    (root / EuroSAT.base_dir).symlink_to(eurosat_tree)
    for file in lists.iterdir():
        (root / file.name).write_bytes(file.read_bytes())
    for split, theirs, parts in (
        ("public-random", EuroSAT, ("train", "val", "test")),
        # Not test: torchgeo wants a file of each class that the folder holds.
        ("public-spatial", EuroSATSpatial, ("train", "val")),
    ):
        for part in parts:
            files = {Path(path).stem for path, _ in theirs(root, split=part).samples}
            role = "validation" if part == "val" else part
            assert files == {p for p, r in roles[split].items() if r == role} - {"River_7"}


def test_one_of_the_splits_is_enough(lists: Path) -> None:
    for file in lists.glob("eurosat-spatial-*"):
        file.unlink()
    assert list(read_splits(lists)) == ["public-random"]


def test_without_lists_there_is_no_split(eurosat_tree: Path, tmp_path: Path) -> None:
    assert run("data", "prepare", "eurosat", eurosat_tree, "--out", tmp_path / "s") == 0
    store = PatchStore(tmp_path / "s")
    assert store.roles == {}
    with pytest.raises(UsageError, match="Unknown split 'public-random'"):
        make_split(store, "public-random")


def _append(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text((folder / name).read_text() + text)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            _append("eurosat-test.txt", "Forest_1.jpg\n"),
            "overlaps: Forest_1 stands in .*-train.txt",
        ),
        (_append("eurosat-test.txt", "Forest_3.jpg\n"), "overlaps: Forest_3 stands in .*-test.txt"),
        (
            _append("eurosat-test.txt", "Lava_1.jpg\n"),
            r"a list of EuroSAT's files \('Lava_1'\)",
        ),
        (_append("eurosat-test.txt", "garbage\n"), "not a list of EuroSAT's files"),
        (lambda f: (f / "eurosat-val.txt").unlink(), "has no list .*eurosat-val.txt"),
        (lambda f: (f / "eurosat-val.txt").write_text(""), "not a list of EuroSAT's files"),
        (lambda f: (f / "eurosat-val.txt").write_bytes(b"\xff\xfe"), "not a list of EuroSAT's"),
        (lambda f: [x.unlink() for x in f.iterdir()], "holds none of the lists eurosat-train.txt"),
    ],
)
def test_bad_lists(
    lists: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object], message: str
) -> None:
    damage(lists)
    publish(lists, monkeypatch)
    with pytest.raises(UsageError, match=message):
        read_splits(lists)


def test_other_lists_are_refused(
    lists: Path, eurosat_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _append("eurosat-test.txt", "SeaLake_3.jpg\n")(lists)
    out = tmp_path / "s"
    assert run("data", "prepare", "eurosat", eurosat_tree, "--out", out, "--splits", lists) == 2
    shown = capsys.readouterr().err
    assert "eurosat-test.txt is not the published list of split public-random" in shown
    assert "Fetch it from https://huggingface.co/datasets/torchgeo/eurosat" in shown
    assert not out.exists()
