"""Errors of the Hub's client, explained in sentences that say what to do."""

from __future__ import annotations

from huggingface_hub import constants, errors
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

from georank_zoo.utils.errors import plain

# The base of all errors of the client's HTTP library, which is httpx or httpx2.
HTTPError: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]

# LFS uploads end in RuntimeError, Xet's in OSError or RuntimeError, a refused card in ValueError.
HUB_FAILURES: tuple[type[Exception], ...] = (HTTPError, OSError, RuntimeError, ValueError)


def reason(error: BaseException) -> str:
    """First line of the cause of an error."""
    cause = error.__cause__ or error
    lines = str(cause).strip().splitlines()
    return plain(lines[0], 200) if lines else type(cause).__name__


def status(error: BaseException) -> int | None:
    """HTTP status behind an error, if there is one."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, HfHubHTTPError):
            return int(found.response.status_code)
        found = found.__cause__
    return None


def explain(error: BaseException, repo: str) -> str:
    """One or two sentences: the answer of the Hub, and what to do.

    Args:
        error: One of `HUB_FAILURES`.
        repo: Repository that the request was about.
    """
    where = constants.ENDPOINT
    tokens = f"Make one with write access at {where}/settings/tokens, then `hf auth login`"
    if isinstance(error, LocalTokenNotFoundError):
        return f"Found no token of the Hub. {tokens}, or set HF_TOKEN."
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set: unset it to publish."
    code = status(error)
    if code == 401:
        return f"The Hub does not know your token (401). {tokens}, or correct HF_TOKEN."
    if code == 403:
        return (
            f"You may not write to {repo} (403): the token needs write access, and you the role "
            f"`write` in {repo.split('/')[0]}."
        )
    if code == 429:
        return "The Hub asks for fewer requests (429). Wait some minutes."
    if code is not None and code >= 500:
        return f"The Hub failed ({code})."
    if code is not None:
        return f"The Hub refused ({code}): {_message(error)}."
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return f"The Hub does not take it: {plain(' '.join(str(error).split()), 500)}"
    return f"The connection to {where} broke: {reason(error).rstrip('.')}."


def _message(error: BaseException) -> str:
    found: BaseException | None = error
    while found is not None and not isinstance(found, HfHubHTTPError):
        found = found.__cause__
    said = found.server_message if isinstance(found, HfHubHTTPError) else None
    return plain(" ".join(str(said or reason(error)).split()), 500).rstrip(".")


def is_unauthenticated(error: BaseException) -> bool:
    """Whether the Hub does not know the user, and so will refuse every other request too."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, LocalTokenNotFoundError):
            return True
        found = found.__cause__
    return status(error) == 401
