"""What mkdocs is told besides mkdocs.yml: pages that do not lie in docs/.

A link `../benchmarks/README.md` is right where GitHub shows a page of docs/; on the site, the page
that it leads to lies beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = ("benchmarks/README.md", "benchmarks/results/*", "CONTRIBUTING.md")


def on_files(files: Files, *, config: Any) -> Files:
    """Adds the pages outside, and what they show."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turns links out of docs/ into links to the pages beside."""
    for pattern in OUTSIDE:
        start = pattern.partition("/")[0]
        markdown = markdown.replace(f"](../{start}", f"]({start}")
    return markdown
