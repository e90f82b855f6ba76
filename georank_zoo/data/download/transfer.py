"""Download of one file over HTTP: resumed, checked, then renamed.

`http_get` of the Hugging Face Hub's client transfers and resumes, from other hosts too. Its
`hf_hub_download` would not do: since version 2 it deletes an unfinished file, and the parts of
SSL4EO-S12 have 46 GB each.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from huggingface_hub import get_hf_file_metadata
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from tqdm import tqdm

from georank_zoo.data.datasets.base import Checksum
from georank_zoo.utils.errors import DownloadError
from georank_zoo.utils.hub_client import LONGEST_WAIT, InsecureRedirect, LongWait, guard_client
from georank_zoo.utils.hub_errors import (
    NETWORK_FAILURES,
    HTTPError,
    causes,
    explain_connection,
    is_offline,
    reason,
    status,
    without_credentials,
)

logger = logging.getLogger(__name__)

_CHUNK = 1 << 20
_PATIENCE = 10.0  # seconds for a first answer
_LONGEST_WAIT = 60.0  # seconds
_SHA256 = re.compile(r"[0-9a-f]{64}")
# What may pass by itself: RFC 9110, 15.5.9 and 15.6; RFC 8470; RFC 6585, 4. A partial file that is
# longer than the server's is deleted before the next try (416).
_PASSING = (408, 416, 425, 429, 500, 502, 503, 504)
# A range of a compressed answer would be no range of the file.
_HEADERS = {"Accept-Encoding": "identity"}


_OFFLINE = "HF_HUB_OFFLINE is set: unset it to download."


class Refused(DownloadError):
    """The server does not give the file, and asking again will not help."""


@dataclass(frozen=True)
class RemoteInfo:
    """What a server tells of a file before it sends it; the Hub names large ones by SHA-256."""

    size: int | None = None
    sha256: str | None = None


def ask(url: str) -> RemoteInfo:
    """Size and SHA-256 of a file, as far as the server tells them before the download.

    Raises:
        DownloadError: If the server does not answer.
    """
    guard_client()
    try:
        # The user's token is for the Hub only, and no data set here needs it.
        told = get_hf_file_metadata(url, token=False, timeout=_PATIENCE, retry_on_errors=True)
    except HfHubHTTPError:
        return RemoteInfo()  # some servers answer GET only, and the download says what is wrong
    except NETWORK_FAILURES as error:
        if is_offline(error):
            raise DownloadError(_OFFLINE) from error
        raise DownloadError(explain_connection(error, url)) from error
    # Only the Hub's ETag is a hash of the content.
    of_hub = told.commit_hash is not None and _SHA256.fullmatch(told.etag or "")
    return RemoteInfo(told.size, told.etag if of_hub else None)


def partial_of(target: Path) -> Path:
    """The unfinished download of a file, which a later process can continue."""
    return target.with_name(f"{target.name}.partial")


def fetch_url(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    checksum: Checksum | None = None,
    retries: int = 5,
    backoff: float = 1.0,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> str:
    """Downloads to `<target>.partial`, checks it and renames it to `target`.

    What an earlier process left is continued if a checksum will tell whether both are one file.

    Args:
        url: Address of the file.
        target: File to write.
        size: Bytes that it must have.
        checksum: Checksum that it must have.
        retries: Failures in a row without a byte of progress before it is given up.
        backoff: Seconds before the first retry; doubled each time.
        on_progress: Called with (bytes, in all if known).

    Returns:
        SHA-256 of what lies on the disk.

    Raises:
        Refused: If the server does not give the file, or gives another one.
        DownloadError: If the disk is full, the server fails time and again, or the file is not
            what it should be; what has arrived is kept where it can be continued.
    """
    guard_client()
    shown = without_credentials(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(target)
    if checksum is None:
        partial.unlink(missing_ok=True)
    continued = _arrived(partial) > 0
    # Where no checksum will tell halves of two files from one, nothing is continued: the server
    # sends a range only of the file with this ETag.
    headers = _HEADERS if checksum else {**_HEADERS, "If-Range": '"unchecked"'}
    progress = _progress_class(url, size, retries, on_progress or (lambda *_: None))
    _receive(url, partial, size, headers, progress, retries=retries, backoff=backoff)
    algorithms = {"sha256"} | ({str(checksum.algorithm)} if checksum else set())
    sums = digests(partial, algorithms)
    if checksum is not None and sums[checksum.algorithm] != checksum.hexdigest:
        partial.unlink()
        if continued:
            logger.warning("%s does not continue what was there; downloading it anew.", shown)
            return fetch_url(
                url, target, size=size, checksum=checksum, retries=retries, backoff=backoff,
                on_progress=on_progress,
            )  # fmt: skip
        raise DownloadError(
            f"{target.name} arrived damaged or has changed: its {checksum.algorithm.upper()} is "
            f"{sums[checksum.algorithm]}, not {checksum.hexdigest}. It was deleted ({shown})."
        )
    if checksum is None and _is_page(partial):
        partial.unlink()
        raise Refused(f"{shown} sends a web page in place of {target.name}: a login, or a proxy's.")
    partial.replace(target)
    return sums["sha256"]


def digests(path: Path, algorithms: set[str]) -> dict[str, str]:
    """Hashes of a file by algorithm, in one read: of what the disk holds, not the network."""
    hashers = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for hasher in hashers.values():
                hasher.update(chunk)
    return {name: hasher.hexdigest() for name, hasher in hashers.items()}


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(512).lstrip().lower().startswith((b"<!doctype html", b"<html"))


def _arrived(partial: Path) -> int:
    return partial.stat().st_size if partial.exists() else 0


def _receive(
    url: str,
    partial: Path,
    size: int | None,
    headers: dict[str, str],
    progress: type[Any],
    *,
    retries: int,
    backoff: float,
) -> None:
    """Receives until all is there, or it fails `retries` times in a row without progress."""
    failures, furthest, shown = 0, _arrived(partial), without_credentials(url)
    while size is None or _arrived(partial) != size:
        try:
            with partial.open("ab") as file:
                http_get(url, file, resume_size=file.tell(), headers=headers, tqdm_class=progress)
            if size in (None, _arrived(partial)):
                return
            failure, after = f"{_arrived(partial)} of {size} bytes came", ""
        except HfHubHTTPError as error:
            code = status(error)
            if code not in _PASSING:
                raise _refusal(url, code) from error
            if code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                partial.unlink()
            failure = f"the server answers {code}"
            after = error.response.headers.get("Retry-After", "")
        except Refused:
            partial.unlink()
            raise
        except LongWait as error:
            failure, after = reason(error), str(int(LONGEST_WAIT))
        except NETWORK_FAILURES as error:
            _raise_if_final(error, partial, url)
            failure, after = reason(error).rstrip("."), ""
        # The furthest ever, not the last: a server that ignores ranges starts anew each time.
        failures = 1 if _arrived(partial) > furthest else failures + 1
        furthest = max(furthest, _arrived(partial))
        if failures > retries:
            raise DownloadError(
                f"Gave up on {shown} after {failures} failures in a row: {failure}. "
                f"{_mib(partial)} are kept: repeat the command to continue."
            )
        asked = float(after) if after.isdecimal() else backoff * 2 ** (failures - 1)
        wait = min(asked, _LONGEST_WAIT)
        logger.warning("%s: %s. Trying again in %.0f s.", shown, failure, wait)
        time.sleep(wait)


def _progress_class(
    url: str, size: int | None, retries: int, report: Callable[[int, int | None], None]
) -> type[Any]:
    """What `http_get` reports to: refuses another file before a byte of it is written."""
    shown = without_credentials(url)

    class Progress(tqdm):  # type: ignore[type-arg]
        def __init__(self, *_: Any, total: int | None = None, initial: int = 0, **__: Any) -> None:
            super().__init__(disable=True, total=total, initial=initial)
            self.rewinds, self.whole = 0, size or total
            if size is not None and total not in (None, size):
                raise Refused(f"{shown} has {total} bytes on the server, not {size}: another file.")

        def update(self, n: float | None = 1) -> bool | None:
            self.n += n or 0
            self.rewinds += (n or 0) < 0
            if self.rewinds > retries:
                raise DownloadError(f"Gave up on {shown}: it begins anew whenever it breaks off.")
            if size is not None and self.n > size:
                raise Refused(f"{shown} sends more than its {size} bytes.")
            report(int(self.n), self.whole)
            return None

    return Progress


def _raise_if_final(error: Exception, partial: Path, url: str) -> None:
    """Raises what another attempt would not change."""
    if is_offline(error):
        raise DownloadError(_OFFLINE) from error
    if isinstance(error, InsecureRedirect):
        raise Refused(f"{reason(error)} ({without_credentials(url)}).") from error
    settings = any(isinstance(c, ssl.SSLError | ImportError) for c in causes(error))
    if settings or not isinstance(error, (HTTPError, OSError)):
        raise DownloadError(explain_connection(error, url)) from error
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        raise DownloadError(
            f"No space is left for {partial.with_suffix('')}; {_mib(partial)} of it are kept. Make "
            "room and repeat the command."
        ) from error
    if number is not None and not isinstance(error, ConnectionError):
        if error.filename is None:  # type: ignore[attr-defined]
            raise DownloadError(explain_connection(error, url)) from error
        raise error


def _mib(partial: Path) -> str:
    return f"{_arrived(partial) / 2**20:.1f} MiB"


def _refusal(url: str, code: int | None) -> Refused:
    shown = without_credentials(url)
    if code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Refused(f"The server refuses {shown} ({code}): it wants a login or a form.")
    if code == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return Refused(f"The proxy refuses {shown} ({code}): check HTTPS_PROXY.")
    if code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return Refused(f"{shown} is no longer there ({code}).")
    return Refused(f"The server answers {code} to {shown}.")
