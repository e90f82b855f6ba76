from __future__ import annotations

import hashlib
import os
import random
import stat
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from georank_zoo.data.download.record import ListedFile, read_listing, write_listing
from georank_zoo.data.download.unpack import content_root, unpack, zip_content_bytes
from georank_zoo.utils.errors import DownloadError
from tests.support.archives import make_tar, make_zip, tar_member

NOISE = random.Random(0).randbytes(200_000)
FILES = {"top/Forest/Forest_1.tif": NOISE, "top/River/River_1.tif": NOISE[:5], "top/empty": b""}
LISTED = [
    ListedFile(name, len(content), hashlib.sha256(content).hexdigest())
    for name, content in FILES.items()
]


def unpacked(
    tmp_path: Path,
    pieces: Sequence[bytes],
    kind: Literal["zip", "tar.gz"],
    max_bytes: int = 10_000_000,
) -> list[ListedFile]:
    """Unpacks into tmp_path/in/folder."""
    parts = [tmp_path / f"a.part{n}" for n in range(len(pieces))]
    for part, piece in zip(parts, pieces, strict=True):
        part.write_bytes(piece)
    folder = tmp_path / "in" / "folder"
    folder.mkdir(parents=True)
    return list(unpack(parts, kind, folder, max_bytes=max_bytes))


def outside(tmp_path: Path) -> list[str]:
    """What lies outside the folder that was unpacked to."""
    inside = tmp_path / "in" / "folder"
    found = [p for p in tmp_path.rglob("*") if not p.is_relative_to(inside)]
    return sorted(p.name for p in found if p.name != "in" and not p.name.startswith("a.part"))


def test_a_zip_is_unpacked_and_listed(tmp_path: Path) -> None:
    content = make_zip({**FILES, "top/a folder/": b"", "__MACOSX/top/._x": b"x"})
    assert unpacked(tmp_path, [content], "zip") == LISTED
    folder = tmp_path / "in" / "folder"
    assert (folder / "top/Forest/Forest_1.tif").read_bytes() == NOISE
    assert not (folder / "__MACOSX").exists()
    assert content_root(folder) == folder / "top"
    assert zip_content_bytes(tmp_path / "a.part0") == sum(map(len, FILES.values())) + 1


@pytest.mark.parametrize("cut", [1, 1000, 100_000])
def test_a_tar_in_pieces_is_unpacked(tmp_path: Path, cut: int) -> None:
    content = make_tar(FILES)
    pieces = [content[:cut], content[cut:-7], content[-7:]]
    assert unpacked(tmp_path, pieces, "tar.gz") == LISTED


def test_progress_is_of_the_archive(tmp_path: Path) -> None:
    for name, kind, content in (
        ("a", "zip", make_zip(FILES)),
        ("b", "tar.gz", make_tar(FILES)),
    ):
        path, folder = tmp_path / name, tmp_path / f"{name}_out"
        path.write_bytes(content)
        folder.mkdir()
        steps: list[tuple[int, int]] = []
        list(
            unpack(
                [path], kind, folder, max_bytes=10**7,  # type: ignore[arg-type]
                on_progress=lambda done, total, steps=steps: steps.append((done, total)),
            )
        )  # fmt: skip
        assert len(steps) == 3
        assert all(0 < done <= total == len(content) for done, total in steps)


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/evil", "C:/evil", "C:evil", "a\\..\\..\\evil", "..", "a/.."],
)
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_name_that_leads_out_is_refused(
    tmp_path: Path, name: str, kind: Literal["zip", "tar.gz"]
) -> None:
    make = make_zip if kind == "zip" else make_tar
    with pytest.raises(DownloadError, match="leads out of the folder"):
        unpacked(tmp_path, [make({"good": b"1", name: b"2"})], kind)
    assert outside(tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "name"),
    [("zip", "\x1b[2Jevil"), ("zip", "a\u202etif"), ("tar.gz", "a\nb"), ("tar.gz", "\udcff.tif")],
)
def test_a_name_that_cannot_be_shown_is_refused(
    tmp_path: Path, kind: Literal["zip", "tar.gz"], name: str
) -> None:
    make = make_zip if kind == "zip" else make_tar
    with pytest.raises(DownloadError, match="characters that cannot be shown") as refused:
        unpacked(tmp_path, [make({"good": b"1", name: b"2"})], kind)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "member",
    [
        tar_member("link", tarfile.SYMTYPE, "/etc"),
        tar_member("link", tarfile.LNKTYPE, "good"),
        tar_member("device", tarfile.CHRTYPE),
        tar_member("disk", tarfile.BLKTYPE),
        tar_member("pipe", tarfile.FIFOTYPE),
    ],
    ids=["symlink", "hardlink", "character device", "block device", "fifo"],
)
def test_a_tar_with_anything_but_files_is_refused(tmp_path: Path, member: tarfile.TarInfo) -> None:
    with pytest.raises(DownloadError, match="is a link or a device"):
        unpacked(tmp_path, [make_tar({"good": b"1"}, member)], "tar.gz")
    assert not os.path.lexists(tmp_path / "in" / "folder" / member.name)


def test_a_link_to_write_through_is_refused_before_it_is_followed(tmp_path: Path) -> None:
    link, through = tar_member("d", tarfile.SYMTYPE, str(tmp_path)), tarfile.TarInfo("d/evil")
    with pytest.raises(DownloadError, match="is a link"):
        unpacked(tmp_path, [make_tar({}, link, through)], "tar.gz")
    assert outside(tmp_path) == []


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_a_zip_with_anything_but_files_is_refused(tmp_path: Path, kind: int) -> None:
    content = make_zip({"good": b"1", "bad": b"/etc/passwd"}, modes={"bad": kind | 0o777})
    with pytest.raises(DownloadError, match="is a link or a device"):
        unpacked(tmp_path, [content], "zip")
    assert not os.path.lexists(tmp_path / "in" / "folder" / "bad")


def test_modes_are_not_taken_over(tmp_path: Path) -> None:
    unpacked(tmp_path, [make_zip({"x": b"1"}, modes={"x": stat.S_IFREG | 0o6777})], "zip")
    (tmp_path / "plain").touch()
    found = (tmp_path / "in" / "folder" / "x").stat().st_mode
    assert found == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_bomb_stops_at_the_limit(tmp_path: Path, kind: Literal["zip", "tar.gz"]) -> None:
    make = make_zip if kind == "zip" else make_tar
    content = make({"a": NOISE, "bomb": bytes(20_000_000)})
    with pytest.raises(DownloadError, match="far more than it should: it stops at bomb"):
        unpacked(tmp_path, [content], kind, max_bytes=20 * len(content))
    assert (tmp_path / "in" / "folder" / "bomb").stat().st_size <= 20 * len(content)


@pytest.mark.parametrize("twice", [{"x": b"1", "x/y": b"2"}, {"a/x": b"1", "a/./x": b"2"}])
def test_a_name_twice_is_refused(tmp_path: Path, twice: dict[str, bytes]) -> None:
    with pytest.raises(DownloadError, match="is there twice"):
        unpacked(tmp_path, [make_zip(twice)], "zip")


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(make_zip({"x": b"1"}))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(DownloadError, match="is encrypted"):
        unpacked(tmp_path, [bytes(content)], "zip")


def test_damaged_archives_are_told(tmp_path: Path) -> None:
    tar, packed = make_tar(FILES), bytearray(make_zip(FILES))
    packed[100_000] ^= 1
    for n, (content, kind) in enumerate(
        (
            (tar[: len(tar) // 2], "tar.gz"),
            (b"no archive", "tar.gz"),
            (tar[:1000] + b"x" + tar[1001:], "tar.gz"),
            (bytes(packed), "zip"),
            (b"no archive", "zip"),
            (bytes(packed[:-30]), "zip"),
        )
    ):
        (tmp_path / str(n)).mkdir()
        with pytest.raises(DownloadError, match="damaged"):
            unpacked(tmp_path / str(n), [content], kind)  # type: ignore[arg-type]


def test_a_listing_reads_back(tmp_path: Path) -> None:
    files = [
        *LISTED,
        ListedFile('odd, "name"\n.tif', 3, "0" * 64),
        ListedFile("é.tif", 0, "f" * 64),
    ]
    path = tmp_path / "list.csv.gz"
    assert write_listing(path, files) == (5, sum(file.size for file in files))
    assert list(read_listing(path)) == files
    first = path.read_bytes()
    write_listing(path, files)
    assert path.read_bytes() == first  # equal lists are equal files
    path.write_bytes(first[:-10])
    with pytest.raises(DownloadError, match="is damaged"):
        list(read_listing(path))


def test_the_eurosat_list_reads_as_one_of_ours(real_data: Path) -> None:
    listed = list(read_listing(real_data / "metadata" / "eurosat_allbands_sha256.csv.gz"))
    tifs = [f for f in listed if f.path.count("/") == 2 and f.size == 107_244]
    assert len(tifs) == 27_000
