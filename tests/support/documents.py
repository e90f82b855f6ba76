"""Blocks and links of the README and the pages of docs/, and the folder that they are run in."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torchgeo.datasets import EuroSAT

from georank_zoo.bands import S2_12
from georank_zoo.data.prepare import prepare_store
from tests.support import trees
from tests.support.notebook import make_folder

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]

EUROSAT = (
    "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture",
    "PermanentCrop", "Residential", "River", "SeaLake",
)  # fmt: skip

_BLOCK = re.compile(r"(?:^<!-- parsed only: (.+?) -->\n)?^```(\w+)\n(.*?)^```$", re.M | re.S)
_COMMANDS = re.compile(r"(?:georank|accelerate launch -m georank_cli) (.+)")
# Options that make a command small; the last of two that name one key counts.
_SMALL_RUN = (
    "views.size=32", "train.batch_size=8", "train.steps=2", "train.workers=0",
    "train.precision=fp32", "schedule.warmup_epochs=0", "backbone.name=test_resnet",
)  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        language: What stands after the opening fence.
        text: Its lines.
        parsed_only: Why it is parsed and not run, from the comment above it; empty if it is run.
        line: Line of its first line in the page.
    """

    language: str
    text: str
    parsed_only: str
    line: int

    def commands(self) -> list[list[str]]:
        """Arguments of its `georank` commands."""
        if self.language != "bash":
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        parts = [part.strip() for line in lines for part in line.split("&&")]
        found = [match[1] for part in parts if (match := _COMMANDS.fullmatch(part))]
        return [shlex.split(arguments) for arguments in found]


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(match[2], match[3], match[1] or "", text.count("\n", 0, match.start(3)) + 1)
        for match in _BLOCK.finditer(text)
    ]


def smaller(arguments: list[str]) -> list[str]:
    """The same command with options that make it take seconds."""
    if arguments[0] == "train":
        added = [word for setting in _SMALL_RUN for word in ("--set", setting)]
        return [*arguments, *added]
    if "finetune" in arguments:
        return [*arguments, "--epochs", "1"]
    return arguments


def links(page: Path) -> list[str]:
    """Targets of the links and figures of a page that are not of another host."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Names of the headings, as GitHub and mkdocs make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def make_documented_folder(folder: Path) -> Path:
    """The folder of the examples (`make_folder`), and what else the README and docs/ speak of.

    data/eurosat (EuroSAT in miniature: 40 patches, 60 km apart) and stores/eurosat from it; the
    same where torchgeo expects it; scene.tif (12 bands, 128 px, with the offset of baseline 04.00).
    """
    make_folder(folder)
    shutil.rmtree(folder / "stores" / "eurosat")
    for place, name in enumerate(EUROSAT * 4):
        trees.write_tif(
            folder / "data" / "eurosat" / name / f"{name}_{place // 10 + 1}.tif",
            trees.noise((13, 64, 64), place) + np.uint16(50 * (place % 10)),
            left=300_000 + 60_000 * (place % 7),
            top=4_500_000 + 60_000 * (place // 7),
        )
    prepare_store(folder / "data" / "eurosat", folder / "stores" / "eurosat", reader="eurosat")
    shutil.copytree(folder / "data" / "eurosat", folder / "data" / EuroSAT.base_dir)
    files = sorted((folder / "data" / "eurosat").rglob("*.tif"))
    names = "".join(f"{path.stem}.jpg\n" for path in files)
    (folder / "data" / "eurosat-train.txt").write_text(names)
    trees.write_tif(
        folder / "scene.tif", trees.noise((12, 128, 128)) + np.uint16(1000), descriptions=S2_12
    )
    return folder
