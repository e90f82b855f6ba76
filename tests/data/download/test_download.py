from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from georank_cli.main import _run
from georank_zoo.data.datasets import DATASETS
from georank_zoo.data.datasets.base import (
    HUB,
    Archive,
    Checksum,
    DataSet,
    Download,
    HubTree,
    RemoteFile,
)
from georank_zoo.data.datasets.bigearthnet import BIGEARTHNET
from georank_zoo.data.datasets.eurosat import EUROSAT
from georank_zoo.data.download import install
from georank_zoo.data.download.download import download_dataset
from georank_zoo.data.download.record import (
    LISTING,
    RECORD,
    read_listing,
    read_record,
    verify_download,
)
from georank_zoo.data.readers import open_reader
from georank_zoo.utils.errors import DownloadError, GeorankError, UsageError
from georank_zoo.utils.write_errors import DiskFullError
from tests.support import trees
from tests.support.archives import make_tar, make_zip
from tests.support.file_server import FileServer, Served

NOISE = random.Random(0).randbytes(400_000)
FILES = {f"deep/root/{c}/{c}_{n}.tif": NOISE[:60_000] for c in ("Forest", "River") for n in (1, 2)}
HERE = ["Forest/Forest_1.tif", "Forest/Forest_2.tif", "River/River_1.tif", "River/River_2.tif"]
UNPACKED = 1_500_000  # about, as it is published for real ones
USAGE = namedtuple("USAGE", "total used free")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as opened:
        yield opened


def sha256(content: bytes) -> Checksum:
    return Checksum("sha256", hashlib.sha256(content).hexdigest())


def md5(content: bytes) -> Checksum:
    return Checksum("md5", hashlib.md5(content, usedforsecurity=False).hexdigest())


def source(*, name: str = "eurosat", **fields: Any) -> DataSet:
    download = Download(
        **{
            "landing": "https://example.org",
            "size": "small",
            "by_hand": ("put it into {out}",),
            **fields,
        }
    )
    return replace(EUROSAT, name=name, title="A small set", license="CC0", download=download)


def zip_source(server: FileServer, content: bytes | None = None, **fields: Any) -> DataSet:
    """A zip of four files under two folders that hold all the others, with its SHA-256."""
    content = make_zip(FILES) if content is None else content
    server.files["a.zip"] = Served(content)
    part = RemoteFile("a.zip", f"{server.url}/a.zip", len(content), sha256(content))
    return source(archive=Archive((replace(part, **fields),), "zip", unpacked_bytes=UNPACKED))


def get(chosen: DataSet, out: Path, **options: Any) -> Any:
    return download_dataset(chosen, out, **{"retries": 1, "backoff": 0.0, **options})


def files_of(folder: Path) -> list[str]:
    """Paths of the files, without our own."""
    ours = {RECORD, LISTING}
    found = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(path for path in found if path not in ours)


def test_a_zip_becomes_the_folder_of_the_reader(server: FileServer, tmp_path: Path) -> None:
    tree = trees.eurosat_tree(tmp_path / "tree")
    content = make_zip(
        {f"ds/tif/{p.relative_to(tree).as_posix()}": p.read_bytes() for p in tree.rglob("*.tif")}
    )
    record = get(zip_source(server, content), tmp_path / "out")
    assert len(open_reader("eurosat", tmp_path / "out").items()) == 9
    assert record.unpacked == 9
    assert record.complete == ("*",)
    assert record.unchecked == []
    assert record.archive[0].compared == "published sha256"
    assert not (tmp_path / "out" / "a.zip").exists()
    listed = list(read_listing(tmp_path / "out" / LISTING))
    assert {f.path for f in listed} == set(files_of(tmp_path / "out"))
    assert verify_download(tmp_path / "out").damaged == ()


def test_a_tar_in_parts_beside_a_file_keeps_its_root(server: FileServer, tmp_path: Path) -> None:
    content = make_tar(
        {"BigEarthNet-S2/t/p/p_B02.tif": NOISE, "BigEarthNet-S2/t/q/q_B02.tif": b"1"}
    )
    pieces = {"s2.aa": content[:1000], "s2.ab": content[1000:]}
    for name, piece in {**pieces, "metadata.parquet": b"meta"}.items():
        server.files[name] = Served(piece)
    chosen = source(
        files=(RemoteFile("metadata.parquet", f"{server.url}/metadata.parquet", 4, md5(b"meta")),),
        archive=Archive(
            tuple(RemoteFile(n, f"{server.url}/{n}", checksum=md5(p)) for n, p in pieces.items()),
            "tar.gz",
            keep_root=True,
        ),
    )
    record = get(chosen, tmp_path / "out", keep_archives=True)
    assert files_of(tmp_path / "out") == [
        "BigEarthNet-S2/t/p/p_B02.tif", "BigEarthNet-S2/t/q/q_B02.tif", "metadata.parquet",
        "s2.aa", "s2.ab",
    ]  # fmt: skip
    assert [f.compared for f in (*record.files, *record.archive)] == ["published md5"] * 3
    # The archives are kept, so they are checked too.
    assert verify_download(tmp_path / "out").files == 5
    (tmp_path / "out" / "s2.aa").write_bytes(content[:999] + b"x")
    assert verify_download(tmp_path / "out").damaged == ("s2.aa differs from its SHA-256",)
    # Asked to go, they go.
    get(chosen, tmp_path / "out")
    assert "s2.aa" not in files_of(tmp_path / "out")
    assert verify_download(tmp_path / "out").files == 3


def test_a_second_call_asks_for_nothing(server: FileServer, tmp_path: Path) -> None:
    chosen = zip_source(server)
    first = get(chosen, tmp_path / "out")
    server.requests.clear()
    assert get(chosen, tmp_path / "out") == first
    assert not server.requests


def test_what_is_gone_is_downloaded_again_and_nothing_else(
    server: FileServer, tmp_path: Path
) -> None:
    chosen = zip_source(server)
    get(chosen, tmp_path / "out")
    (tmp_path / "out" / HERE[0]).unlink()
    (tmp_path / "out" / HERE[1]).write_bytes(b"short")
    assert verify_download(tmp_path / "out").damaged == (
        f"{HERE[0]} is missing", f"{HERE[1]} has 5 bytes instead of 60000",
    )  # fmt: skip
    get(chosen, tmp_path / "out")
    assert verify_download(tmp_path / "out").damaged == ()
    assert files_of(tmp_path / "out") == HERE


def test_a_flipped_bit_is_found(server: FileServer, tmp_path: Path) -> None:
    get(zip_source(server), tmp_path / "out")
    damaged = tmp_path / "out" / HERE[2]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert verify_download(tmp_path / "out").damaged == (f"{HERE[2]} differs from its SHA-256",)


def test_a_cut_connection_is_continued_by_the_next_call(server: FileServer, tmp_path: Path) -> None:
    chosen = zip_source(server)
    server.files["a.zip"].cuts = [50_000, *[0] * 20]
    with pytest.raises(DownloadError, match="Gave up"):
        get(chosen, tmp_path / "out")
    assert verify_download(tmp_path / "out").record.complete == ()
    server.files["a.zip"].cuts.clear()
    get(chosen, tmp_path / "out")
    assert server.ranges[-1] == "bytes=50000-"
    assert files_of(tmp_path / "out") == HERE


def test_a_wrong_checksum_leaves_no_file(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"a\.zip arrived damaged or has changed"):
        get(zip_source(server, checksum=sha256(b"other")), tmp_path / "out")
    assert files_of(tmp_path / "out") == []


def test_a_wrong_size_is_told_with_the_steps_by_hand(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"(?s)another file.*By hand.*1. put it into .*out"):
        get(zip_source(server, size=17), tmp_path / "out")
    with pytest.raises(DownloadError, match=r"(?s)another file.*By hand"):
        get(zip_source(server, size=17, checksum=None), tmp_path / "out")
    chosen = zip_source(server)
    server.files["a.zip"].statuses = [403]
    with pytest.raises(DownloadError, match=r"(?s)login or a form.*By hand"):
        get(chosen, tmp_path / "out")


def test_without_a_published_checksum_the_first_one_is_recorded(
    server: FileServer, tmp_path: Path
) -> None:
    chosen = zip_source(server, size=None, checksum=None)
    record = get(chosen, tmp_path / "out", keep_archives=True)
    assert record.unchecked == ["a.zip"]
    assert record.archive[0].sha256 == hashlib.sha256(server.files["a.zip"].content).hexdigest()
    assert verify_download(tmp_path / "out").damaged == ()


def test_what_the_server_announces_is_compared(server: FileServer, tmp_path: Path) -> None:
    chosen = zip_source(server, size=None, checksum=None)
    told = sha256(server.files["a.zip"].content).hexdigest
    server.files["a.zip"].headers = {"X-Repo-Commit": "c" * 40, "X-Linked-Etag": f'"{told}"'}
    assert get(chosen, tmp_path / "out").archive[0].compared == "announced sha256"
    server.files["a.zip"].headers["X-Linked-Etag"] = f'"{sha256(b"x").hexdigest}"'
    with pytest.raises(DownloadError, match="arrived damaged"):
        get(chosen, tmp_path / "other")


def test_too_little_room_is_told_before_a_byte_is_written(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = zip_source(server)
    archive, content = len(server.files["a.zip"].content), sum(map(len, FILES.values()))
    spare = 64 << 20
    free = archive + UNPACKED + spare - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: USAGE(10**12, 0, free))
    with pytest.raises(DownloadError, match=r"takes 0\.0 GB more in .*0\.1 GB are free"):
        get(chosen, tmp_path / "out")
    assert not server.ranges
    free += 1
    get(chosen, tmp_path / "out")
    # Part of the archive is there now, and no size of its content is published.
    assert chosen.download is not None
    assert chosen.download.archive is not None
    unknown = replace(chosen.download.archive, unpacked_bytes=None)
    smaller = replace(chosen, download=replace(chosen.download, archive=unknown))
    server.files["a.zip"].cuts = [50_000, *[0] * 20]
    with pytest.raises(DownloadError, match="Gave up"):
        get(smaller, tmp_path / "two")
    server.files["a.zip"].cuts.clear()
    free = archive - 50_000 + spare
    with pytest.raises(DownloadError, match=r"To unpack a\.zip takes"):
        get(smaller, tmp_path / "two")
    free = content + spare
    server.requests.clear()
    get(smaller, tmp_path / "two")
    assert not server.requests  # the archive had arrived


@pytest.mark.parametrize("known", [{}, {"size": None, "checksum": None}])
def test_a_disk_that_fills_up_while_unpacking_keeps_the_archive(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: dict[str, None]
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    chosen = zip_source(server, **known)
    with monkeypatch.context() as patch:
        patch.setattr(install, "unpack", full)
        with pytest.raises(DiskFullError, match=r"disk is full at .*archive is kept"):
            get(chosen, tmp_path / "out")
    assert files_of(tmp_path / "out") == ["a.zip"]
    server.requests.clear()
    get(chosen, tmp_path / "out")
    assert not server.requests
    assert files_of(tmp_path / "out") == HERE


def test_a_hostile_archive_leaves_nothing_but_itself(server: FileServer, tmp_path: Path) -> None:
    content = make_zip({"a/good": b"1", "a/../../evil": b"2"})
    with pytest.raises(DownloadError, match="leads out of the folder"):
        get(zip_source(server, content), tmp_path / "out")
    assert files_of(tmp_path) == ["out/a.zip", f"out/{RECORD}"]
    bomb = make_zip({"a/bomb": bytes(30_000_000)})
    with pytest.raises(DownloadError, match="far more than it should"):
        get(zip_source(server, bomb), tmp_path / "bomb")
    assert files_of(tmp_path / "bomb") == ["a.zip"]


def test_a_foreign_file_is_not_overwritten(server: FileServer, tmp_path: Path) -> None:
    mine = tmp_path / "out" / HERE[1]
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(DownloadError, match=r"Forest_2\.tif is in the way"):
        get(zip_source(server), tmp_path / "out")
    assert mine.read_bytes() == b"mine"
    mine.unlink()
    get(zip_source(server), tmp_path / "out")  # what an interrupted call moved is no obstacle
    assert files_of(tmp_path / "out") == HERE


def test_an_archive_put_there_by_hand_is_taken_if_it_is_the_one(
    server: FileServer, tmp_path: Path
) -> None:
    chosen = zip_source(server)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.zip").write_bytes(b"something else")
    with pytest.raises(DownloadError, match="not known to be the published file"):
        get(chosen, tmp_path / "out")
    (tmp_path / "out" / "a.zip").write_bytes(server.files["a.zip"].content)
    get(chosen, tmp_path / "out")
    assert not server.requests
    assert files_of(tmp_path / "out") == HERE


def test_what_only_a_person_can_get_is_checked(tmp_path: Path) -> None:
    files = (
        RemoteFile("random/training.h5", checksum=md5(b"training")),
        RemoteFile("block/training.h5", checksum=md5(b"other")),
    )
    chosen = source(name="so2sat", files=files, by_hand=("get it", "put it into {out}"))
    out = tmp_path / "out"
    with pytest.raises(DownloadError, match=r"(?s)block/training.h5.*1. get it.*2. put it into"):
        get(chosen, out)
    (out / "random").mkdir()
    (out / "random" / "training.h5").write_bytes(b"training!")
    with pytest.raises(DownloadError, match="not known to be the published file"):
        get(chosen, out, only="random/*")
    (out / "random" / "training.h5").write_bytes(b"training")
    record = get(chosen, out, only="random/*")
    assert record.complete == ("random/*",)
    assert [(f.path, f.compared, f.url) for f in record.files] == [
        ("random/training.h5", "published md5", "")
    ]
    assert verify_download(out).damaged == ()
    with pytest.raises(DownloadError, match=r"Missing in .*out: block/training\.h5\."):
        get(chosen, out)
    with pytest.raises(UsageError, match=r"fits no file of so2sat, such as random/training\.h5"):
        get(chosen, out, only="culture/*")


@pytest.fixture
def tree(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """Four files in a folder of a Hub repository, served as the Hub does."""
    files = {f"2019/T{t}/p_{n}.nc": bytes([t, n]) * 1000 for t in (1, 2) for n in (1, 2)}
    server.add_tree("org/set", "c" * 40, "data", files)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    return source(name="s4a", tree=HubTree("org/set", "c" * 40, "data"))


def test_a_folder_of_the_hub_is_copied(server: FileServer, tree: DataSet, tmp_path: Path) -> None:
    get(tree, tmp_path / "out", only="2019/T1/*")
    assert files_of(tmp_path / "out") == ["2019/T1/p_1.nc", "2019/T1/p_2.nc"]
    server.requests.clear()
    get(tree, tmp_path / "out", only="2019/T1/*")
    assert not server.requests
    record = get(tree, tmp_path / "out")
    assert len(server.ranges) == 4  # the first two were not downloaded again
    assert record.complete == ("*",)
    assert {f.compared for f in record.files} == {"published sha256"}
    assert verify_download(tmp_path / "out").files == 4


def test_a_killed_copy_goes_on_with_what_is_there(
    server: FileServer, tree: DataSet, tmp_path: Path
) -> None:
    server.files[f"datasets/org/set/resolve/{'c' * 40}/data/2019/T2/p_1.nc"].statuses = [404]
    with pytest.raises(DownloadError, match="no longer there"):
        get(tree, tmp_path / "out")
    (tmp_path / "out" / RECORD).unlink()  # as after a kill
    get(tree, tmp_path / "out")
    assert len(server.ranges) == 5  # three, of which one failed, and then two


def test_the_hubs_names_are_not_trusted(server: FileServer, tree: DataSet, tmp_path: Path) -> None:
    (listing,) = server.trees.values()
    listing[0]["path"] = "data/../../evil.nc"
    with pytest.raises(DownloadError, match="leads out of the folder"):
        get(tree, tmp_path / "out")
    server.trees.clear()
    with pytest.raises(DownloadError, match="Could not list data of org/set"):
        get(tree, tmp_path / "out")


def test_a_mirror_of_the_hub_is_used(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = zip_source(server, url=f"{HUB}/a.zip")
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    get(chosen, tmp_path / "out")
    assert files_of(tmp_path / "out") == HERE


def test_one_folder_is_for_one_data_set(server: FileServer, tmp_path: Path) -> None:
    chosen = zip_source(server)
    get(chosen, tmp_path / "out")
    with pytest.raises(UsageError, match="holds eurosat"):
        get(replace(chosen, name="oscd"), tmp_path / "out")
    with pytest.raises(UsageError, match="--only does not apply"):
        get(chosen, tmp_path / "out", only="Forest/*")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        get(chosen, tmp_path / "file")


def test_two_at_once_do_not_meet(server: FileServer, tmp_path: Path) -> None:
    chosen = zip_source(server)
    server.gate = threading.Event()
    first = threading.Thread(target=get, args=(chosen, tmp_path / "out"))
    first.start()
    while not server.requests:
        pass
    with pytest.raises(GeorankError, match="is being written by another process"):
        get(chosen, tmp_path / "out")
    server.gate.set()
    first.join()
    assert verify_download(tmp_path / "out").damaged == ()
    assert len(server.ranges) == 1


def test_a_damaged_record_is_told(server: FileServer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    get(zip_source(server), out)
    listing = (out / LISTING).read_bytes()
    (out / LISTING).write_bytes(listing[:-1])
    with pytest.raises(DownloadError, match=f"{LISTING} differs from its SHA-256"):
        verify_download(out)
    (out / LISTING).write_bytes(listing)
    for text, message in (
        ("{", "is damaged"),
        ('{"format": 1}', "is damaged"),
        ("[]", "is damaged"),
        ('{"format": 3}', "later version"),
    ):
        (out / RECORD).write_text(text)
        with pytest.raises(DownloadError, match=message):
            read_record(out)


def test_the_registry_is_sound() -> None:
    for name, dataset in DATASETS.items():
        assert dataset.name == name
        assert dataset.license
        entry = dataset.download
        if entry is None:
            continue
        parts = entry.archive.parts if entry.archive else ()
        files = (*entry.files, *parts)
        assert entry.by_hand
        assert files or entry.tree
        for file in files:
            assert file.url is None or file.url.startswith("https://")
            if file.url and file.url.startswith(HUB):
                revision = file.url.split("/resolve/")[1].split("/")[0]
                assert len(revision) == 40, "a commit, not a branch"
                assert file.url.startswith(f"{HUB}/datasets/{dataset.hub_id}/")
            if file.checksum:
                digits = {"sha256": 64, "md5": 32}[file.checksum.algorithm]
                assert len(file.checksum.hexdigest) == digits
            else:
                assert name == "cashew", "only GEO-Bench publishes no checksum"
        assert entry.tree is None or len(entry.tree.revision) == 40
        assert entry.tree is None or entry.tree.repo == dataset.hub_id
        # What a step says must be formattable with the folder alone.
        assert all("{" not in step.format(out="x") for step in entry.by_hand)


def test_the_registry_knows_a_real_file(real_data: Path) -> None:
    assert BIGEARTHNET.download is not None
    (known,) = BIGEARTHNET.download.files
    path = real_data / "metadata" / "bigearthnet_v2_metadata.parquet"
    assert known.checksum is not None
    assert known.size == path.stat().st_size
    assert known.checksum == md5(path.read_bytes())


def run(*arguments: object) -> int:
    return _run([str(argument) for argument in arguments], False)


def test_the_command_line_downloads_and_verifies(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "my data"
    monkeypatch.setitem(DATASETS, "eurosat", zip_source(server, size=None, checksum=None))
    assert run("data", "download", "eurosat", "--out", out) == 0
    shown = capsys.readouterr().out
    assert "License: CC0" in shown
    assert "4 files" in shown
    assert "No checksum is published for a.zip" in shown
    assert f"georank data prepare eurosat '{out}' --out stores/eurosat" in shown
    assert run("data", "verify", out) == 0
    assert "all 4 files are intact (eurosat)" in capsys.readouterr().out
    (out / HERE[0]).write_bytes(b"")
    assert run("data", "verify", out) == 1
    shown = capsys.readouterr().err
    assert "1 of 4 files" in shown
    assert f"{HERE[0]} has 0 bytes instead of 60000" in shown
    assert f"georank data download eurosat --out '{out}'" in shown


def test_the_command_line_lists_and_corrects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("data", "download") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name, dataset in DATASETS.items() if dataset.download)
    assert run("data", "download", "eurosta", "--out", tmp_path / "x") == 2
    assert "Did you mean 'eurosat'?" in capsys.readouterr().err
    assert run("data", "download", "eurosat") == 2
    assert "--out FOLDER" in capsys.readouterr().err
    assert run("data", "download", "so2sat", "--out", tmp_path / "x", "--only", "random/*") == 1
    shown = capsys.readouterr().err
    assert "random/training.h5, random/testing.h5." in shown
    assert "https://mediatum.ub.tum.de/1613658" in shown


def test_ctrl_c_keeps_what_has_arrived(server: FileServer, tmp_path: Path) -> None:
    content = make_zip({"a/x": NOISE, "a/y": NOISE[::-1]})
    chosen = zip_source(server, content)
    # The server sends half of it and then nothing, so the program waits.
    server.files["a.zip"].length = len(content)
    server.files["a.zip"].content = content[: len(content) // 2]
    server.files["a.zip"].stalls = True
    code = (
        "import sys; from georank_zoo.data.datasets import DATASETS;"
        "from georank_zoo.data.datasets.base import *; from georank_cli.main import _run;"
        "from huggingface_hub import constants; constants.DOWNLOAD_CHUNK_SIZE = 1000;"
        f"DATASETS['eurosat'] = {chosen!r};"
        f"out = {str(tmp_path / 'out')!r};"
        "sys.exit(_run(['data', 'download', 'eurosat', '--out', out], False))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    partial = tmp_path / "out" / "a.zip.partial"
    while not partial.exists() or partial.stat().st_size == 0:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=20)
    server.release.set()
    assert process.returncode == 130
    assert "What has arrived is kept" in shown
    assert "Traceback" not in shown
    kept = partial.stat().st_size
    assert 0 < kept <= len(content) // 2
    server.files["a.zip"] = Served(content)
    get(chosen, tmp_path / "out")
    assert server.ranges[-1] == f"bytes={kept}-"
    assert json.loads((tmp_path / "out" / RECORD).read_text())["complete"] == ["*"]
