"""Rasters of elsewhere: addresses, what of them may be shown, and lists of them.

Nothing is fetched unless the user asks for it with --remote (`remote=True`): a `RemoteRaster` is
made in that case only, and `raster.opened` takes every path for one of this machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from georank_zoo.data.files.listing import has_suffix, is_hidden
from georank_zoo.utils.errors import BadItem, GeorankError, UsageError
from georank_zoo.utils.regular_files import read_regular

_VALID = "Valid: https://, http://, s3://, /vsicurl/https://... and /vsis3/..."
# A letter and a colon are a drive of Windows. `Path` makes one slash of two.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
_MAX_LIST_BYTES = 2**26
_CHECK = "Check the network, the proxy (HTTPS_PROXY) and the address"
LIST_SUFFIXES = (".txt",)

_AS_IT_IS = {"Accept-Encoding": "identity"}
# Seconds for the listing of a folder.
_CONNECT, _ANSWER = 15, 120
# The user's own environment variables of these names come first.
_SETTINGS = {
    # No requests for a listing of the server, .msk, .ovr, .aux.xml and the like for each file.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",  # seconds; doubled each time
    "GDAL_HTTP_CONNECTTIMEOUT": "15",
    "GDAL_HTTP_TIMEOUT": "120",
}


@dataclass(frozen=True)
class RemoteRaster:
    """A raster of elsewhere that the user asked for.

    Attributes:
        address: What GDAL opens, beginning with `/vsicurl/` or `/vsis3/`, secrets and all.
        name: The file in messages, keys and records: without user, password and query.
    """

    address: str
    name: str

    @property
    def suffix(self) -> str:
        """Ending of the name, lower case."""
        return PurePosixPath(self.name).suffix.lower()

    def settings(self) -> dict[str, str]:
        """GDAL's settings for reading it."""
        settings = {**_SETTINGS}
        if certificates := os.environ.get("SSL_CERT_FILE"):  # all other clients heed it
            settings["CURL_CA_BUNDLE"] = certificates
        return {key: value for key, value in settings.items() if key not in os.environ}

    def ask(self) -> int | None:
        """Bytes of the file by its server; None if it does not tell, or is none of HTTP.

        Raises:
            BadItem: If https leads to http, where GDAL would follow.
        """
        return _ask(self.address) if self.address.startswith("/vsicurl/http") else None

    def without_secrets(self, text: str) -> str:
        """A message of GDAL's with the address as it may be shown."""
        for address in (self.address, self.address.removeprefix("/vsicurl/")):
            text = text.replace(address, self.name)
        # Parts of the address, such as that before a space.
        text = re.sub(r"\?\S*", "", re.sub(r"(:/+)[^/\s]*@", r"\1", text))
        if "CURL error" in text:
            return f"{text.rstrip('.')}. {_CHECK}"
        code = re.search(r"HTTP response code: (\d+)", text)
        if code is None:
            return text
        from georank_zoo.utils.hub_errors import answer

        return f"{text}. {answer(int(code[1]))}"


@lru_cache(maxsize=1024)
def _ask(address: str) -> int | None:
    from huggingface_hub import get_session

    from georank_zoo.utils.hub_client import InsecureRedirect, guard_client
    from georank_zoo.utils.hub_errors import NETWORK_FAILURES

    guard_client()
    try:
        answer = get_session().head(address.removeprefix("/vsicurl/"), headers=_AS_IT_IS)
    except InsecureRedirect as error:
        raise BadItem(f"unreadable or truncated: {error}") from None
    except NETWORK_FAILURES:
        return None  # what is wrong, GDAL says
    length = answer.headers.get("Content-Length", "")
    return int(length) if answer.status_code == HTTPStatus.OK and length.isdecimal() else None


def is_remote(source: str | os.PathLike[str]) -> bool:
    """Whether a source names something that does not lie on this machine, by its form."""
    text = os.fspath(source)
    return bool(_SCHEME.match(text)) or text.startswith("/vsi")


def shown(source: str | os.PathLike[str]) -> str:
    """A source as it may be shown and recorded: of an address, no user, password and query."""
    text = os.fspath(source)
    if not is_remote(text):
        return text
    text = re.sub(r"[?#].*", "", text, flags=re.DOTALL)
    return re.sub(r"(:/+)[^/]*@", r"\1", text)


def require_allowed(source: str | os.PathLike[str], *, remote: bool) -> None:
    """Refuses an address where the user did not ask for remote sources.

    Raises:
        UsageError: If it is one.
    """
    if is_remote(source) and not remote:
        raise UsageError(
            f"{shown(source)} does not lie on this machine, and nothing is fetched unasked. Pass "
            "--remote (remote=True) to read it from there."
        )


def parse(source: str | os.PathLike[str]) -> RemoteRaster:
    """The raster at an address.

    Raises:
        UsageError: If it is no address of a form that is read.
    """
    text = _SCHEME.sub(r"\1://", os.fspath(source), count=1)
    if text.startswith("/vsicurl/"):
        text = _SCHEME.sub(r"\1://", text.removeprefix("/vsicurl/"), count=1)
    elif text.startswith("/vsis3/"):
        text = f"s3://{text.removeprefix('/vsis3/')}"
    try:
        parts = urlsplit(text)
    except ValueError as error:  # half an address of IPv6
        raise UsageError(f"{shown(source)} is no address that is read. {_VALID}.") from error
    if parts.scheme.lower() not in ("http", "https", "s3") or not parts.netloc:
        raise UsageError(f"{shown(source)} is no address that is read. {_VALID}.")
    if parts.scheme.lower() == "s3":
        return RemoteRaster(f"/vsis3/{text.partition('://')[2]}", shown(text))
    return RemoteRaster(f"/vsicurl/{text.replace(' ', '%20')}", shown(text))


def list_rasters(
    source: str | os.PathLike[str], suffixes: Collection[str]
) -> dict[str, RemoteRaster]:
    """The rasters that a text file lists, an address a line, or that lie in a remote folder.

    Args:
        source: A text file of this machine, or the address of a folder.
        suffixes: Endings wanted in a folder, lower case; what a text file lists counts anyway.

    Returns:
        The rasters by name: relative to the folder, or the address without its scheme.

    Raises:
        UsageError: If it is neither, holds none or names one twice, or a package is missing.
        GeorankError: If the folder cannot be listed.
    """
    if is_remote(source):
        return _list_folder(os.fspath(source), suffixes)
    path = Path(source)
    if not (path.is_file() and has_suffix(path.name, LIST_SUFFIXES)):
        raise UsageError(
            f"{path} is neither an address nor a text file (.txt) with an address a line. {_VALID}."
        )
    try:
        lines = [
            line.strip()
            for line in read_regular(path, _MAX_LIST_BYTES).decode("utf-8-sig").splitlines()
        ]
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a text file in UTF-8.") from error
    found: dict[str, RemoteRaster] = {}
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        if not is_remote(line):
            raise UsageError(f"{path}, line {number}: {line[:80]!r} is no address. {_VALID}.")
        raster = parse(line)
        name = raster.name.partition("://")[2]
        if name in found:
            raise UsageError(
                f"{path}, line {number}: {raster.name} is listed twice; what follows a '?' does "
                "not tell files apart."
            )
        found[name] = raster
    if not found:
        raise UsageError(f"{path} lists no address.")
    return dict(sorted(found.items()))


def _list_folder(source: str, suffixes: Collection[str]) -> dict[str, RemoteRaster]:
    folder = parse(source)
    url = folder.address.removeprefix("/vsicurl/")
    url = url.replace("/vsis3/", "s3://", 1).rstrip("/") + "/"
    found = {}
    for file in _find(url, folder.name):
        address = file if "://" in file else f"s3://{file}"
        name = address.removeprefix(url)
        hidden = any(map(is_hidden, name.split("/")))
        if address.startswith(url) and has_suffix(name, suffixes) and not hidden:
            found[name] = parse(address)
    if not found:
        raise UsageError(
            f"{folder.name} lists no {' or '.join(suffixes)} file. Write the addresses into a "
            "text file (.txt), one a line, and give that instead."
        )
    return dict(sorted(found.items(), key=lambda entry: entry[0].split("/")))


def _find(url: str, name: str) -> list[str]:
    import fsspec

    from georank_zoo.utils.hub_errors import explain_remote

    options: dict[str, Any] = {}
    if url.startswith("s3://"):
        # GDAL's variable, which botocore does not know.
        options["anon"] = os.environ.get("AWS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "1")
    try:
        if url.startswith("http"):
            options["client_kwargs"] = _client()
        files, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise UsageError(
            f"Listing {name} takes packages that are not installed: pip install "
            "'georank-zoo[remote]'. Or write the addresses into a text file (.txt), one a line, "
            "and give that instead."
        ) from error
    try:
        files.ls(path, detail=False)  # `find` takes a folder that it cannot reach for an empty one
        return list(files.find(path))
    except Exception as error:  # noqa: BLE001 -- fsspec's file systems raise what their clients do
        said = "There is no such folder."
        if not isinstance(error, FileNotFoundError):
            said = explain_remote(error, name)
        secret = RemoteRaster(url, name).without_secrets(said)
        raise GeorankError(f"{name} cannot be listed. {secret}") from None


def _client() -> dict[str, Any]:
    """What aiohttp is told: the proxies that GDAL takes too, and no step down from TLS."""
    import aiohttp

    from georank_zoo.utils.hub_client import refuse_step_down

    async def check(_session: Any, _context: Any, redirect: Any) -> None:
        refuse_step_down(str(redirect.url), redirect.response.headers.get("Location", ""))

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(check)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_ANSWER)
    return {"trust_env": True, "trace_configs": [trace], "timeout": timeout}
