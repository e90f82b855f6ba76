"""Models need no store, no task and no training stack."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

import georank_zoo.models

ROOM = georank_zoo.models
MODULES = [f"{ROOM.__name__}.{module.name}" for module in pkgutil.iter_modules(ROOM.__path__)]
FORBIDDEN = (
    "georank_zoo.data", "georank_zoo.embed", "georank_zoo.eval", "georank_zoo.training",
    "georank_zoo.publish", "accelerate", "pandas", "pyarrow", "rasterio", "matplotlib",
)  # fmt: skip


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """What each module loads of what it must not, one after the other in a new process."""
    code = f"""
import importlib, json, sys
found = {{}}
for module in {[ROOM.__name__, *MODULES]}:
    importlib.import_module(module)
    found[module] = [m for m in sys.modules if m.startswith({FORBIDDEN})]
print(json.dumps(found))
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_of_models_loads_no_store_and_no_task(
    module: str, loaded: dict[str, list[str]]
) -> None:
    assert loaded[module] == []
