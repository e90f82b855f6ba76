"""Names that a stranger may give a file, a class, a model or a source."""

import unicodedata

HOSTILE_NAMES = (
    "\x1b[2J\x1b]0;owned\x07",
    "a\x9b31mb",
    "line\nfeed\r\ttab",
    "back\x08\x08space\x00nul",
    "abc\u202egnp.exe",
    "\u2066isolate\u2069",
    "\u2028separator",
    "\udcff surrogate",
    '=HYPERLINK("http://evil.example","x")',
    "+cmd|'/c calc'!A1",
    "@SUM(1)",
    "-1+1",
    "'=quoted",
    "$x^{$",
    r"\$x$ $\frac{$",
    "_hidden",
    "# heading",
    "- item\n# heading",
    "1. item",
    "a | b || c",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "![image](http://evil.example/x.png)",
    "[link](javascript:alert(1))",
    "[^1] [ ] [x]: http://evil.example",
    "http://evil.example www.evil.example me@evil.example @someone",
    "`code` ``` ~~~ ~~gone~~ **bold** __b__",
    "&lt;script&gt; &#60;",
    "back\\slash\\",
    "[bold red]markup[/] [/dense] :car:",
    "%s %d {0} {{x}} {% raw %}",
    "../../etc/passwd",
    "x" * 5000,
    "long name " * 500,
)


def is_harmless(text: str) -> bool:
    """Whether a text has no control character, and no mark that turns the direction."""
    return all(
        unicodedata.category(c) not in ("Cc", "Cs", "Cf", "Zl", "Zp") or c in "\u200c\u200d"
        for c in text
    ) and len(text) <= 2000  # fmt: skip
