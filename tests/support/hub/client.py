"""Points this process's Hub clients at the local Hub."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http, _xet

from tests.support.hub.server import TOKEN, Hub


def connect(patch: pytest.MonkeyPatch, hub: Hub, home: Path, *, xet: bool = False) -> None:
    """As alice; without Xet, uploads go by Git LFS.

    The client reads its environment when it is imported, so its constants are changed instead. It
    does not wait between its tries.
    """
    patch.setattr(constants, "ENDPOINT", hub.url)
    patch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        hub.url + "/{repo_id}/resolve/{revision}/{filename}",
    )
    patch.setattr(constants, "HF_HUB_DISABLE_XET", not xet)
    patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    patch.setattr(_http, "time", SimpleNamespace(**{**vars(time), "sleep": lambda _: None}))
    patch.setattr(_xet, "_GLOBAL_XET_HOLDER", _xet.XetSessionHolder())
    for name, value in environment(hub, home).items():
        patch.setenv(name, value)
    _http.close_session()


def environment(hub: Hub, home: Path) -> dict[str, str]:
    """The same for another process, or for hf_xet."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_XET_CACHE": str(home / "xet"),
        "HF_XET_XORB_COMPRESSION_POLICY": "none",
        "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "1",
        "HF_XET_CLIENT_RETRY_BASE_DELAY": "1ms",
        "NO_PROXY": "*",
    }
