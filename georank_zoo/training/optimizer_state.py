"""The state of an optimizer, checked before it is taken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel

from georank_zoo.utils.documents import STRICT


class OptimizerState(BaseModel):
    """What of an optimizer's state is no tensor.

    Attributes:
        param_groups: Settings of each group, and the numbers of its parameters.
        scalars: Values by `<parameter>.<name>`.
    """

    model_config = STRICT

    param_groups: list[dict[str, Any]]
    scalars: dict[str, int | float | bool | str | None]


def load_optimizer(
    optimizer: torch.optim.Optimizer, saved: OptimizerState, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Puts a state into an optimizer of the same settings and parameters.

    Args:
        optimizer: The optimizer.
        saved: Its settings and scalars.
        tensors: Its tensors by `<parameter>.<name>`, with the parameters numbered.

    Raises:
        ValueError: If settings, numbers, shapes or types are others, or a parameter has no state.
    """
    _check_settings(saved.param_groups, optimizer.state_dict()["param_groups"])
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **saved.scalars}.items():
        index, _, name = key.partition(".")
        if not index.isdecimal() or int(index) >= len(parameters):
            raise ValueError(f"{key!r} is of no parameter")
        if isinstance(value, torch.Tensor):
            _check_tensor(key, value, parameters[int(index)])
        state.setdefault(int(index), {})[name] = value
    names = {tuple(sorted(one)) for one in state.values()}
    if (_has_state(optimizer) and not state) or len(names) > 1:
        raise ValueError("not every parameter has its state")
    optimizer.load_state_dict({"state": state, "param_groups": saved.param_groups})
    # Sums over a tensor depend on its layout, so channels_last weights get such state again.
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _check_settings(saved: list[dict[str, Any]], own: list[dict[str, Any]]) -> None:
    """Checks what both know: another version of torch may know more settings, with defaults."""
    own = json.loads(json.dumps(own))
    for there, here in zip(saved, own, strict=True):
        # Each step sets the learning rate.
        common = (there.keys() & here.keys() - {"lr"}) | {"params"}
        if any(there[name] != here[name] for name in common):
            raise ValueError("its settings are not those of the recipe")


def _check_tensor(key: str, value: torch.Tensor, parameter: torch.Tensor) -> None:
    if value.shape not in (parameter.shape, torch.Size()) or not value.is_floating_point():
        raise ValueError(f"{key!r} has shape {tuple(value.shape)}, not {tuple(parameter.shape)}")


def _has_state(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step leaves a state: plain SGD has none."""
    return any(group.get("momentum", 1) != 0 for group in optimizer.param_groups)
