"""One file over HTTP: resumed where it broke off, tried again, checked, and then renamed."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import httpx2

from georank_zoo.data.download.partial import PartialFile
from georank_zoo.data.download.source import Checksum
from georank_zoo.utils.errors import DownloadError

logger = logging.getLogger(__name__)

_CHUNK = 1 << 20
_LONGEST_WAIT = 60.0  # seconds
_TIMEOUT = httpx2.Timeout(15.0, read=60.0)
_SHA256 = re.compile(r"[0-9a-f]{64}")
# What may pass by itself: RFC 9110, 15.5.9 and 15.6; RFC 8470; RFC 6585, 4.
_PASSING = {408, 425, 429, 500, 502, 503, 504}
# A range of a compressed answer would be no range of the file.
_HEADERS = {"Accept-Encoding": "identity"}

T = TypeVar("T")


class Refused(DownloadError):
    """The server does not give the file, and asking again will not help."""


class _Again(Exception):
    """This attempt failed; another may not."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Remote:
    """What a server tells of a file before it sends it; the Hub names large ones by SHA-256."""

    size: int | None
    sha256: str | None


@dataclass(frozen=True)
class Fetched:
    """A file that has arrived, by what lies on the disk."""

    size: int
    sha256: str


def new_client() -> httpx2.Client:
    """A client that follows redirects; the system's proxies and certificates hold."""
    return httpx2.Client(follow_redirects=True, timeout=_TIMEOUT, headers=_HEADERS)


def probe(client: httpx2.Client, url: str, *, retries: int = 5, backoff: float = 1.0) -> Remote:
    """Asks for size and SHA-256 of a file.

    Raises:
        Refused: If the server does not give it.
        DownloadError: If the server does not answer.
    """

    def ask() -> Remote:
        try:
            response = client.head(url)
            if response.status_code >= HTTPStatus.BAD_REQUEST:
                # Signed links and some share servers answer GET only.
                with client.stream("GET", url) as response:
                    _require_success(response, url)
        except httpx2.TransportError as error:
            raise _Again(_reason(error)) from error
        hops = (*response.history, response)
        linked = [hop.headers.get("X-Linked-Etag", "").strip('"') for hop in hops]
        sha256 = next((etag for etag in linked if _SHA256.fullmatch(etag)), None)
        return Remote(_length(response), sha256)

    return _persist(ask, url, retries=retries, backoff=backoff, reached=lambda: 0)


def fetch(
    client: httpx2.Client,
    url: str,
    target: Path,
    *,
    size: int | None = None,
    checksum: Checksum | None = None,
    retries: int = 5,
    backoff: float = 1.0,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Fetched:
    """Downloads to `<target>.partial`, checks it and renames it to `target`.

    What an earlier call left is continued if the server still has the same file.

    Args:
        client: From `new_client`.
        url: The file.
        target: Where it is put.
        size: Bytes that it must have.
        checksum: That it must have.
        retries: Failures in a row without a byte of progress before it is given up.
        backoff: Seconds before the first retry; doubled each time.
        on_progress: Called with (bytes, in all if known).

    Raises:
        Refused: If the server does not give the file, or one of another size.
        DownloadError: If the connection keeps breaking, the disk is full, or the checksum differs.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    job = _Job(client, url, PartialFile(target), size, checksum, on_progress or (lambda *_: None))
    algorithms = {"sha256"} | ({str(checksum.algorithm)} if checksum else set())
    anew = False
    while True:
        continued = _persist(
            lambda: _receive(job), url, retries=retries, backoff=backoff, reached=job.partial.size
        )
        sums = digests(job.partial.path, algorithms)
        if checksum is None or sums[checksum.algorithm] == checksum.hexdigest:
            break
        job.partial.discard()
        if not continued or anew:
            raise DownloadError(
                f"{target.name} arrived damaged or has changed on the server: its "
                f"{checksum.algorithm.upper()} is {sums[checksum.algorithm]}, not "
                f"{checksum.hexdigest}. What arrived was deleted. Try again."
            )
        # The halves may not belong together; a copy in one piece decides.
        logger.warning("The continued %s is damaged; downloading it anew.", target.name)
        anew = True
    arrived = Fetched(job.partial.size(), sums["sha256"])
    job.partial.finish()
    return arrived


def digests(path: Path, algorithms: set[str]) -> dict[str, str]:
    """Digests of a file by algorithm, in one read: of what the disk holds, not the network."""
    hashers = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for hasher in hashers.values():
                hasher.update(chunk)
    return {name: hasher.hexdigest() for name, hasher in hashers.items()}


@dataclass(frozen=True)
class _Job:
    client: httpx2.Client
    url: str
    partial: PartialFile
    size: int | None
    checksum: Checksum | None
    report: Callable[[int, int | None], None]


def _persist(
    action: Callable[[], T], url: str, *, retries: int, backoff: float, reached: Callable[[], int]
) -> T:
    """Repeats an action until it succeeds, or fails `retries` times in a row without progress."""
    failures, best = 0, reached()
    while True:
        try:
            return action()
        except _Again as again:
            # The furthest ever, not the last: a server that ignores ranges starts anew each time.
            failures = 1 if reached() > best else failures + 1
            best = max(best, reached())
            if failures > retries:
                kept = f" {reached() / 2**20:.1f} MiB are kept." if reached() else ""
                raise DownloadError(
                    f"Gave up on {url} after {failures} failures in a row: {again}.{kept} "
                    "Repeat the command to go on."
                ) from again
            wait = again.wait if again.wait is not None else backoff * 2 ** (failures - 1)
            wait = min(wait, _LONGEST_WAIT)
            logger.warning("%s: %s. Trying again in %.0f s.", url, again, wait)
            time.sleep(wait)


def _receive(job: _Job) -> bool:
    """One attempt to receive the rest of a file; returns whether an earlier part was continued."""
    validator = job.partial.validator(job.url, checked=job.checksum is not None)
    have = job.partial.size()
    if have and have == job.size:
        return True  # killed after the last byte
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and validator:
        headers["If-Range"] = validator
    try:
        with job.client.stream("GET", job.url, headers=headers) as response:
            if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                if _content_range(response) == (None, have):
                    return True
                job.partial.discard()
                raise _Again("the file is shorter now on the server", wait=0)
            _require_success(response, job.url)
            continued = response.status_code == HTTPStatus.PARTIAL_CONTENT
            total = _total(job, response, have if continued else 0, validator)
            if not continued:
                have = 0
                job.partial.begin(job.url, _validator(response))
            _write(job, response, have, total)
    except httpx2.TransportError as error:
        raise _Again(_reason(error)) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DownloadError(
            f"No space is left for {job.partial.target}; {job.partial.size() / 2**20:.1f} MiB of "
            "it are kept. Make room and repeat the command."
        ) from error
    if total is not None and job.partial.size() != total:
        raise _Again(f"the connection ended after {job.partial.size()} of {total} bytes")
    return continued


def _total(job: _Job, response: httpx2.Response, first: int, validator: str) -> int | None:
    """Checks an answer before a byte of it is written; returns the size of the whole file."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Refused(f"{job.url} is sent compressed, so it can neither be checked nor resumed.")
    total = _length(response)
    if first:
        begins, total = _content_range(response)
        now = _validator(response)
        if begins != first or (now and validator and now != validator):
            job.partial.discard()
            raise _Again("the file has changed on the server", wait=0)
    if job.size is not None and total is not None and total != job.size:
        job.partial.discard()
        raise Refused(
            f"{job.url} has {total} bytes on the server, not {job.size}: it is another file."
        )
    return job.size if total is None else total


def _write(job: _Job, response: httpx2.Response, have: int, total: int | None) -> None:
    with job.partial.path.open("ab") as file:
        # As it comes in: what a larger chunk still waits for would be lost with the connection.
        for chunk in response.iter_raw():
            have += len(chunk)
            if total is not None and have > total:
                raise Refused(f"{job.url} sends more than its {total} bytes.")
            file.write(chunk)
            job.report(have, total)
        file.flush()
        os.fsync(file.fileno())


def _require_success(response: httpx2.Response, url: str) -> None:
    status = response.status_code
    if status in _PASSING:
        after = response.headers.get("Retry-After", "")
        raise _Again(f"the server answers {status}", float(after) if after.isdecimal() else None)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise Refused(f"The server refuses {url} ({status}): it wants a login or a form.")
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise Refused(f"{url} is not there any more ({status}).")
    if not response.is_success:
        raise Refused(f"The server answers {status} to {url}.")


def _validator(response: httpx2.Response) -> str:
    """What `If-Range` takes: a strong ETag, or else the date (RFC 9110, 13.1.5)."""
    etag: str = response.headers.get("ETag", "")
    modified: str = response.headers.get("Last-Modified", "")
    return etag if etag and not etag.startswith("W/") else modified


def _length(response: httpx2.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def _content_range(response: httpx2.Response) -> tuple[int | None, int | None]:
    """First byte and size of the whole, as far as they are told."""
    text = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", text)
    if match is None:
        return None, None
    first, total = match[1], match[2]
    return int(first) if first else None, int(total) if total != "*" else None


def _reason(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__
