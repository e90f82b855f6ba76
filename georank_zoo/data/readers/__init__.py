"""Readers: source files of a data set to patches for a store."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georank_zoo.data.datasets import DATASETS
from georank_zoo.data.files.remote import require_allowed
from georank_zoo.utils.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from georank_zoo.data.readers.base import Reader


def open_reader(
    name: str,
    source: str | Path,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Reader:
    """Opens a data set for reading.

    Args:
        name: Name in `DATASETS`.
        source: Folder of the data set.
        on_progress: Called with (done, in all) while the source is listed or generated.
        **options: The reader's options; those that are None are left at its defaults.

    Raises:
        UsageError: If there is no such reader or folder, or it does not take an option.
    """
    given = check_options(name, options)
    require_allowed(source, remote=bool(given.get("remote")))
    if name != "synthetic" and not given.get("remote") and not Path(source).is_dir():
        raise UsageError(f"There is no folder {source}. Give the folder of the {name} data.")
    facts = DATASETS[name].reader
    if facts.slow:
        given["on_progress"] = on_progress
    module, _, function = facts.factory.partition(":")
    reader: Reader = getattr(importlib.import_module(module), function)(source, **given)
    return reader


def check_options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options that are not None, if the reader takes them all.

    Raises:
        UsageError: If there is no such reader, or it does not take an option.
    """
    if name not in DATASETS:
        raise unknown_name("reader", name, DATASETS)
    given = {key: value for key, value in options.items() if value is not None}
    valid = [option.name for option in DATASETS[name].reader.options]
    foreign = sorted(set(given) - set(valid))
    if foreign:
        shown = (", ".join(f"--{o.replace('_', '-')}" for o in part) for part in (foreign, valid))
        raise UsageError("Reader {!r} does not take {}. It takes: {}.".format(name, *shown))
    return given
