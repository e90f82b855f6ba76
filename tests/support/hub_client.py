"""Programs that read from a Hub on 127.0.0.1, each in a process of its own.

The Hub's client reads HF_ENDPOINT when it is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.hub import Hub


def environment(hub: Hub, home: Path) -> dict[str, str]:
    """The variables by which the client finds the Hub and keeps its cache in `home`."""
    return {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",  # who runs the tests may be logged in
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "*",
        "OMP_NUM_THREADS": "1",
    }


def run_against(hub: Hub, home: Path, program: str, *arguments: str, **variables: str) -> Any:
    """Runs a Python program and returns the JSON of its last line.

    Args:
        hub: The Hub that it reads from.
        home: Folder of its cache.
        program: Its text.
        arguments: Its arguments.
        variables: More environment variables.
    """
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**environment(hub, home), **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
