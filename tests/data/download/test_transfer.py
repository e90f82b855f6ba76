from __future__ import annotations

import errno
import hashlib
import io
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from georank_zoo.data.download.source import Checksum
from georank_zoo.data.download.transfer import Refused, fetch, new_client, probe
from georank_zoo.utils.errors import DownloadError
from tests.support.file_server import FileServer, Served

CONTENT = random.Random(0).randbytes(3_000_000)
OTHER = random.Random(1).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with new_client() as opened:
        yield opened


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as opened:
        yield opened


def get(server: FileServer, client: httpx2.Client, target: Path, **options: Any) -> Any:
    settings = {"retries": 2, "backoff": 0.0, **options}
    return fetch(client, f"{server.url}/a.bin", target, **settings)


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
def test_a_file_arrives(
    server: FileServer, client: httpx2.Client, tmp_path: Path, checksum: Checksum | None
) -> None:
    server.files["a.bin"] = Served(CONTENT)
    steps: list[tuple[int, int | None]] = []
    got = get(
        server, client, tmp_path / "a.bin", checksum=checksum, size=len(CONTENT),
        on_progress=lambda done, total: steps.append((done, total)),
    )  # fmt: skip
    assert (got.size, got.sha256) == (len(CONTENT), SHA256)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["a.bin"]
    assert steps[-1] == (len(CONTENT), len(CONTENT))


def test_a_cut_connection_is_continued_in_the_same_call(
    server: FileServer, client: httpx2.Client, tmp_path: Path
) -> None:
    # More cuts than retries: each brings bytes, so none of them counts.
    server.files["a.bin"] = Served(CONTENT, cuts=[500_000] * 5)
    get(server, client, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.ranges == [None, *(f"bytes={n * 500_000}-" for n in range(1, 6))]


def test_a_later_call_continues_what_an_earlier_one_left(
    server: FileServer, client: httpx2.Client, tmp_path: Path
) -> None:
    server.files["a.bin"] = Served(CONTENT, cuts=[1_000_000, 0, 0])
    with pytest.raises(DownloadError, match=r"Gave up on .*a\.bin.* 1\.0 MiB are kept"):
        get(server, client, tmp_path / "a.bin", retries=1)
    assert partial(tmp_path / "a.bin").read_bytes() == CONTENT[:1_000_000]
    assert not (tmp_path / "a.bin").exists()
    server.files["a.bin"].cuts.clear()
    get(server, client, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=1000000-"


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_killed_after_the_last_byte_downloads_nothing_more(
    server: FileServer, client: httpx2.Client, tmp_path: Path, size: int | None
) -> None:
    server.files["a.bin"] = Served(CONTENT, cuts=[0])
    with pytest.raises(DownloadError):
        get(server, client, tmp_path / "a.bin", retries=0)
    partial(tmp_path / "a.bin").write_bytes(CONTENT)
    got = get(server, client, tmp_path / "a.bin", size=size)
    assert got.sha256 == SHA256
    # Without a known size the server says that there is nothing after the last byte.
    assert server.ranges[1:] == ([] if size else [f"bytes={len(CONTENT)}-"])


def test_a_server_that_ignores_ranges_sends_it_anew(
    server: FileServer, client: httpx2.Client, tmp_path: Path
) -> None:
    server.files["a.bin"] = Served(CONTENT, ranges=False, cuts=[2_000_000])
    get(server, client, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_server_that_never_gets_further_is_given_up(
    server: FileServer, client: httpx2.Client, tmp_path: Path
) -> None:
    server.files["a.bin"] = Served(CONTENT, ranges=False, cuts=[1_000_000] * 50)
    with pytest.raises(DownloadError, match="Gave up"):
        get(server, client, tmp_path / "a.bin", retries=3)
    assert len(server.ranges) == 4


@pytest.mark.parametrize("checksum", [None, Checksum("sha256", hashlib.sha256(OTHER).hexdigest())])
def test_a_file_that_changed_between_two_tries_is_downloaded_anew(
    server: FileServer, client: httpx2.Client, tmp_path: Path, checksum: Checksum | None
) -> None:
    server.files["a.bin"] = Served(CONTENT, cuts=[1_000_000], changes=(OTHER, '"two"'))
    get(server, client, tmp_path / "a.bin", checksum=checksum)
    assert (tmp_path / "a.bin").read_bytes() == OTHER
    assert len(server.ranges) == 2  # If-Range had the whole file sent at once


def test_a_changed_file_under_an_unheeded_if_range_is_noticed(
    server: FileServer, client: httpx2.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Served(CONTENT, cuts=[1_000_000], changes=(OTHER, '"two"'))
    server.files["a.bin"] = served
    # This server takes any If-Range for its own ETag, so it sends the other file's second half.
    monkeypatch.setattr(client, "stream", without_if_range(client.stream))
    get(server, client, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == OTHER
    assert server.ranges == [None, "bytes=1000000-", None]


def without_if_range(stream: Any) -> Any:
    def wrapped(*args: Any, headers: dict[str, str], **options: Any) -> Any:
        headers = {name: value for name, value in headers.items() if name != "If-Range"}
        return stream(*args, headers=headers, **options)

    return wrapped


def test_without_validator_and_checksum_nothing_is_continued(
    server: FileServer, client: httpx2.Client, tmp_path: Path
) -> None:
    server.files["a.bin"] = Served(CONTENT, etag="", cuts=[1_000_000])
    get(server, client, tmp_path / "a.bin")
    assert server.ranges == [None, None]


def test_with_a_checksum_it_is_continued_without_a_validator(
    server: FileServer, client: httpx2.Client, tmp_path: Path
) -> None:
    server.files["a.bin"] = Served(CONTENT, etag="", cuts=[1_000_000])
    get(server, client, tmp_path / "a.bin", checksum=Checksum("sha256", SHA256))
    assert server.ranges == [None, "bytes=1000000-"]


def test_a_weak_etag_continues_by_date(
    server: FileServer, client: httpx2.Client, tmp_path: Path
) -> None:
    date = "Mon, 01 Jan 2024 00:00:00 GMT"
    served = Served(CONTENT, etag='W/"x"', cuts=[1_000_000], headers={"Last-Modified": date})
    server.files["a.bin"] = served
    get(server, client, tmp_path / "a.bin")
    # The server compares If-Range with its ETag only, so it sends the whole file again.
    assert server.ranges == [None, "bytes=1000000-"]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_another_url_does_not_continue_the_partial_file(
    server: FileServer, client: httpx2.Client, tmp_path: Path
) -> None:
    server.files["a.bin"] = Served(CONTENT, cuts=[1_000_000])
    server.files["b.bin"] = Served(OTHER)
    with pytest.raises(DownloadError):
        get(server, client, tmp_path / "a.bin", retries=0)
    fetch(client, f"{server.url}/b.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == OTHER


def test_a_wrong_checksum_leaves_nothing(
    server: FileServer, client: httpx2.Client, tmp_path: Path
) -> None:
    server.files["a.bin"] = Served(OTHER)
    with pytest.raises(DownloadError, match=f"SHA256 is .*, not {SHA256}"):
        get(server, client, tmp_path / "a.bin", checksum=Checksum("sha256", SHA256))
    assert leftovers(tmp_path) == []
    assert len(server.ranges) == 1


def test_a_damaged_beginning_is_downloaded_anew_once(
    server: FileServer, client: httpx2.Client, tmp_path: Path
) -> None:
    server.files["a.bin"] = Served(CONTENT, cuts=[1_000_000])
    with pytest.raises(DownloadError):
        get(server, client, tmp_path / "a.bin", retries=0)
    partial(tmp_path / "a.bin").write_bytes(b"x" * 1_000_000)
    get(server, client, tmp_path / "a.bin", checksum=Checksum("sha256", SHA256))
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000000-", None]


def test_another_size_is_refused_before_a_byte_is_written(
    server: FileServer, client: httpx2.Client, tmp_path: Path
) -> None:
    server.files["a.bin"] = Served(CONTENT)
    with pytest.raises(Refused, match="3000000 bytes on the server, not 5"):
        get(server, client, tmp_path / "a.bin", size=5)
    assert leftovers(tmp_path) == []


def test_a_wrong_content_length_is_no_file(
    server: FileServer, client: httpx2.Client, tmp_path: Path
) -> None:
    server.files["a.bin"] = Served(CONTENT, length=4_000_000, ranges=False)
    with pytest.raises(DownloadError, match="Gave up"):
        get(server, client, tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()


def test_more_than_was_published_is_refused_without_a_content_length(
    server: FileServer, client: httpx2.Client, tmp_path: Path
) -> None:
    server.files["a.bin"] = Served(CONTENT, length=0)
    with pytest.raises(Refused, match="more than its 1000 bytes"):
        get(server, client, tmp_path / "a.bin", size=1000)
    assert not (tmp_path / "a.bin").exists()


def test_without_a_content_length_the_end_is_the_end(
    server: FileServer, client: httpx2.Client, tmp_path: Path
) -> None:
    server.files["a.bin"] = Served(CONTENT, length=0)
    assert get(server, client, tmp_path / "a.bin").sha256 == SHA256


def test_a_compressed_answer_is_refused(
    server: FileServer, client: httpx2.Client, tmp_path: Path
) -> None:
    server.files["a.bin"] = Served(CONTENT, compressed=True)
    with pytest.raises(Refused, match="compressed"):
        get(server, client, tmp_path / "a.bin")


@pytest.mark.parametrize(
    ("status", "message"), [(404, "not there any more"), (403, "login or a form"), (400, "400")]
)
def test_what_will_not_pass_is_not_tried_again(
    server: FileServer, client: httpx2.Client, tmp_path: Path, status: int, message: str
) -> None:
    server.files["a.bin"] = Served(CONTENT, statuses=[status])
    with pytest.raises(Refused, match=message):
        get(server, client, tmp_path / "a.bin")
    assert len(server.ranges) == 1
    get(server, client, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_what_may_pass_is_tried_again_after_the_time_that_the_server_names(
    server: FileServer, client: httpx2.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("georank_zoo.data.download.transfer.time.sleep", waits.append)
    server.files["a.bin"] = Served(CONTENT, statuses=[503, 503], retry_after="7")
    get(server, client, tmp_path / "a.bin")
    server.files["a.bin"].statuses = [429, 500]
    server.files["a.bin"].retry_after = ""
    get(server, client, tmp_path / "b.bin", backoff=3.0)
    server.files["a.bin"].statuses = [503]
    server.files["a.bin"].retry_after = "86400"
    get(server, client, tmp_path / "c.bin")
    assert waits == [7, 7, 3, 6, 60]


def test_nobody_listens(client: httpx2.Client, tmp_path: Path) -> None:
    with FileServer() as server:
        url = server.url
    with pytest.raises(DownloadError, match=r"Gave up on .* after 2 failures in a row"):
        fetch(client, f"{url}/a.bin", tmp_path / "a.bin", retries=1, backoff=0)


def test_a_full_disk_keeps_what_has_arrived(
    server: FileServer, client: httpx2.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        with pytest.raises(DownloadError, match=r"No space is left for .*a\.bin; 0\.9 MiB .* kept"):
            get(server, client, tmp_path / "a.bin")
    kept = partial(tmp_path / "a.bin").stat().st_size
    assert 900_000 < kept <= 1_000_000
    assert get(server, client, tmp_path / "a.bin").sha256 == SHA256
    assert server.ranges == [None, f"bytes={kept}-"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_full_at_once(
    server: FileServer, client: httpx2.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["a.bin"] = Served(CONTENT)
    original = Path.open

    def opened(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        return original(Path("/dev/full") if mode == "ab" else path, mode, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with pytest.raises(DownloadError, match="Make room and repeat"):
            get(server, client, tmp_path / "a.bin")
    get(server, client, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_probe_tells_size_and_the_hubs_sha256(server: FileServer, client: httpx2.Client) -> None:
    server.files["a.bin"] = Served(CONTENT, headers={"X-Linked-Etag": f'"{SHA256}"'})
    server.files["b.bin"] = Served(CONTENT, head=False)
    told = probe(client, f"{server.url}/a.bin")
    assert (told.size, told.sha256) == (len(CONTENT), SHA256)
    told = probe(client, f"{server.url}/b.bin")
    assert (told.size, told.sha256) == (len(CONTENT), None)
    with pytest.raises(Refused, match="not there any more"):
        probe(client, f"{server.url}/c.bin")
