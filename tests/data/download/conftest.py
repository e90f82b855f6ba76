"""The Hub's client as tests want it: it loses little of a cut connection, and does not wait."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http


@pytest.fixture(autouse=True)
def quick_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    impatient = SimpleNamespace(**{**vars(time), "sleep": lambda _: None})
    for module in (_http, file_download):
        monkeypatch.setattr(module, "time", impatient)
