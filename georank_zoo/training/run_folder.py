"""A run folder before and while it is trained: what may begin or go on in it, and how."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from georank_zoo.data.store.header import HEADER_FILE
from georank_zoo.models.config import RECIPE
from georank_zoo.models.folder import FACTS
from georank_zoo.models.footprint import FOOTPRINT
from georank_zoo.training.failure import FAILURE
from georank_zoo.training.log_window import UNLOGGED
from georank_zoo.training.recipe import Recipe, list_recipes, load_recipe
from georank_zoo.training.run import CHECKPOINTS, Run, open_run, resume_command
from georank_zoo.training.run_log import METRICS_FILE
from georank_zoo.utils.errors import GeorankError, Interrupted, UsageError, plain
from georank_zoo.utils.leftovers import clear_leftovers, delete, leftovers_in
from georank_zoo.utils.locks import output_lock
from georank_zoo.utils.signals import ending_as_interrupt
from georank_zoo.utils.write_errors import REPEAT, DiskFullError, explain_write_errors

TRACKERS = "trackers"
# Written before the first checkpoint, the facts first: without them the rest says nothing.
_BEFORE_TRAINING = (
    FACTS, RECIPE, FOOTPRINT, METRICS_FILE, CHECKPOINTS, TRACKERS, UNLOGGED, FAILURE
)  # fmt: skip
# Of a command that writes in the folder now, or was killed there.
_PASSING = re.compile(r"\..+\.(lock|tmp)", re.DOTALL)
# Seconds to wait for another process that asks whether the run is being trained.
_WAIT = 1


def load_plan(
    source: Recipe | Run | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    overrides: Sequence[str] = (),
    **sections: object,
) -> tuple[Recipe, Path]:
    """The recipe and the folder of a run that is to be begun or continued.

    Args:
        source: Recipe, name of a shipped recipe, path of a YAML file or, to continue, the run
            folder, which knows its recipe and its store.
        out: Run folder; `runs/<name of the recipe>` by default.
        resume: Whether a run is to be continued.
        overrides: Keys to override, as `load_recipe` takes them.
        sections: Sections to override; a new place of the store, for one.

    Raises:
        UsageError: If the recipe is not valid, or there is no run in the folder that is to be
            continued.
    """
    if isinstance(source, Recipe):
        return source, _folder_of(source, out)
    folder = _run_folder(source, resume)
    if folder is None:
        recipe = load_recipe(source, overrides, **sections)
        return recipe, _folder_of(recipe, out)
    if out is not None and Path(out).resolve() != folder.resolve():
        raise UsageError(
            f"{folder} is a run folder, and its run goes on there. Leave out --out, or give a "
            f"recipe, such as {folder / RECIPE}, to train into another folder."
        )
    if not resume:
        raise UsageError(
            f"{folder} is a run folder. Continue its run with `{resume_command(folder)}` (in "
            "Python: resume=True), or give a recipe."
        )
    if "data" not in sections and (folder / FACTS).is_file():
        sections["data"] = _store_of(folder)
    return load_recipe(folder / RECIPE, overrides, **sections), folder


def _store_of(folder: Path) -> str:
    """Where the store of a run lies."""
    store = str(open_run(folder).facts["store"]["path"])
    if not Path(store).is_dir():
        raise UsageError(
            f"{folder} was trained on the store {plain(store)}, which is not there. Give its new "
            "place with --data (in Python: load the run's recipe.yaml with data=...)."
        )
    return store


def _folder_of(recipe: Recipe, out: str | os.PathLike[str] | None) -> Path:
    if out is None:
        return Path("runs") / recipe.name
    if not os.fspath(out):
        raise UsageError("The name of the run folder is empty. Give one with --out.")
    return Path(out)


def _run_folder(source: Run | str | os.PathLike[str], resume: bool) -> Path | None:
    """The run folder that a source names; None if it is to be read as a recipe.

    Raises:
        UsageError: If it must be a run folder, but no run lies there.
    """
    if isinstance(source, Run):
        return source.path
    folder = Path(source)
    if os.fspath(source) in list_recipes() or folder.is_file():
        return None
    if (folder / RECIPE).is_file():
        return folder
    is_path = len(folder.parts) > 1 and folder.suffix not in (".yaml", ".yml")
    if resume and (folder.is_dir() or (is_path and folder.parent != Path("recipes"))):
        check_free(folder)
        raise UsageError(
            f"There is no run in {folder}: nothing of it has been written yet. Repeat the command "
            "that was to begin it."
        )
    return None


@contextmanager
def keep_run_folder(folder: Path) -> Iterator[None]:
    """Keeps a run folder to this process while it trains, and clears what a killed one left there.

    When the work is ended before its time, the message says with which command it goes on.

    Raises:
        GeorankError: If another process trains the run, or nothing can be written there.
        DiskFullError: If there is no room.
        Interrupted: After Ctrl-C, SIGTERM or SIGHUP, if there is a run to be continued.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder. Choose another with --out.")
    with _saying_how_to_go_on(folder), ending_as_interrupt(), output_lock(folder, wait=_WAIT):
        checkpoints = folder / CHECKPOINTS
        for name in {name for name, _ in leftovers_in(checkpoints)}:
            clear_leftovers(checkpoints / name)
        yield


@contextmanager
def _saying_how_to_go_on(folder: Path) -> Iterator[None]:
    try:
        with explain_write_errors(folder):
            yield
    except DiskFullError as error:
        remedy = REPEAT
        if (folder / FACTS).is_file():
            remedy = f"Make room there and continue with `{resume_command(folder)}`."
        with explain_write_errors(folder, remedy):
            raise error
    except KeyboardInterrupt as error:
        if not (folder / FACTS).is_file():
            raise
        raise Interrupted(
            f"Stopped. Continue with `{resume_command(folder)}` (in Python: resume=True)."
        ) from error


def check_free(folder: Path) -> None:
    """Checks that a run may begin in a folder, or may have begun there.

    Raises:
        UsageError: If it is a file, or holds something else.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder. Choose another with --out.")
    if (folder / HEADER_FILE).exists():
        raise UsageError(f"{folder} is a patch store. Choose another folder with --out.")
    foreign = _foreign(folder)
    if foreign and not (folder / FACTS).is_file():
        raise UsageError(
            f"{folder} is not empty, and {plain(foreign[0])} in it is of no run. Choose another "
            "folder with --out."
        )


def is_unstarted(folder: Path) -> bool:
    """Whether nothing lies in a folder but what a run killed before its first checkpoint left."""
    if _foreign(folder) or any(_lasting(folder / CHECKPOINTS)):
        return False
    status = "started"
    with suppress(FileNotFoundError):
        try:
            status = json.loads((folder / FACTS).read_text(encoding="utf-8"))["status"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return False
    return status in ("started", "running")


def clear_unstarted(folder: Path) -> None:
    """Deletes what a run wrote before its first checkpoint.

    The caller holds the folder's lock. Killed in the middle, it leaves an unstarted folder.
    """
    for name in _BEFORE_TRAINING:
        delete(folder / name)


def require_new(folder: Path) -> None:
    """Checks that a new run can be made in a folder, and clears it of one that was not started.

    Raises:
        UsageError: If something lies there.
    """
    check_free(folder)
    if not folder.exists():
        return
    if not is_unstarted(folder):
        state = ""
        with suppress(GeorankError):
            state = f", {open_run(folder).status}"
        raise UsageError(
            f"{folder} holds a run{state}. Continue it with `{resume_command(folder)}` (in Python: "
            "resume=True), or choose another folder with --out."
        )
    clear_unstarted(folder)


def _foreign(folder: Path) -> list[str]:
    """Names in a folder that no run writes before its first checkpoint."""
    return sorted(set(_lasting(folder)) - {*_BEFORE_TRAINING})


def _lasting(folder: Path) -> Iterator[str]:
    if folder.is_dir():
        yield from (path.name for path in folder.iterdir() if not _PASSING.fullmatch(path.name))
