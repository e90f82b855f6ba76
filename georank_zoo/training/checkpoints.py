"""Checkpoints: the state of a run in safetensors and JSON, never pickled."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from georank_zoo.algorithms import Algorithm
from georank_zoo.training.objective import Objective
from georank_zoo.utils.errors import ModelError
from georank_zoo.utils.files import new_file, new_folder
from georank_zoo.utils.leftovers import temporary_beside

ALGORITHM = "algorithm.safetensors"
OPTIMIZER = "optimizer.safetensors"
REGULARIZER = "regularizer.safetensors"
STATE = "state.json"


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
    path = folder / f"step-{step:08d}"
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
            "step": step,
            "seconds": seconds,
            "optimizer": {"param_groups": raw["param_groups"], "scalars": scalars},
        }
        (temporary / STATE).write_text(json.dumps(document, indent=1), encoding="utf-8")
    return path


def load_checkpoint(
    path: Path, objective: Objective, optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    """Puts a checkpoint's state into algorithm, regularizer and optimizer.

    Returns:
        Optimizer steps taken and wall time in seconds.

    Raises:
        ModelError: If it is damaged or is of another recipe.
    """
    load_algorithm(path, objective.algorithm)
    try:
        if objective.regularizer is not None and _regularizer_state(objective):
            objective.regularizer.load_state_dict(load_file(path / REGULARIZER))
        document = json.loads((path / STATE).read_text(encoding="utf-8"))
        tensors: dict[str, Any] = load_file(path / OPTIMIZER)
        saved = document["optimizer"]
        state: dict[int, dict[str, Any]] = {}
        for key, value in {**tensors, **saved["scalars"]}.items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": state, "param_groups": saved["param_groups"]})
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise _damaged(path, error) from error
    # Sums over a tensor depend on its layout, so channels_last weights get such state again.
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    return int(document["step"]), float(document["seconds"])


def load_algorithm(path: Path, algorithm: Algorithm) -> None:
    """Puts a checkpoint's weights and buffers into the algorithm.

    Raises:
        ModelError: If it is damaged or is of another recipe.
    """
    try:
        algorithm.load_state_dict(load_file(path / ALGORITHM))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise _damaged(path, error) from error


def wall_seconds(path: Path) -> float:
    """Wall time in seconds of the steps up to a checkpoint.

    Raises:
        ModelError: If it is damaged.
    """
    try:
        return float(json.loads((path / STATE).read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def list_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    return sorted(path.parent for path in folder.glob(f"step-*/{STATE}"))


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


def _damaged(path: Path, error: BaseException) -> ModelError:
    reason = str(error).splitlines()[0]
    return ModelError(
        f"Checkpoint {path} cannot be loaded: {reason}. Delete it to continue from the one before."
    )
