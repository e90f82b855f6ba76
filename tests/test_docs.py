"""What the README and the pages of docs/ show is run as it stands."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import rasterio
import torch

import georank_zoo as gz
from georank_cli.main import cli
from georank_zoo.algorithms import ALGORITHMS
from georank_zoo.bands import S2_13
from georank_zoo.losses import REGULARIZERS
from tests.support.command_line import run
from tests.support.documents import (
    PAGES,
    README,
    ROOT,
    anchors,
    blocks,
    links,
    make_documented_folder,
    smaller,
)
from tests.support.hub import Hub
from tests.support.hub.server import TOKEN

RUNS = ("runs/georank-moco-r18", "runs/moco-r18")
INDEX = ROOT / "docs" / "index.md"  # shows the README's code
# What a page itself makes, and so does not find.
MADE_BY = {"own_data.md": ("stores",), "train.md": RUNS}
# What is only parsed must stay the exception: a reason stands with each.
MOST_PARSED_ONLY = 4

COMMANDS = [
    pytest.param(command, id=f"{page.stem}:{block.line}:{' '.join(command[:3])}")
    for page in PAGES
    for block in blocks(page)
    for command in block.commands()
]


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_documented_folder(tmp_path_factory.mktemp("documented"))


@pytest.fixture
def folder(
    documented: Path, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A copy to work in, as a member of my-org on the local Hub."""
    copy = Path(shutil.copytree(documented, tmp_path / "work"))
    monkeypatch.chdir(copy)
    monkeypatch.setitem(hub.users[TOKEN].orgs, "my-org", "admin")
    yield copy
    shutil.rmtree(copy)  # checkpoints of hundreds of megabytes, for each page


@pytest.fixture
def own_registries() -> Iterator[None]:
    """What a page adds to a registry goes again."""
    before = [(registry, dict(registry)) for registry in (ALGORITHMS, REGULARIZERS)]
    yield
    for registry, entries in before:
        registry.clear()
        registry.update(entries)


@pytest.mark.parametrize("page", [p for p in PAGES if p != INDEX], ids=lambda page: page.name)
@pytest.mark.usefixtures("own_registries")
def test_page_runs_from_top_to_bottom(page: Path, folder: Path) -> None:
    for name in MADE_BY.get(page.name, ()):
        shutil.rmtree(folder / name)
    names: dict[str, Any] = {}
    for block in blocks(page):
        if block.parsed_only:
            continue
        for command in block.commands():
            assert run(*smaller(command)) == 0, f"{page.name}:{block.line}: {command}"
        if block.language == "python":
            code = "\n" * (block.line - 1) + block.text
            exec(compile(code, str(page), "exec"), names)
        elif block.language == "yaml":
            (folder / "own.yaml").write_text(block.text)
            assert gz.load_recipe("own.yaml").hash
    if page.name == "embed.md":
        check_torchgeo(names)


def test_the_index_shows_the_code_of_the_readme() -> None:
    code = [block.text for block in blocks(README) if block.language != "bibtex"]
    assert [block.text for block in blocks(INDEX)] == code


def check_torchgeo(names: dict[str, Any]) -> None:
    """torchgeo's task, on torchgeo's data set, gives the features of our encoder."""
    task, dataset = names["task"], names["train_set"]
    task.model.reset_classifier(0)
    with torch.inference_mode():
        found = task.model.eval()(dataset[4]["image"][None])
    with rasterio.open(dataset.samples[4][0]) as file:
        pixels = file.read().astype("float32")
    # The bands in the files' order: B8A is the last one.
    in_file = [*S2_13[:8], *S2_13[9:], "B8A"]
    expected = gz.create_model(RUNS[0], bands=in_file, unit="dn")(torch.from_numpy(pixels[None]))
    torch.testing.assert_close(found, expected.detach(), rtol=1e-3, atol=1e-3)
    assert dataset[4]["label"] == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_command_exists_with_its_options(command: list[str]) -> None:
    found: click.Command = cli
    context, words = click.Context(cli), list(command)
    while isinstance(found, click.Group) and (words or not found.invoke_without_command):
        chosen = found.get_command(context, words.pop(0))
        assert chosen is not None
        found = chosen
    assert found.make_context("georank", list(words), resilient_parsing=True)
    # Resilient parsing lets unknown options pass: they must not be there.
    known = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    if "--set" in words and command[0] == "train":
        check_overrides(words)


def check_overrides(words: list[str]) -> None:
    """Each `--set` of a train command is in the recipe that it gives."""
    overrides = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    loaded = gz.load_recipe(words[0], overrides)
    for key, value in (override.split("=", 1) for override in overrides):
        section, _, name = key.partition(".")
        found = getattr(getattr(loaded, section), name or "name")
        assert str(found) == value, key


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_parse(page: Path) -> None:
    for block in blocks(page):
        assert block.language in ("bash", "python", "yaml", "bibtex"), f"{page.name}:{block.line}"
        if block.language == "python":
            ast.parse(block.text)


def test_few_blocks_are_parsed_only() -> None:
    skipped = [block for page in PAGES for block in blocks(page) if block.parsed_only]
    assert len(skipped) <= MOST_PARSED_ONLY
    ours = [block for block in skipped if block.language == "bash"]
    assert len(ours) == len(skipped), "every Python block is run"


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)  # fmt: skip
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        target, _, anchor = link.partition("#")
        path = page.parent / target if target else page
        assert path.exists(), link
        if anchor:
            assert anchor in anchors(path), link


def test_the_readme_is_one_screen_and_leads_to_every_page() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 95
    assert "pip install -e . && georank demo" in text
    assert 'pip install -e ".[test]" && pytest' in text
    assert {page.relative_to(ROOT).as_posix() for page in PAGES[1:]} <= set(links(README))


def test_the_api_page_has_every_public_name() -> None:
    shown = set(re.findall(r"^::: georank_zoo\.(\w+)$", (ROOT / "docs/api.md").read_text(), re.M))
    assert shown == {name for name in gz.__all__ if not name.startswith("_")}
