"""The examples in the docstrings of the front door run as they are printed."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path

import pytest

import georank_zoo as gz
from tests.support.notebook import make_folder

NAMES = [name for name in gz.__all__ if not name.startswith("_")]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples find in the working directory; see `make_folder`."""
    return make_folder(tmp_path_factory.mktemp("notebook"))


def examples_of(name: str) -> list[doctest.DocTest]:
    """Examples of a public function, or of a public class and its public methods."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = finder.find(getattr(gz, name), name, globs={})
    own = [test for test in found if not any(p.startswith("_") for p in test.name.split("."))]
    return [test for test in own if test.examples]


@pytest.mark.parametrize("name", NAMES)
def test_example(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    tests = examples_of(name)
    assert tests, f"{name} has no Example in its docstring"
    assert "Example:" in (inspect.getdoc(getattr(gz, name)) or "")
    for test in tests:
        report: list[str] = []
        failed = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append).failed
        assert not failed, "".join(report)
