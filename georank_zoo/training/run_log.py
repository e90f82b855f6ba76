"""The log of a run, `metrics.jsonl`: losses, diagnostics and probe scores by step."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from georank_zoo.utils.documents import STRICT, Count, parse_document, read_limited
from georank_zoo.utils.errors import ModelError, plain
from georank_zoo.utils.files import sha256_of, write_text
from georank_zoo.utils.write_errors import explain_write_errors

if TYPE_CHECKING:
    import pandas

METRICS_FILE = "metrics.jsonl"
# Measured times, in which two runs of one recipe differ; all else is equal, row for row, however
# often a run was interrupted.
TIMED = frozenset({"images_per_s"})
_REMEDY = "Delete that line, or put back a copy of the file."


class _Line(BaseModel):
    """A line of the log: by name, what was found at a step."""

    model_config = ConfigDict({**STRICT, "extra": "allow"})
    __pydantic_extra__: dict[Annotated[str, Field(pattern=r"^[a-z]\w{0,99}$")], float]

    step: Count
    epoch: Annotated[float, Field(ge=0)] = 0.0
    lr: Annotated[float, Field(ge=0)] = 0.0
    images_per_s: Annotated[float, Field(ge=0)] = 0.0


@dataclass(frozen=True)
class RunLog:
    """The log of a run.

    Attributes:
        path: The file; it need not exist yet.
        sha256: What it must have, if the run is not being trained.
    """

    path: Path
    sha256: str | None = None

    def rows(self) -> list[dict[str, Any]]:
        """The lines, oldest first; a last line that a kill cut off is left out.

        Raises:
            ModelError: If a line is damaged, of an earlier step than the one before it, or says a
                value of its step again; or if the file does not have the recorded hash.
        """
        if self.sha256 is None and not self.path.exists():
            return []
        text = read_limited(self.path, error=ModelError, remedy=_REMEDY)
        rows: list[dict[str, Any]] = []
        logged: set[str] = set()
        # What has no line break was not written whole.
        for number, line in enumerate(text.split("\n")[:-1], start=1):
            where = Path(f"{self.path}, line {number}")
            parse_document(_Line, line, where=where, error=ModelError, remedy=_REMEDY)
            row = json.loads(line)
            if not rows or row["step"] != rows[-1]["step"]:
                logged = {"step", "epoch"}
            again = sorted(row.keys() & logged - {"step", "epoch"})
            if again or (rows and row["step"] < rows[-1]["step"]):
                reason = f"{plain(again[0])} stands there twice" if again else "it goes back"
                raise ModelError(f"{where} is damaged: step {row['step']}: {reason}. {_REMEDY}")
            logged |= row.keys()
            rows.append(row)
        if self.sha256 is not None and sha256_of(self.path) != self.sha256:
            raise ModelError(
                f"{self.path} is damaged: it does not match its recorded SHA-256. Put back a copy "
                "of it, or train again into another folder."
            )
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
