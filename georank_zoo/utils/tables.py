"""Tables as values: text for a terminal, HTML for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


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
        head = "".join(f"<th>{escape(name)}</th>" for name in self.header)
        body = "".join(
            "<tr>"
            + "".join(
                f'<td style="text-align: {"left" if column == 0 else "right"}">{escape(cell)}</td>'
                for column, cell in enumerate(row)
            )
            + "</tr>"
            for row in self.rows
        )
        caption = f"<caption>{escape(self.title)}</caption>" if self.title else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def to_text(self) -> str:
        """The table in columns of one width, for `print`."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        shown = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *shown] if self.title else shown)


def tables_with_notes(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """Tables with notes below, as HTML."""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"{''.join(table.to_html() for table in tables)}<ul>{items}</ul>"
