"""Failures of a network, explained in sentences that say what to do.

One list for all commands: whatever the Hub's client, its HTTP library, ssl, hf_xet, aiohttp or
fsspec raise is in `NETWORK_FAILURES`, and `explain` has a sentence for it that holds no password,
token or signature.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from json import JSONDecodeError
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from huggingface_hub import constants, get_token
from huggingface_hub.errors import (
    FileMetadataError,
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)

from georank_zoo.utils.errors import plain
from georank_zoo.utils.hub_client import HTTPX, InsecureRedirect, LongWait, OddToken, is_token

HTTPError: type[Exception] = HTTPX.HTTPError
InvalidURL: type[Exception] = HTTPX.InvalidURL

# What the client itself raises. LFS uploads end in RuntimeError, Xet's in OSError or RuntimeError,
# a refused card, a malformed proxy and a page in place of JSON in ValueError, JSON of another form
# in the four after it, and a SOCKS proxy without its package in ImportError.
NETWORK_FAILURES: tuple[type[Exception], ...] = (
    HTTPError, InvalidURL, OSError, RuntimeError, ValueError, LookupError, TypeError,
    AttributeError, AssertionError, ImportError,
)  # fmt: skip
_OTHER_FORM: tuple[type[Exception], ...] = (
    JSONDecodeError, UnicodeDecodeError, LookupError, TypeError, AttributeError, AssertionError,
    FileMetadataError,
)  # fmt: skip

_LIBRARIES = (
    "httpx", "httpx2", "httpcore", "httpcore2", "huggingface_hub", "hf_xet", "aiohttp", "requests",
    "urllib3", "botocore", "aiobotocore",
)  # fmt: skip
_NO_NAME = re.compile(r"name or service not known|name resolution|nodename nor|getaddrinfo", re.I)
_TLS = re.compile(r"certificate verify|\[ssl", re.I)
_NO_ADDRESS = re.compile(r"url|port|address", re.I)
_REFUSED = re.compile(r"connection refused|connect call failed", re.I)
_PROXIES = ("http", "https", "socks5", "socks5h", "")


_NO_HEADER: tuple[type[Exception], ...] = (UnicodeEncodeError, HTTPX.LocalProtocolError, OddToken)


def explain(error: BaseException, repo: str = "", *, writing: bool = True) -> str:
    """One or two sentences: what failed, at which address, and what to do.

    Args:
        error: One of `NETWORK_FAILURES`.
        repo: Repository of the Hub that the request was about.
        writing: Whether it was to be changed.
    """
    where = without_credentials(constants.ENDPOINT)
    access = " with write access" if writing else ""
    tokens = f"Make one{access} at {where}/settings/tokens, then `hf auth login`"
    if isinstance(error, LocalTokenNotFoundError):
        return f"Found no token of the Hub. {tokens}, or set HF_TOKEN."
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes(error)):
        return f"HF_HUB_OFFLINE is set: unset it to {'publish' if writing else 'download'}."
    code = status(error)
    if code == 401:
        return f"The Hub does not know your token (401). {tokens}, or correct HF_TOKEN."
    if code == 403 and writing:
        return (
            f"You may not write to {repo} (403): the token needs write access, and you the role "
            f"`write` in {repo.split('/')[0]}."
        )
    if code == 403:
        return f"Your token may not read {repo} (403): ask for access on its page, {where}/{repo}."
    if code == 407:
        return _of_the_proxy(where, "407")
    if code == 429:
        return "The Hub asks for fewer requests (429). Wait some minutes."
    if code is not None and code >= 500:
        return f"The Hub failed ({code}). Look at https://status.huggingface.co, and try later."
    if code is not None:
        return f"The Hub refused ({code}): {_message(error)}."
    return explain_connection(error, where)


def explain_remote(error: BaseException, address: str) -> str:
    """The same of a server that is not the Hub, asked by aiohttp or a client of buckets."""
    codes = (getattr(cause, "status", None) for cause in causes(error))
    code = next((code for code in codes if type(code) is int and code >= 300), None)
    if code is not None:
        return f"{answer(code)} ({code})."
    if isinstance(error, PermissionError) or "credentials" in str(error).lower():
        return f"It is not open to you: {reason(error).rstrip('.')}."
    return explain_connection(error, address)


def answer(code: int) -> str:
    """What a status of HTTP means, and what to do."""
    if code < 400:
        return "The server redirects in a circle, or to what is no address"
    if code == 407:
        return "The proxy wants a user and a password: check HTTPS_PROXY"
    if code in (401, 403):
        return "It is not open to you: check the address, its signature and your rights"
    if code in (404, 410):
        return "There is no such file: check the address"
    if code == 429:
        return "The server asks for fewer requests: wait some minutes"
    if code >= 500:
        return "The server failed: try again later"
    return "The server refuses"


def explain_stray(error: BaseException) -> str | None:
    """`explain` for an error that may be of anything; None if it is not of a network."""
    if type(error).__module__.partition(".")[0] not in _LIBRARIES:
        return None
    return explain(error, "the repository", writing=False)


def explain_connection(error: BaseException, address: str) -> str:
    """The same of a request that got no answer, or one that is none.

    Args:
        error: One of `NETWORK_FAILURES`, but no answer with a status.
        address: What was asked.
    """
    where = without_credentials(address)
    chain = list(causes(error))
    found = _of_settings(chain, where) or _of_answer(chain, where)
    if found:
        return found
    over = _proxy_for(address)
    way = f" over the proxy {over[1]} of {over[0]}" if over else ""
    why, remedy = reason(error).rstrip("."), "Check the network, and repeat the command."
    text = " ".join(map(str, chain))
    if any(isinstance(cause, socket.gaierror) for cause in chain) or _NO_NAME.search(text):
        why = f"{why}. No machine of this name is known"
        remedy = f"Check the network{' and the proxy' if over else ''} and the address."
    elif any(isinstance(cause, ssl.SSLError) for cause in chain) or _TLS.search(text):
        why = f"its certificate is not trusted or TLS fails ({why})"
        remedy = (
            "If the network inspects TLS, or this is a mirror of your own, set SSL_CERT_FILE to "
            "its certificate; else do not trust it."
        )
    elif _REFUSED.search(text):
        remedy = f"Nothing listens there: check {'the proxy' if over else 'the address'}."
    elif any(isinstance(cause, HTTPX.TimeoutException | TimeoutError) for cause in chain):
        why = f"it timed out{'' if 'timed out' in why else f' ({why})'}"
    return f"The connection to {where}{way} broke: {why}. {remedy}"


def _of_settings(chain: list[BaseException], where: str) -> str | None:
    """What the user's own settings make fail, before or instead of a request."""
    token = _token()
    if not is_token(token) and any(isinstance(c, _NO_HEADER) for c in chain):
        return (
            "The Hub's token holds characters that no token has, such as a line end or a letter "
            f"with an accent. Correct {'HF_TOKEN' if os.environ.get('HF_TOKEN') else 'it'}, or log "
            "in anew: `hf auth login`."
        )
    if any(isinstance(cause, ImportError) for cause in chain):
        if any("socks" in str(cause).lower() for cause in chain):
            return (
                f"{where} was not asked: the environment names a SOCKS proxy "
                f"({_proxies_text() or 'ALL_PROXY'}), which takes a package that is not installed: "
                "pip install socksio. Or unset it."
            )
        return f"{where} was not asked: {reason(chain[0]).rstrip('.')}. Install what is missing."
    malformed = [name for name, value in _proxies() if not _is_proxy(value)]
    if malformed and any(isinstance(cause, ValueError | InvalidURL) for cause in chain):
        return (
            f"{where} was not asked: {' and '.join(malformed)} in the environment is not the "
            f"address of a proxy ({reason(chain[0]).rstrip('.')}). It must read "
            "http://HOST:PORT. Correct or unset it."
        )
    if isinstance(chain[0], InvalidURL | HTTPX.UnsupportedProtocol) or (
        type(chain[0]) is ValueError and _NO_ADDRESS.search(str(chain[0]))
    ):
        return (
            f"{where} is no address, or leads to one that is none: {reason(chain[0]).rstrip('.')}. "
            "It must begin with https://; check HF_ENDPOINT."
        )
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        path = os.environ.get(name)
        if path and not os.path.exists(path):  # noqa: PTH110 -- text of a stranger, not a path yet
            return f"{where} was not asked: {name} names {plain(path, 200)}, which does not exist."
    return None


def _of_answer(chain: list[BaseException], where: str) -> str | None:
    """What an answer makes fail."""
    for cause in chain:
        if isinstance(cause, InsecureRedirect | LongWait):
            return f"{plain(cause, 300)}."
        if type(cause).__name__ == "TooManyRedirects":  # httpx's or aiohttp's
            return f"{where} redirects in a circle. Check HF_ENDPOINT and the network."
        if isinstance(cause, HTTPX.ProxyError):
            return _of_the_proxy(where, reason(cause).rstrip("."))
        if isinstance(cause, (*_OTHER_FORM, HTTPX.DecodingError)):
            return (
                f"{where} answers, but not as the Hub does: a page of the network or of a proxy "
                "came in its place. Open it in a browser, and check HF_ENDPOINT."
            )
    if isinstance(chain[0], ValueError) and not isinstance(chain[0], OSError):
        return f"The Hub does not take it: {without_credentials(plain(_line(chain[0]), 500))}"
    return None


def _of_the_proxy(where: str, why: str) -> str:
    over = f" ({proxies})" if (proxies := _proxies_text()) else ""
    return (
        f"The proxy{over} does not let {where} through: {why}. Check its address, user and "
        "password."
    )


def reason(error: BaseException) -> str:
    """First line of the cause of an error, without secrets."""
    cause = error.__cause__ or error
    lines = str(cause).strip().splitlines()
    text = plain(without_credentials(lines[0]), 200) if lines else ""
    return text or type(cause).__name__


def without_credentials(text: str) -> str:
    """A text whose addresses have no user, password and query, and that does not hold the token."""
    token = _token()
    if len(token) > 3:
        text = text.replace(token, "***")
    text = re.sub(r"Bearer \S+", "Bearer ***", text)
    text = re.sub(r"(\w:/+)[^/\s'\"]*@", r"\1", text)
    return re.sub(r"(\w:/+[^\s?'\"]*)\?[^\s'\"]*", r"\1", text)


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what caused it, what caused that, and so on."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def status(error: BaseException) -> int | None:
    """HTTP status behind an error, if there is one."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, HfHubHTTPError):
            return int(found.response.status_code)
        found = found.__cause__
    return None


def is_unauthenticated(error: BaseException) -> bool:
    """Whether the Hub does not know the user, and so will refuse every other request too."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, LocalTokenNotFoundError):
            return True
        found = found.__cause__
    return status(error) == 401


def is_offline(error: BaseException) -> bool:
    """Whether no request was made because HF_HUB_OFFLINE is set."""
    return any(isinstance(cause, OfflineModeIsEnabled) for cause in causes(error))


def _message(error: BaseException) -> str:
    found: BaseException | None = error
    while found is not None and not isinstance(found, HfHubHTTPError):
        found = found.__cause__
    said = found.server_message if isinstance(found, HfHubHTTPError) else None
    text = without_credentials(" ".join(str(said or reason(error)).split()))
    # A page of a proxy is nothing to show.
    return "it sent a page" if "<html" in text.lower() else plain(text, 300).rstrip(".")


def _token() -> str:
    try:
        return get_token() or ""
    except (OSError, UnicodeDecodeError):  # its file; see `guard_client`
        return ""


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _proxies() -> list[tuple[str, str]]:
    """Names and values of the environment's proxies."""
    return [
        (f"{kind.upper()}_PROXY", value) for kind, value in getproxies().items() if kind != "no"
    ]


def _proxies_text() -> str:
    return ", ".join(f"{name}={without_credentials(value)}" for name, value in _proxies())


def _is_proxy(value: str) -> bool:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        return parts.scheme in _PROXIES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _proxy_for(address: str) -> tuple[str, str] | None:
    """Variable and address of the proxy that a request goes through."""
    try:
        parts = urlsplit(address if "://" in address else f"https://{address}")
    except ValueError:  # no address at all
        return None
    proxies = getproxies()
    for kind in (parts.scheme, "all"):
        if kind in proxies and not proxy_bypass(parts.hostname or ""):
            return f"{kind.upper()}_PROXY", without_credentials(proxies[kind])
    return None
