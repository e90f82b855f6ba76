"""`doctor`: what a path holds, whether it is whole, and what to do where it is not."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from georank_zoo.data.download.record import LISTING, RECORD, verify_download
from georank_zoo.data.store.header import HEADER_FILE, PLACE_FILE
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.eval.results.table import read_rows
from georank_zoo.models.config import CONFIG, WEIGHTS
from georank_zoo.models.encoder import create_model
from georank_zoo.models.fingerprint import FINGERPRINT, compare_fingerprint
from georank_zoo.models.folder import EXPORT, FACTS, check_model_folder
from georank_zoo.models.footprint import read_footprint
from georank_zoo.models.run_facts import read_facts
from georank_zoo.training.checkpoints import list_checkpoints, verify_checkpoint
from georank_zoo.training.recipe import parse_recipe
from georank_zoo.training.run import CHECKPOINTS, open_run
from georank_zoo.training.run_log import METRICS_FILE
from georank_zoo.utils.devices import pick_device
from georank_zoo.utils.documents import read_limited
from georank_zoo.utils.environment import device_name, versions
from georank_zoo.utils.errors import GeorankError, UsageError
from georank_zoo.utils.files import cache_folder

_KINDS = "a store, a run folder, a model folder, a download, a results file or a recipe"


@dataclass(frozen=True)
class Health:
    """What `doctor` found.

    Attributes:
        kind: `store`, `run`, `model`, `download`, `results`, `recipe` or `environment`.
        facts: What was looked at, or the environment's facts, by name.
        findings: What is wrong, each with what to do; none if all is well.
    """

    kind: str
    facts: dict[str, str]
    findings: tuple[str, ...] = ()


def doctor(path: str | os.PathLike[str] | None = None) -> Health:
    """Looks for damage in what a path holds, which its content tells; bytes are compared too.

    Args:
        path: A store, run folder, model folder, download, results file or recipe; None for the
            environment.

    Raises:
        UsageError: If it is none of these.

    Example:
        >>> import georank_zoo as gz
        >>> gz.doctor("stores/mine").findings
        ()
        >>> gz.doctor().kind
        'environment'
    """
    if path is None:
        return Health("environment", _environment())
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{path} does not exist. Give the path of {_KINDS}.")
    if path.name in (HEADER_FILE, FACTS, RECORD, CONFIG) and path.is_file():
        path = path.parent
    kind = next((kind for kind, (fits, _) in _LOOKS.items() if fits(path)), None)
    if kind is None:
        raise UsageError(f"{path} is nothing that is known here. Known are {_KINDS}.")
    facts: dict[str, str] = {"path": str(path)}
    # One damaged file may stop several looks.
    found = dict.fromkeys(_LOOKS[kind][1](path, facts))
    return Health(kind, facts, tuple(found))


def _environment() -> dict[str, str]:
    here = shutil.disk_usage(Path.cwd())
    device = pick_device()
    facts = {"python": f"{platform.python_version()}, {platform.platform()}", **versions()}
    facts["device"] = device_name(device)
    if device.type == "cuda":
        facts["device memory"] = _gib(torch.cuda.get_device_properties(device).total_memory)
    if hasattr(os, "sysconf"):  # not on Windows
        facts["memory"] = _gib(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    facts["free disk here"] = _gib(here.free)
    facts["cache"] = str(cache_folder())
    return facts


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _fault(check: Callable[[], object]) -> list[str]:
    """What a check finds."""
    try:
        check()
    except (GeorankError, OSError) as error:
        return [str(error)]
    return []


def _look_at_store(path: Path, facts: dict[str, str]) -> Iterator[str]:
    try:
        store = PatchStore(path)
    except GeorankError as error:
        yield str(error)
        return
    facts |= {"patches": str(len(store)), "shards": str(len(store.header.shards))}
    for text in store.verify():
        yield f"{path}: {text}. Prepare it again with --overwrite."


def _look_at_run(path: Path, facts: dict[str, str]) -> Iterator[str]:
    yield from _fault(lambda: read_facts(path / FACTS))
    yield from _fault(lambda: open_run(path).facts)
    yield from _fault(lambda: read_footprint(path))
    found = list_checkpoints(path / CHECKPOINTS)
    facts["checkpoints"] = str(len(found))
    for checkpoint in found:
        yield from _fault(lambda folder=checkpoint: verify_checkpoint(folder))  # type: ignore[misc]
    try:
        run = open_run(path)
        facts |= {"recipe": run.recipe.name, "status": run.status}
        facts["rows logged"] = str(len(run.log.rows()))
        # Those of a finished run may be deleted to save room.
        if run.facts["status"] == "interrupted" and not found:
            yield (
                f"{path} is {run.status}, but has no checkpoint. Put one back from a copy, or "
                "train again into another folder."
            )
    except (GeorankError, OSError) as error:
        yield str(error)
    if (path / EXPORT).exists():
        yield from _look_at_model(path / EXPORT, {})


def _look_at_model(path: Path, facts: dict[str, str]) -> Iterator[str]:
    try:
        config = check_model_folder(path)
        facts |= {"name": config.name, "bands": " ".join(config.bands)}
        if FINGERPRINT in config.georank:
            match = compare_fingerprint(create_model(path))
            facts["fingerprint"] = f"differs by {match.difference:.1e}"
            if not match.equal:
                yield (
                    f"{path / CONFIG} or {WEIGHTS} beside it gives other features than at its "
                    "export. Export or download the model again."
                )
    except (GeorankError, OSError) as error:
        yield str(error)
    yield from _fault(lambda: read_footprint(path))


def _look_at_download(path: Path, facts: dict[str, str]) -> Iterator[str]:
    try:
        check = verify_download(path)
    except (GeorankError, OSError) as error:
        yield str(error)
        return
    facts |= {"data set": check.record.name, "files": str(check.files)}
    for text in check.damaged:
        yield f"{path}: {text}. Delete it and repeat the download."


def _look_at_results(path: Path, facts: dict[str, str]) -> Iterator[str]:
    try:
        facts["rows"] = str(len(read_rows(path)))
    except (GeorankError, OSError) as error:
        yield str(error)


def _look_at_recipe(path: Path, facts: dict[str, str]) -> Iterator[str]:
    try:
        text = read_limited(path, error=GeorankError, remedy="Write it again.")
        facts["recipe"] = parse_recipe(text, where=str(path)).name
    except (GeorankError, OSError) as error:
        yield str(error)


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda path: any((path / name).exists() for name in names)


def _is_store(path: Path) -> bool:
    return _has(HEADER_FILE, PLACE_FILE)(path) or any(path.glob("shard-*.safetensors"))


def _is_file(*suffixes: str) -> Callable[[Path], bool]:
    return lambda path: path.is_file() and path.suffix.lower() in suffixes


_Look = Callable[[Path, dict[str, str]], Iterator[str]]
_LOOKS: dict[str, tuple[Callable[[Path], bool], _Look]] = {
    "store": (_is_store, _look_at_store),
    "download": (_has(RECORD, LISTING), _look_at_download),
    "run": (_has(FACTS, METRICS_FILE, CHECKPOINTS), _look_at_run),
    "model": (_has(CONFIG, WEIGHTS), _look_at_model),
    "results": (_is_file(".csv"), _look_at_results),
    "recipe": (_is_file(".yaml", ".yml"), _look_at_recipe),
}
