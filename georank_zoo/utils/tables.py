"""Tables as values: text for a terminal, HTML for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from georank_zoo.utils.untrusted_text import html_text, plain, terminal_text

_CELL = 300  # characters of a cell of a text


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: Heading.
        header: Names of the columns; the first column names the rows.
        rows: Cells by row.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_html(self) -> str:
        """The table as HTML, every cell escaped, numbers to the right."""
        head = "".join(f"<th>{html_text(name)}</th>" for name in self.header)
        sides = ("left", *("right" for _ in self.header[1:]))
        body = "".join(
            "<tr>"
            + "".join(
                f'<td style="text-align: {side}">{html_text(cell)}</td>'
                for side, cell in zip(sides, row, strict=True)
            )
            + "</tr>"
            for row in self.rows
        )
        caption = f"<caption>{html_text(self.title)}</caption>" if self.title else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def to_text(self) -> str:
        """The table in columns of one width, for `print`."""
        lines = [[plain(cell, _CELL) for cell in line] for line in (self.header, *self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        shown = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([plain(self.title, _CELL), *shown] if self.title else shown)


def tables_as_text(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """Tables with notes below, for `print`."""
    below = terminal_text("\n".join(notes))
    return "\n\n".join([*(table.to_text() for table in tables), below])


def tables_with_notes(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """Tables with notes below, as HTML."""
    items = "".join(f"<li>{html_text(note)}</li>" for note in notes)
    return f"{''.join(table.to_html() for table in tables)}<ul>{items}</ul>"
