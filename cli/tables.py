"""Tables of the library on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

    from georank_zoo.utils.tables import Table

_NAME_WIDTH = 12  # columns of the screen that a longer name has at least


def show_table(
    table: Table, *, left: int = 1, sections: bool = False, no_wrap: bool = False
) -> None:
    """Shows a table.

    Args:
        table: The table.
        left: Columns that are flush left; the others hold numbers.
        sections: Whether a line separates the rows that have a name from those above.
        no_wrap: Whether the columns of numbers are never folded.
    """
    from rich.console import Console
    from rich.table import Column
    from rich.table import Table as Grid

    # Folded: a name that is cut off may be that of another model.
    width = min(_NAME_WIDTH, max(len(cells[0]) for cells in (table.header, *table.rows)))
    columns = [Column(_text(table.header[0]), overflow="fold", min_width=width)]
    columns += [Column(_text(name)) for name in table.header[1:left]]
    columns += [
        Column(_text(name), justify="right", overflow="fold", no_wrap=no_wrap)
        for name in table.header[left:]
    ]
    grid = Grid(*columns, title=_text(table.title), title_justify="left")
    for number, row in enumerate(table.rows):
        if sections and row[0] and number:
            grid.add_section()
        grid.add_row(*map(_text, row))
    Console().print(grid)


def show_facts(table: Table) -> None:
    """Shows a table of facts, a name and a value each."""
    from rich.console import Console
    from rich.table import Column
    from rich.table import Table as Grid

    names = Column(style="bold", no_wrap=True)
    grid = Grid(
        names, Column(overflow="fold"), show_header=False, box=None,
        title=_text(table.title), title_justify="left",
    )  # fmt: skip
    headed = [table.header] if any(table.header) else []
    for row in (*headed, *table.rows):
        grid.add_row(*map(_text, row))
    Console(highlight=False).print(grid)


def _text(cell: str) -> Text:
    """A cell as it is: `[bold]` and `:car:` of a class or a file are its name, not markup."""
    from rich.text import Text

    from georank_zoo.utils.untrusted_text import terminal_text

    return Text(terminal_text(cell))
