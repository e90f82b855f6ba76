from __future__ import annotations

import errno
import hashlib
import io
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from georank_zoo.data.datasets.base import Checksum
from georank_zoo.data.download.transfer import Refused, RemoteInfo, ask, fetch_url
from georank_zoo.utils.errors import DownloadError
from tests.support.file_server import FileServer, Served

CONTENT = random.Random(0).randbytes(3_000_000)
OTHER = random.Random(1).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
CHECKSUM = Checksum("sha256", SHA256)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as opened:
        yield opened


def get(server: FileServer, target: Path, **options: Any) -> Any:
    settings = {"retries": 2, "backoff": 0.0, **options}
    return fetch_url(f"{server.url}/a.bin", target, **settings)


def partial(target: Path) -> Path:
    return target.with_name(f"{target.name}.partial")


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "checksum",
    [
        None,
        Checksum("sha256", SHA256),
        Checksum("md5", hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()),
    ],
)
def test_a_file_arrives(server: FileServer, tmp_path: Path, checksum: Checksum | None) -> None:
    server.files["a.bin"] = Served(CONTENT)
    steps: list[tuple[int, int | None]] = []
    got = get(
        server, tmp_path / "a.bin", checksum=checksum, size=len(CONTENT),
        on_progress=lambda done, total: steps.append((done, total)),
    )  # fmt: skip
    assert got == SHA256
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["a.bin"]
    assert steps[-1] == (len(CONTENT), len(CONTENT))


def test_a_cut_connection_is_continued_in_the_same_call(server: FileServer, tmp_path: Path) -> None:
    # More cuts than retries: each brings bytes, so none of them counts.
    server.files["a.bin"] = Served(CONTENT, cuts=[500_000] * 5)
    get(server, tmp_path / "a.bin", checksum=CHECKSUM)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.ranges == [None, *(f"bytes={n * 500_000}-" for n in range(1, 6))]


def begin(server: FileServer, target: Path) -> None:
    """Leaves the first 1,000,000 bytes, as an interrupted call does."""
    server.files["a.bin"] = Served(CONTENT, cuts=[1_000_000, *[0] * 50])
    with pytest.raises(DownloadError, match=r"Gave up on .*a\.bin.* 1\.0 MiB are kept"):
        get(server, target, checksum=CHECKSUM, retries=1)
    assert partial(target).read_bytes() == CONTENT[:1_000_000]
    assert not target.exists()
    server.files["a.bin"].cuts.clear()
    server.ranges.clear()


def test_a_later_call_continues_what_an_earlier_one_left(
    server: FileServer, tmp_path: Path
) -> None:
    begin(server, tmp_path / "a.bin")
    get(server, tmp_path / "a.bin", checksum=CHECKSUM)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000000-"]


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_killed_after_the_last_byte(server: FileServer, tmp_path: Path, size: int | None) -> None:
    begin(server, tmp_path / "a.bin")
    partial(tmp_path / "a.bin").write_bytes(CONTENT)
    assert get(server, tmp_path / "a.bin", size=size, checksum=CHECKSUM) == SHA256
    # Without a known size the server says that nothing is there to continue, so it comes anew.
    assert server.ranges == ([] if size else [f"bytes={len(CONTENT)}-", None])


def test_a_server_that_ignores_ranges_sends_it_anew(server: FileServer, tmp_path: Path) -> None:
    server.files["a.bin"] = Served(CONTENT, ranges=False, cuts=[2_000_000])
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_server_that_never_gets_further_is_given_up(server: FileServer, tmp_path: Path) -> None:
    server.files["a.bin"] = Served(CONTENT, ranges=False, cuts=[1_000_000] * 50)
    with pytest.raises(DownloadError, match="Gave up"):
        get(server, tmp_path / "a.bin", retries=3)
    assert len(server.ranges) <= 5


def test_a_file_that_changed_between_two_tries_is_downloaded_anew(
    server: FileServer, tmp_path: Path
) -> None:
    server.files["a.bin"] = Served(CONTENT, cuts=[1_000_000], changes=(OTHER, '"two"'))
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == OTHER
    assert len(server.ranges) == 2  # If-Range had the whole file sent at once


def test_halves_of_two_files_are_not_taken_for_one(server: FileServer, tmp_path: Path) -> None:
    other = Checksum("sha256", hashlib.sha256(OTHER).hexdigest())
    served = Served(CONTENT, cuts=[1_000_000], changes=(OTHER, '"two"'))
    server.files["a.bin"] = served
    with pytest.raises(DownloadError, match="arrived damaged or has changed"):
        get(server, tmp_path / "a.bin", checksum=other)
    assert leftovers(tmp_path) == []
    get(server, tmp_path / "a.bin", checksum=other)
    assert (tmp_path / "a.bin").read_bytes() == OTHER


def test_without_a_checksum_nothing_is_continued(server: FileServer, tmp_path: Path) -> None:
    begin(server, tmp_path / "a.bin")
    get(server, tmp_path / "a.bin")
    assert server.ranges == [None]
    server.files["a.bin"].cuts = [1_000_000]
    get(server, tmp_path / "b.bin")
    assert (tmp_path / "b.bin").read_bytes() == CONTENT


def test_with_a_checksum_it_is_continued_without_a_validator(
    server: FileServer, tmp_path: Path
) -> None:
    server.files["a.bin"] = Served(CONTENT, etag="", cuts=[1_000_000])
    get(server, tmp_path / "a.bin", checksum=CHECKSUM)
    assert server.ranges == [None, "bytes=1000000-"]


def test_another_file_does_not_continue_the_partial_file(
    server: FileServer, tmp_path: Path
) -> None:
    begin(server, tmp_path / "a.bin")
    server.files["b.bin"] = Served(OTHER)
    other = Checksum("sha256", hashlib.sha256(OTHER).hexdigest())
    fetch_url(f"{server.url}/b.bin", tmp_path / "a.bin", checksum=other)
    assert (tmp_path / "a.bin").read_bytes() == OTHER


def test_a_wrong_checksum_leaves_nothing(server: FileServer, tmp_path: Path) -> None:
    server.files["a.bin"] = Served(OTHER)
    with pytest.raises(DownloadError, match=f"SHA256 is .*, not {SHA256}"):
        get(server, tmp_path / "a.bin", checksum=Checksum("sha256", SHA256))
    assert leftovers(tmp_path) == []
    assert len(server.ranges) == 1


def test_a_damaged_beginning_is_downloaded_anew_once(server: FileServer, tmp_path: Path) -> None:
    begin(server, tmp_path / "a.bin")
    partial(tmp_path / "a.bin").write_bytes(b"x" * 1_000_000)
    get(server, tmp_path / "a.bin", checksum=CHECKSUM)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000000-", None]


def test_a_partial_file_that_is_too_long_is_downloaded_anew(
    server: FileServer, tmp_path: Path
) -> None:
    begin(server, tmp_path / "a.bin")
    partial(tmp_path / "a.bin").write_bytes(CONTENT + b"x")
    get(server, tmp_path / "a.bin", checksum=CHECKSUM, size=len(CONTENT))
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_another_size_is_refused_before_a_byte_is_written(
    server: FileServer, tmp_path: Path
) -> None:
    server.files["a.bin"] = Served(CONTENT)
    with pytest.raises(Refused, match="3000000 bytes on the server, not 5"):
        get(server, tmp_path / "a.bin", size=5)
    assert leftovers(tmp_path) == []


def test_a_wrong_content_length_is_no_file(server: FileServer, tmp_path: Path) -> None:
    server.files["a.bin"] = Served(CONTENT, length=4_000_000, ranges=False)
    with pytest.raises(DownloadError, match="Gave up"):
        get(server, tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()


def test_more_than_was_published_is_refused_without_a_content_length(
    server: FileServer, tmp_path: Path
) -> None:
    server.files["a.bin"] = Served(CONTENT, length=0)
    with pytest.raises(Refused, match="more than its 1000 bytes"):
        get(server, tmp_path / "a.bin", size=1000)
    assert not (tmp_path / "a.bin").exists()


def test_without_a_content_length_the_end_is_the_end(server: FileServer, tmp_path: Path) -> None:
    server.files["a.bin"] = Served(CONTENT, length=0)
    assert get(server, tmp_path / "a.bin") == SHA256


def test_a_compressed_answer_is_not_taken_for_the_file(server: FileServer, tmp_path: Path) -> None:
    server.files["a.bin"] = Served(CONTENT, compressed=True)
    with pytest.raises(DownloadError, match="Gave up"):
        get(server, tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()


@pytest.mark.parametrize(
    ("status", "message"), [(404, "no longer there"), (403, "login or a form"), (400, "400")]
)
def test_what_will_not_pass_is_not_tried_again(
    server: FileServer, tmp_path: Path, status: int, message: str
) -> None:
    server.files["a.bin"] = Served(CONTENT, statuses=[status])
    with pytest.raises(Refused, match=message):
        get(server, tmp_path / "a.bin")
    assert len(server.ranges) == 1
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_what_may_pass_is_tried_again_after_the_time_that_the_server_names(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("georank_zoo.data.download.transfer.time.sleep", waits.append)
    server.files["a.bin"] = Served(CONTENT, statuses=[503, 503], retry_after="7")
    get(server, tmp_path / "a.bin")
    server.files["a.bin"].statuses = [429, 500]
    server.files["a.bin"].retry_after = ""
    get(server, tmp_path / "b.bin", backoff=3.0)
    server.files["a.bin"].statuses = [503]
    server.files["a.bin"].retry_after = "86400"
    get(server, tmp_path / "c.bin")
    # The Hub's client itself waits after a 429.
    assert waits == [7, 7, 3, 60]


def test_nobody_listens(tmp_path: Path) -> None:
    with FileServer() as server:
        url = server.url
    with pytest.raises(DownloadError, match=r"Gave up on .* after 2 failures in a row"):
        fetch_url(f"{url}/a.bin", tmp_path / "a.bin", retries=1, backoff=0)


def test_a_full_disk_keeps_what_has_arrived(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["a.bin"] = Served(CONTENT)
    original = Path.open

    class Full(io.FileIO):
        def write(self, chunk: Any) -> int:
            if self.tell() + len(chunk) > 1_000_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(chunk) or 0

    def opened(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        return Full(path, mode) if mode == "ab" else original(path, mode, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with pytest.raises(
            DownloadError, match=r"No space is left for .*a\.bin; [01]\.\d MiB .* kept"
        ):
            get(server, tmp_path / "a.bin")
    kept = partial(tmp_path / "a.bin").stat().st_size
    assert 900_000 < kept <= 1_000_000
    assert get(server, tmp_path / "a.bin", checksum=CHECKSUM) == SHA256
    assert server.ranges == [None, f"bytes={kept}-"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_full_at_once(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["a.bin"] = Served(CONTENT)
    original = Path.open

    def opened(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        return original(Path("/dev/full") if mode == "ab" else path, mode, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with pytest.raises(DownloadError, match="Make room and repeat"):
            get(server, tmp_path / "a.bin")
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_the_server_is_asked_for_size_and_the_hubs_sha256(server: FileServer) -> None:
    linked = {"X-Linked-Etag": f'"{SHA256}"'}
    server.files["a.bin"] = Served(CONTENT, headers={**linked, "X-Repo-Commit": "c" * 40})
    server.files["b.bin"] = Served(CONTENT, head=False)
    server.files["c.bin"] = Served(CONTENT, etag=f'"{"0" * 64}"')
    assert ask(f"{server.url}/a.bin") == RemoteInfo(len(CONTENT), SHA256)
    assert ask(f"{server.url}/b.bin") == RemoteInfo()
    assert ask(f"{server.url}/c.bin") == RemoteInfo(len(CONTENT), None)


def test_the_users_token_goes_nowhere(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.files["a.bin"] = Served(CONTENT)
    ask(f"{server.url}/a.bin")
    get(server, tmp_path / "a.bin")
    assert server.tokens == {None}


def test_offline_mode_is_told(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["a.bin"] = Served(CONTENT)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "is_offline_mode", lambda: True)
    close_session()
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"):
        get(server, tmp_path / "a.bin")
    monkeypatch.undo()
    close_session()
