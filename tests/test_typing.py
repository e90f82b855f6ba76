"""Type checkers see the front door."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import georank_zoo as gz

ROOT = Path(__file__).parents[1]
USER = ROOT / "tests" / "typing" / "front_door.py"


def test_mypy_knows_every_name_of_the_front_door() -> None:
    tree = ast.walk(ast.parse(USER.read_text()))
    used = {
        node.attr
        for node in tree
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "gz"
    }
    assert used == set(gz.__all__)
    command = [sys.executable, "-m", "mypy", "--strict", str(USER)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
