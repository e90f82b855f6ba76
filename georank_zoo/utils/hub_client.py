"""The Hub's HTTP client, with what its defaults lack: limits of time, and no step down from TLS."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from huggingface_hub import constants, errors, set_client_factory
from huggingface_hub.utils import _http

from georank_zoo.utils.errors import HubError
from georank_zoo.utils.regular_files import read_regular

# httpx, or httpx2 since huggingface_hub 2.
HTTPX: Any = importlib.import_module(
    errors.HTTPError.__module__.partition(".")[0]  # type: ignore[attr-defined]
)

# Seconds. The client has no limit of its own: a server that takes a request and never answers
# would hold a command for ever. A commit of many files may take the Hub a minute.
_CONNECT, _ANSWER = 30.0, 120.0
# The client sleeps for as long as a server asks it to.
LONGEST_WAIT = 120.0
_MAX_TOKEN_BYTES = 2**16
_LIMITED = re.compile(r"r\s*=\s*0\s*;\s*t\s*=\s*(\d+)")


class InsecureRedirect(ConnectionError):
    """A server of https sent the request on to plain http, where anybody can change the answer."""


class LongWait(ConnectionError):
    """A server asks for a longer wait than a command makes unasked."""


class OddToken(ConnectionError):
    """The token holds characters that would not arrive as they are."""


def is_token(text: str) -> bool:
    """Whether a text can be a token: printable ASCII without spaces."""
    return text.isascii() and text.isprintable() and " " not in text


def guard_client() -> None:
    """Makes the Hub's client of this process refuse redirects from https to http, and long waits.

    A factory that the user has set (`huggingface_hub.set_client_factory`) is kept and guarded.

    Raises:
        HubError: If the file of the user's token, or that of certificates, cannot be read.
    """
    _require_readable_token()
    certificates = Path(os.environ.get("SSL_CERT_FILE") or os.devnull)
    if certificates.exists() and not certificates.is_file() and certificates != Path(os.devnull):
        raise HubError(f"SSL_CERT_FILE names {certificates}, which is no regular file. Correct it.")
    if not getattr(_http._GLOBAL_CLIENT_FACTORY, "guarded", False):
        set_client_factory(_guarded(_http._GLOBAL_CLIENT_FACTORY))


def _require_readable_token() -> None:
    """Reads the file that the client will read with each request: it may be a fifo, or no text."""
    path = Path(constants.HF_TOKEN_PATH)
    if os.environ.get("HF_TOKEN") or not path.exists():
        return
    try:
        read_regular(path, _MAX_TOKEN_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise HubError(
            f"The Hub's token in {path} cannot be read ({why}). Delete the file and log in anew, "
            "`hf auth login`, or set HF_TOKEN."
        ) from error


def refuse_step_down(address: str, location: str) -> None:
    """Refuses a redirect from https to anything else.

    Raises:
        InsecureRedirect: Names the hosts, not the addresses, which may hold signatures.
    """
    try:
        target = urlsplit(urljoin(address, location))
    except ValueError as error:
        raise InsecureRedirect(
            f"https://{urlsplit(address).hostname} leads to what is no address"
        ) from error
    if urlsplit(address).scheme == "https" and target.scheme != "https":
        raise InsecureRedirect(
            f"https://{urlsplit(address).hostname} leads to {target.scheme}://{target.hostname}, "
            "where anybody on the way could change the answer. It is not followed"
        )


def _guarded(factory: Callable[[], Any]) -> Callable[[], Any]:
    def make() -> Any:
        client = factory()
        hooks = client.event_hooks
        hooks["request"] = [*hooks["request"], _check_token, _limit_time]
        hooks["response"] = [*hooks["response"], _check_response]
        client.event_hooks = hooks
        return client

    make.guarded = True  # type: ignore[attr-defined]
    return make


def _check_token(request: Any) -> None:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind == "Bearer" and not is_token(token):
        raise OddToken("The token cannot be sent")


def _limit_time(request: Any) -> None:
    # Here and not as the client's default: parts of the Hub's client say None with each request.
    limits = {"connect": _CONNECT, "read": _ANSWER, "write": _ANSWER}
    given = request.extensions.get("timeout", {})
    limits |= {name: seconds for name, seconds in given.items() if seconds is not None}
    request.extensions = {**request.extensions, "timeout": limits}


def _check_response(response: Any) -> None:
    if location := response.headers.get("Location"):
        refuse_step_down(str(response.request.url), location)
    if response.status_code not in (429, 503):
        return
    # The Hub tells in RateLimit how long its present window lasts.
    limited = _LIMITED.search(response.headers.get("RateLimit", ""))
    wait = limited[1] if limited else response.headers.get("Retry-After", "").strip()
    if wait.isdecimal() and float(wait) > LONGEST_WAIT:
        raise LongWait(
            f"{response.request.url.host} answers {response.status_code} and asks to wait {wait} "
            "seconds. Repeat the command then"
        )
