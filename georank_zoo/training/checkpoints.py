"""Checkpoints: the state of a run in safetensors and JSON, never pickled."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, Field, RootModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from georank_zoo.algorithms import Algorithm
from georank_zoo.training.objective import Objective
from georank_zoo.training.optimizer_state import OptimizerState, load_optimizer
from georank_zoo.utils.documents import STRICT, Count, Sha256, parse_document, read_limited
from georank_zoo.utils.errors import ModelError, plain
from georank_zoo.utils.files import new_file, new_folder, replace_folder, sha256_of
from georank_zoo.utils.leftovers import temporary_beside

ALGORITHM = "algorithm.safetensors"
OPTIMIZER = "optimizer.safetensors"
REGULARIZER = "regularizer.safetensors"
STATE = "state.json"
CHECKSUMS = "checksums.json"  # SHA-256 of the other files

_FORMAT = 2  # the first has no checksums
_NAME = re.compile(r"step-\d{8,}")
_REMEDY = (
    "Resuming the run sets a damaged checkpoint aside and takes the one before; an export takes "
    "another with --checkpoint."
)


class CheckpointState(BaseModel):
    """Content of `state.json`.

    Attributes:
        step: Optimizer steps taken.
        seconds: Wall time of the run so far.
        optimizer: What of the optimizer's state is no tensor.
        format: 2, or 1 of earlier versions.
    """

    model_config = STRICT

    step: Count
    seconds: Annotated[float, Field(ge=0)]
    optimizer: OptimizerState
    format: Literal[1, 2] = 1


class _Checksums(RootModel[dict[str, Sha256]]):
    """SHA-256 of each file by name."""


def save_checkpoint(
    folder: Path,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    seconds: float,
) -> Path:
    """Writes a checkpoint `step-<number>` under the folder, whole or not at all.

    Args:
        folder: Folder of a run's checkpoints.
        objective: The algorithm, with queue, teacher and all other persistent buffers, and the
            regularizer, if it has a state.
        optimizer: Optimizer of the objective.
        step: Optimizer steps taken.
        seconds: Wall time of the run so far.
    """
    path = folder / _name(step)
    raw = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    scalars: dict[str, Any] = {}
    for index, state in raw["state"].items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                scalars[f"{index}.{key}"] = value
    with new_folder(path) as temporary:
        files = {ALGORITHM: objective.algorithm.state_dict(), OPTIMIZER: tensors}
        if state := _regularizer_state(objective):
            files[REGULARIZER] = state
        for name, content in files.items():
            with new_file(temporary / name) as file:
                save_file(_plain(content), file)
        document = {
            "format": _FORMAT,
            "step": step,
            "seconds": seconds,
            "optimizer": {"param_groups": raw["param_groups"], "scalars": scalars},
        }
        (temporary / STATE).write_text(json.dumps(document, indent=1), encoding="utf-8")
        recorded = {name: sha256_of(temporary / name) for name in (*files, STATE)}
        (temporary / CHECKSUMS).write_text(json.dumps(recorded, indent=1), encoding="utf-8")
    return path


def restore_newest(
    folder: Path,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    *,
    steps: int,
    on_message: Callable[[str], None],
    set_aside: bool = True,
) -> tuple[Path, int, float] | None:
    """Loads the newest checkpoint that is intact; damaged ones after it are set aside.

    Processes that do it at once need not wait for each other: what is damaged for one is damaged,
    or gone, for all.

    Args:
        folder: Folder of a run's checkpoints.
        objective: Takes the state.
        optimizer: Takes the state.
        steps: Length of the run.
        on_message: Told of each that is set aside.
        set_aside: Rename damaged ones; false in all processes but the first.

    Returns:
        The checkpoint, its optimizer steps and wall time in seconds; None where there is none.

    Raises:
        ModelError: If there are checkpoints, but none is intact.
    """
    found = list_checkpoints(folder)
    for path in reversed(found):
        try:
            return path, *load_checkpoint(path, objective, optimizer, steps=steps)
        except ModelError as error:
            aside = path.with_name(f"damaged-{path.name}")
            if set_aside:
                replace_folder(path, aside)
            reason = str(error).removesuffix(f" {_REMEDY}")
            on_message(f"Warning: {reason} {path.name} was set aside as {aside.name}.")
    if found or any(folder.glob("damaged-step-*")):
        raise ModelError(
            f"{folder} holds no checkpoint that is intact: all are damaged (damaged-step-...). "
            "Put one back from a copy, or train again in another folder."
        )
    return None


def load_checkpoint(
    path: Path, objective: Objective, optimizer: torch.optim.Optimizer, *, steps: int
) -> tuple[int, float]:
    """Puts a checkpoint's state into algorithm, regularizer and optimizer.

    Returns:
        Optimizer steps taken and wall time in seconds.

    Raises:
        ModelError: If it is damaged or is of another recipe.
    """
    state = load_algorithm(path, objective.algorithm, steps=steps)
    if objective.regularizer is not None and _regularizer_state(objective):
        _load_module(path / REGULARIZER, objective.regularizer)
    tensors = _read_tensors(path / OPTIMIZER)
    try:
        load_optimizer(optimizer, state.optimizer, tensors)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _damaged(path, f"{OPTIMIZER}: {error}") from error
    return state.step, state.seconds


def load_algorithm(path: Path, algorithm: Algorithm, *, steps: int | None) -> CheckpointState:
    """Puts a checkpoint's weights and buffers into the algorithm.

    Args:
        path: The checkpoint.
        algorithm: Takes the state.
        steps: Length of the run, where it is known.

    Raises:
        ModelError: If it is damaged or is of another recipe.
    """
    state = verify_checkpoint(path)
    if steps is not None and state.step > steps:
        raise _damaged(path, f"step {state.step} of a run of {steps}")
    _load_module(path / ALGORITHM, algorithm)
    return state


def verify_checkpoint(path: Path) -> CheckpointState:
    """Compares the files of a checkpoint with the hashes that were written beside them.

    Returns:
        What `state.json` says.

    Raises:
        ModelError: If it is damaged.
    """
    state = parse_document(
        CheckpointState, read_limited(path / STATE, error=ModelError, remedy=_REMEDY),
        where=path / STATE, error=ModelError, remedy=_REMEDY,
    )  # fmt: skip
    if path.name != _name(state.step):
        raise _damaged(path, f"{STATE} is of step {state.step}")
    if state.format == 1 and not (path / CHECKSUMS).exists():
        return state  # earlier versions wrote no hashes
    text = read_limited(path / CHECKSUMS, error=ModelError, remedy=_REMEDY)
    recorded = parse_document(
        _Checksums, text, where=path / CHECKSUMS, error=ModelError, remedy=_REMEDY
    ).root
    absent = {ALGORITHM, OPTIMIZER, STATE} - recorded.keys()
    if absent or state.format == 1:
        raise _damaged(path / CHECKSUMS, f"it names no {min(absent or {STATE})}")
    for name, digest in recorded.items():
        file = path / name
        if Path(name).name != name or not file.is_file() or sha256_of(file) != digest:
            raise _damaged(file, "it does not match its recorded SHA-256")
    return state


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first; each was given its name when it was whole."""
    return sorted(path for path in folder.glob("step-*") if _NAME.fullmatch(path.name))


def step_of(path: Path) -> int:
    """Optimizer steps taken up to a checkpoint, by its name."""
    return int(path.name.removeprefix("step-"))


def prune_checkpoints(folder: Path, keep: int) -> None:
    """Deletes all but the latest `keep` checkpoints, and what killed runs left half-written."""
    for path in list_checkpoints(folder)[:-keep]:
        with suppress(OSError):
            path.rename(temporary_beside(path))  # a kill must not leave half of one under its name
    for path in folder.glob(".step-*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def _regularizer_state(objective: Objective) -> dict[str, torch.Tensor]:
    return {} if objective.regularizer is None else objective.regularizer.state_dict()


def _plain(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    # safetensors refuses channels_last.
    return {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _load_module(file: Path, module: nn.Module) -> None:
    """Puts tensors into a module of exactly their names, shapes and types."""
    tensors, own = _read_tensors(file), module.state_dict()
    for name in sorted(tensors.keys() | own.keys()):
        found, expected = _kind(tensors.get(name)), _kind(own.get(name))
        if found != expected:
            raise _damaged(file, f"{plain(repr(name))} is {found} instead of {expected}")
    module.load_state_dict(tensors)


def _read_tensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise _damaged(file, str(error)) from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise _damaged(file, f"{plain(repr(name))} is not finite")
    return tensors


def _kind(tensor: torch.Tensor | None) -> str:
    if tensor is None:
        return "missing"
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _damaged(path: Path, reason: str) -> ModelError:
    return ModelError(f"{path} is damaged: {plain(reason, 200)}. {_REMEDY}")
