"""Which file of the folder a table's name means."""

from __future__ import annotations

import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from georank_zoo.utils.errors import UsageError, plain


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


# A Mac writes names decomposed, Windows and users write endings in either case.
_SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    _composed,
    lambda name: _composed(name).casefold(),
)


class FileNames:
    """The files of a folder by the names that tables give them.

    Args:
        root: The folder.
        files: Its files, relative to it.
    """

    def __init__(self, root: Path, files: Sequence[str]) -> None:
        self._roots = {root.absolute().as_posix(), root.resolve().as_posix()}
        self._name = _composed(root.resolve().name)
        # By spelling: the files of a path, and of a bare name.
        self._paths = [_grouped(files, spell) for spell in _SPELLINGS]
        bare = (lambda f, s=spell: s(posixpath.basename(f)) for spell in _SPELLINGS)
        self._bare = [_grouped(files, key) for key in bare]

    def find(self, name: str) -> str | None:
        r"""The file of a name: a path relative to the folder, or a bare name that is unique.

        The spelling as it is counts first, then in Unicode NFC, then without case.

        Args:
            name: Relative or absolute path, with / or \, or a bare name.

        Raises:
            UsageError: If it stands for several files.
        """
        candidates = list(self._candidates(name.strip()))
        for spell, paths, bare in zip(_SPELLINGS, self._paths, self._bare, strict=True):
            for candidate, is_whole in candidates:
                spelled = spell(candidate)
                found = paths.get(spelled) or ([] if is_whole else bare.get(spelled, []))
                if len(found) > 1:
                    raise UsageError(
                        f"{plain(name)} stands for {len(found)} files, such as {plain(found[0])} "
                        f"and {plain(found[1])}. Give their paths."
                    )
                if found:
                    return found[0]
        return None

    def _candidates(self, name: str) -> Iterator[tuple[str, bool]]:
        """Paths that a name may mean, and whether each is a whole path from the root."""
        yield name, False
        path = posixpath.normpath(name.replace("\\", "/")) if name else name
        for root in self._roots:
            if path.startswith(f"{root}/"):
                yield path[len(root) + 1 :], True
        yield path, False
        # my_geotiffs/crop/1.tif, or a path of the folder on another machine.
        parts = path.split("/")
        for number, part in enumerate(parts[:-1], 1):
            if _composed(part) == self._name:
                yield "/".join(parts[number:]), True


def _grouped(files: Sequence[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for file in files:
        groups[key(file)].append(file)
    return dict(groups)
