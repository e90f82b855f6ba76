"""The gate: hostile names stay names in every medium."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from georank_zoo.utils.tables import Table
from georank_zoo.utils.untrusted_text import (
    csv_original,
    csv_text,
    figure_text,
    html_text,
    markdown_code,
    markdown_text,
    plain,
    terminal_text,
)
from tests.support.hostile_names import HOSTILE_NAMES, is_harmless


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_no_medium_obeys_a_name(name: str) -> None:
    lines = terminal_text(name).split("\n")
    for medium in (plain, markdown_text, markdown_code, html_text, figure_text):
        lines.append(medium(name))
    for text in lines:
        assert is_harmless(text)
    assert "<" not in html_text(name) and '"' not in html_text(name)
    assert csv_text(name)[:1] not in {"=", "+", "-", "@", "\t", "\r"}
    assert csv_original(csv_text(name)) == name
    figure = Figure()
    figure.suptitle(figure_text(name))
    figure.savefig(io.BytesIO())


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_markdown_shows_the_name_and_nothing_else(name: str) -> None:
    rendered = MarkdownIt("gfm-like", {"linkify": False}).render(f"# {markdown_text(name)}\n")
    assert re.findall(r"<(\w+)", rendered) == ["h1"]
    table = f"| a | b |\n|---|---|\n| {markdown_text(name)} | {markdown_code(name)} |\n"
    found = re.findall(r"<(\w+)", MarkdownIt("gfm-like", {"linkify": False}).render(table))
    assert found.count("td") == 2 and set(found) == {
        "table", "thead", "tbody", "tr", "th", "td", "code",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["Ackerland", "Wald & Wiese", "पानी", "می‌خواهم", "a_b", "C:\\x"])
def test_harmless_names_stay_as_they_are(name: str) -> None:
    class Text(HTMLParser):
        seen = ""

        def handle_data(self, data: str) -> None:
            self.seen += data

    shown = Text()
    shown.feed(markdown_text(name) + html_text(name))
    assert shown.seen == name + name
    assert plain(name) == terminal_text(name) == csv_text(name) == figure_text(name) == name


@pytest.mark.parametrize("cell", ["61.2 [54.6, 67.1]", "+3.1 [-0.8, +6.9]", "95 %"])
def test_scores_stay_readable_in_markdown(cell: str) -> None:
    assert markdown_text(cell) == cell


def test_a_cell_of_a_spreadsheet_goes_through_csv_and_back() -> None:
    for cell in ["=1+1", "'=1+1", "''@x", "'quoted", "-", "plain", "\t=x", ""]:
        text = io.StringIO()
        csv.writer(text).writerow([csv_text(cell), 1])
        assert csv_original(next(csv.reader(io.StringIO(text.getvalue(), newline="")))[0]) == cell


def test_a_table_of_hostile_names_has_its_lines_and_columns() -> None:
    rows = tuple((name, "1.0") for name in HOSTILE_NAMES)
    table = Table("title\x1b[2J\n", ("name\n", "score"), rows)
    text = table.to_text().split("\n")
    assert len(text) == len(rows) + 2
    assert all(is_harmless(line) for line in text)
    assert table.to_html().count("<td") == 2 * len(rows)


def test_a_message_keeps_both_ends_of_a_name_without_end() -> None:
    shown = terminal_text(f"There is no begin{'x' * 5000}end. Give a store.")
    assert len(shown) < 400
    assert "There is no begin" in shown and "end. Give a store." in shown
