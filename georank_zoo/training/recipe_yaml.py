"""YAML of recipes and cards: the types of JSON, each key once, no aliases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from georank_zoo.data.files.text import read_text
from georank_zoo.utils.errors import GeorankError, RecipeError, UsageError
from georank_zoo.utils.untrusted_text import plain

_MOST_BYTES = 2**18  # hundred times the longest recipe of ours
_DEEPEST = 16  # recipes have three levels
_STANDARD = "tag:yaml.org,2002:"
_SCALARS = {_STANDARD + kind for kind in ("null", "bool", "int", "float", "str")}
_TAGS: dict[type[Node], set[str]] = {
    ScalarNode: _SCALARS,
    SequenceNode: {f"{_STANDARD}seq"},
    MappingNode: {f"{_STANDARD}map"},
}


class _RecipeLoader(yaml.SafeLoader):
    """PyYAML's safe loader without what recipes do not need.

    No aliases: ten lines of them stand for gigabytes. No types but those of JSON: a date is a text.
    """

    # Of the first letter of a plain scalar: what it may be.
    yaml_implicit_resolvers = {  # noqa: RUF012
        letter: [(tag, pattern) for tag, pattern in patterns if tag in _SCALARS]
        for letter, patterns in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise ComposerError(
                problem=f"the alias *{event.anchor} is not allowed: write the value out",
                problem_mark=mark,
            )
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ComposerError(problem=f"nested deeper than {_DEEPEST} levels", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and node.tag not in _TAGS[type(node)]:
            shown = plain(node.tag.replace(_STANDARD, "!!"))
            raise ConstructorError(
                problem=f"the type {shown} is not allowed", problem_mark=node.start_mark
            )
        return node

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        first: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode) or key.tag != f"{_STANDARD}str":
                raise ConstructorError(
                    problem=f"a key must be a text, not {plain(key.value)}; quote it",
                    problem_mark=key.start_mark,
                )
            if key.value in first:
                raise ConstructorError(
                    problem=f"the key {plain(key.value)!r} stands twice, first in line "
                    f"{first[key.value]}: delete one",
                    problem_mark=key.start_mark,
                )
            first[key.value] = line
        return super().construct_mapping(node, deep=deep)

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            # `!!int x`, and numbers of more digits than Python reads.
            raise ConstructorError(
                problem=f"{plain(node.value)} is no {node.tag.removeprefix(_STANDARD)}",
                problem_mark=node.start_mark,
            ) from error


def parse_yaml(text: str, *, where: str, error: type[GeorankError] = RecipeError) -> Any:
    """Reads a YAML document.

    Args:
        text: The document.
        where: Its file, for messages.
        error: Class of the error.

    Raises:
        GeorankError: Of class `error`, if it is not valid or too long, has a key twice, an alias,
            or another type than JSON has; names line and column.
    """
    if len(text) > _MOST_BYTES:
        raise error(f"{where} has {len(text):,} characters of YAML, more than any of ours.")
    try:
        # A subclass of the safe loader.
        return yaml.load(text, Loader=_RecipeLoader)  # noqa: S506
    except yaml.reader.ReaderError as problem:
        before = text[: problem.position]
        place = _place(before.count("\n"), len(before) - before.rfind("\n") - 1)
        reason = f"the character U+{int(problem.character):04X} is not allowed"
        raise error(f"{where} is not valid YAML, {place}: {reason}.") from problem
    except OverflowError as problem:  # PyYAML makes no check of what an escape stands for
        reason = 'an escape such as "\\UFFFFFFFF" stands for no character'
        raise error(f"{where} is not valid YAML: {reason}.") from problem
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        place = _place(mark.line, mark.column) if mark else "somewhere"
        reason = ", ".join(filter(None, (problem.context, problem.problem)))
        raise error(f"{where} is not valid YAML, {place}: {plain(reason, 300)}.") from problem


def _place(line: int, column: int) -> str:
    return f"line {line + 1}, column {column + 1}"


def read_recipe_text(path: Path) -> str:
    """The text of a recipe's file, in an encoding of `read_text`.

    Raises:
        RecipeError: If it is longer than any recipe, or not text.
        OSError: If it cannot be read.
    """
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise RecipeError(f"{plain(path, 300)} has {size:,} bytes, more than a recipe has.")
    try:
        return read_text(path)
    except UsageError as error:
        raise RecipeError(str(error)) from error
