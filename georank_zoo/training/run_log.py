"""The log of a run, `metrics.jsonl`: losses, diagnostics and probe scores by step."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georank_zoo.utils.files import write_text
from georank_zoo.utils.write_errors import explain_write_errors

if TYPE_CHECKING:
    import pandas

METRICS_FILE = "metrics.jsonl"


@dataclass(frozen=True)
class RunLog:
    """The log of a run.

    Attributes:
        path: The file; it need not exist yet.
    """

    path: Path

    def rows(self) -> list[dict[str, Any]]:
        """The lines, oldest first; a line cut by a kill is left out."""
        rows = []
        for line in (
            self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else ()
        ):
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
        return rows

    def frame(self) -> pandas.DataFrame:
        """The lines of each step as one row of a table."""
        import pandas

        rows = self.rows()
        if not rows:
            return pandas.DataFrame(columns=["step", "epoch", "loss"])
        return pandas.DataFrame(rows).groupby("step", as_index=False).first()

    def last(self) -> dict[str, Any]:
        """The latest value of each name."""
        return {name: value for row in self.rows() for name, value in row.items()}

    def append(self, row: dict[str, Any]) -> None:
        """Adds a line; if there is no room for the whole of it, none of it."""
        with explain_write_errors(self.path), self.path.open("ab", buffering=0) as file:
            line, end = f"{json.dumps(row)}\n".encode(), file.tell()
            try:
                # A disk that fills up takes a part of the line, and refuses the next.
                while line := line[file.write(line) :]:
                    pass
            except OSError:
                file.truncate(end)
                raise

    def rewind(self, step: int) -> None:
        """Drops what was logged after a step, before a resumed run logs it again."""
        rows = (row for row in self.rows() if row["step"] <= step)
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in rows))
