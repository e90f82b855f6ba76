"""What counts as a file of a source, and what cannot be read is said."""

import os
from pathlib import Path

import pytest

from georank_zoo.data.files.listing import BadEntry, list_files, list_level
from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.readers.eurosat import EuroSat
from georank_zoo.data.readers.oscd import Oscd
from georank_zoo.data.readers.ssl4eo import Ssl4Eo
from georank_zoo.utils.errors import UsageError
from tests.support.trees import eurosat_tree, folder_tree, oscd_tree, ssl4eo_tree

TIF = (".tif", ".tiff")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_hidden_and_trash_are_passed_over_but_a_hidden_root_is_not(tmp_path: Path) -> None:
    root = touch(
        tmp_path / ".cache", "b/x.TIF", "a/y.tiff", "a.tif", "a/.ipynb_checkpoints/y.tif",
        "__MACOSX/x.tif", "$RECYCLE.BIN/x.tif", "System Volume Information/x.tif", "@eaDir/x.tif",
        "lost+found/x.tif", ".Trash-1000/x.tif", "b/._x.TIF", "notes.txt",
    )  # fmt: skip
    listing = list_files(root, TIF)
    assert listing.names == ("a/y.tiff", "a.tif", "b/x.TIF")
    assert (listing.bad, listing.hidden) == ((), 8)


def test_links_are_followed_once_and_without_loops(tmp_path: Path) -> None:
    elsewhere = touch(tmp_path / "elsewhere", "crop/1.tif", "2.tif")
    root = touch(tmp_path / "root", "forest/1.tif")
    (root / "crop").symlink_to(elsewhere / "crop")
    (root / "annexed.tif").symlink_to(elsewhere / "2.tif")
    (root / "a_loop").symlink_to(root)
    (root / "again").symlink_to(root / "forest")
    (elsewhere / "crop" / "back").symlink_to(root)
    listing = list_files(root, TIF)
    assert listing.names == ("annexed.tif", "crop/1.tif", "forest/1.tif")
    assert listing.bad == ()


def test_what_cannot_be_read_is_one_bad_entry_each(tmp_path: Path) -> None:
    root = touch(tmp_path, "good.tif", "named.tif/part.tif")
    (root / "gone.tif").symlink_to("../annex/none")
    (root / "River").symlink_to("/scratch/gone")  # was a class folder
    (root / "README.md").symlink_to("gone")  # never data
    (root / "self.tif").symlink_to("self.tif")
    (root / "empty.tif").mkdir()
    os.mkfifo(root / "pipe.tif")
    os.mkfifo(root / "pipe")
    (root / os.fsdecode(b"caf\xe9.tif")).touch()
    listing = list_files(root, TIF)
    assert listing.names == ("good.tif", "named.tif/part.tif")
    assert dict(listing.bad) == {
        "gone.tif": "dangling link",
        "River": "dangling link",
        "self.tif": "dangling link",
        "empty.tif": "a folder, not a file",
        "pipe.tif": "not a regular file",
        r"caf\xe9.tif": "name is not UTF-8",
    }


def test_an_unreadable_folder_is_a_bad_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Permissions do not hold root up.
    touch(tmp_path, "shut/x.tif", "x.tif")
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    listing = list_files(tmp_path, TIF)
    assert listing.names == ("x.tif",)
    assert listing.bad == (BadEntry("shut", "unreadable folder: Permission denied"),)
    assert list_level(tmp_path / "shut", bool).bad_in("s")[0].name == "s"


def test_bad_entries_count_as_bad_items_and_are_reported(tmp_path: Path) -> None:
    root = folder_tree(tmp_path / "tree", places=2)
    (root / "crop" / "annexed.tif").symlink_to("none")
    report = prepare_store(root, tmp_path / "store", labels="parent", max_bad=0.5, progress=False)
    assert [(s.item, s.reason) for s in report.skipped] == [("crop/annexed.tif", "dangling link")]
    assert (report.bad, report.units, len(report.store)) == (1, 5, 4)
    assert report.store.class_names == ("crop", "forest")


def test_a_folder_without_files_says_what_it_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "in/.hidden/x.tif")
    (tmp_path / "in" / "y.tif").symlink_to("none")
    with pytest.raises(UsageError, match=r"no .tif .*y.tif: dangling link; 1 hidden"):
        prepare_store(tmp_path / "in", tmp_path / "out", progress=False)


def test_eurosat_takes_all_endings_and_links_and_names_missing_classes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = eurosat_tree(tmp_path / "tree")
    forest = root / "Forest"
    (forest / "Forest_1.tif").rename(forest / "Forest_1.TIF")
    (forest / "Forest_2.tif").rename(forest / "Forest_2.tiff")
    (forest / "._Forest_3.tif").write_bytes(b"\0\5\x16\7")
    (root / "SeaLake").rename(tmp_path / "scratch")
    (root / "SeaLake").symlink_to(tmp_path / "scratch")
    (root / "River").symlink_to("gone")
    items = EuroSat(root).items()
    assert [(i.name, i.reason) for i in items if i.reason] == [("River", "dangling link")]
    assert len(items) == 1 + 9
    assert "7 of the 10 classes: HerbaceousVegetation" in caplog.text


def test_lazy_listings_follow_the_same_rules(tmp_path: Path) -> None:
    root = ssl4eo_tree(tmp_path, places=1) / "s2a"
    (root / "0000000").rename(tmp_path / "scratch")
    (root / "0000000").symlink_to(tmp_path / "scratch")
    (root / "0000007").symlink_to("gone")
    items = Ssl4Eo(root).items()
    assert [(item.name, item.reason) for item in items] == [
        ("0000007", "dangling link"),
        ("0000000", ""),
    ]
    assert [item.name for item in items[1:]] == ["0000000"]


def test_oscd_keeps_to_the_rules(tmp_path: Path) -> None:
    root = oscd_tree(tmp_path / "tree", cities=("pisa",))
    band = next((root / "pisa" / "imgs_1").glob("*_B02.tif"))
    band.with_name(f"._{band.name}").write_bytes(b"\0\5\x16\7")
    band.rename(band.with_suffix(".TIF"))
    reader = Oscd(root)
    (item,) = reader.items()
    assert reader.read(item).patches
