"""The gate for text of strangers, such as names of files, classes and models, by medium.

`terminal_text`, `markdown_text`, `markdown_code`, `csv_text`, `html_text`, `figure_text`; `plain`
and `brief` for messages. In all of them control characters, escape sequences and marks that change
the direction of writing are spelled out, and no letter is changed.
"""

from __future__ import annotations

import html
import re
import reprlib

# Line ends, and the joiners without which Persian words and some emoji fall apart.
_SHOWN = "\n\u200c\u200d"
_NAME, _LINE = 300, 2000  # characters of a name, and of a line of a message

# What a spreadsheet takes for the begin of a formula (OWASP, "CSV injection").
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
# What begins or ends a construct of Markdown, GitHub's extensions and formulas, or HTML.
_MARKDOWN = str.maketrans({c: f"&#{ord(c)};" for c in "&\\`*_[]<>|#~$@"})
_LINK = re.compile(r"://|(?<=www)\.", re.IGNORECASE)  # a bare address becomes a link by itself
_NUMBERS = re.compile(r"[-+\d., \[\]%]*")


def printable(text: str) -> str:
    """Text of many lines whose other control characters are spelled out, and no letter changed."""
    return "".join(
        c if c.isprintable() or c in _SHOWN else c.encode("unicode_escape").decode() for c in text
    )


def terminal_text(text: str) -> str:
    """Text of many lines for a terminal; words and lines without an end lose their middle."""
    return "\n".join(map(_without_middle, printable(text).split("\n")))


def plain(text: object, limit: int = 80) -> str:
    """Text for a message: short, on one line.

    A name in a downloaded file may hold escape sequences that a terminal obeys.
    """
    escaped = printable(str(text)[: limit + 1]).replace("\n", r"\n")
    return escaped if len(escaped) <= limit else f"{escaped[: limit - 3]}..."


def brief(value: object, limit: int = 80) -> str:
    """A value for a message.

    Lists that hold each other many times, which a few lines of YAML can write, are not spelled out.
    """
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 3, limit, limit
    return plain(short.repr(value), limit)


def markdown_text(text: object, limit: int = _NAME) -> str:
    """Text on one line that Markdown and HTML show as it is."""
    line = plain(" ".join(str(text).split()), limit)
    if _NUMBERS.fullmatch(line):  # a score with its interval stays readable in the file
        return line
    return _LINK.sub(
        lambda found: f"&#{ord(found[0][0])};{found[0][1:]}", line.translate(_MARKDOWN)
    )


def markdown_code(text: object, limit: int = _NAME) -> str:
    """Text as code, which a backtick would end, in a table's cell, which a bar would."""
    line = plain(" ".join(str(text).split()), limit).replace("`", "'").replace("|", "/")
    return f"`{line}`"


def csv_text(cell: str) -> str:
    """A cell that a spreadsheet takes for no formula: one apostrophe more stands before it.

    Numbers do not go through here. `csv_original` gives the text back.
    """
    return f"'{cell}" if _FORMULA.match(cell) else cell


def csv_original(cell: str) -> str:
    """The text of a cell that `csv_text` wrote."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def html_text(text: object, limit: int = _LINE) -> str:
    """Text for HTML, between tags or in an attribute."""
    return html.escape(plain(text, limit))


def figure_text(text: object, limit: int = 80) -> str:
    """Text of a figure that reads like the name: `$` begins no formula.

    A leading underscore would hide an entry from a legend, so a space stands before it.
    """
    shown = plain(text, limit).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def _without_middle(line: str) -> str:
    """A line whose longest words, and itself, are shortened in their middle."""
    if len(line) <= _NAME:
        return line
    words = [_cut(word, _NAME) for word in line.split(" ")]
    return _cut(" ".join(words), _LINE)


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = (limit - 3) // 2
    return f"{text[:half]}...{text[-half:]}"
