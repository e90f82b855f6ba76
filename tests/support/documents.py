"""Blocks and links of the README and the pages of docs/, and how their commands are run."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]

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
