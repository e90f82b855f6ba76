"""A step whose loss was not finite, computed again."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import torch

from georank_zoo.training.failure import FAILURE, Failure
from georank_zoo.training.loop import Loop
from georank_zoo.training.run import open_run
from georank_zoo.training.setup import Setup
from georank_zoo.training.trainer import make_accelerator
from georank_zoo.utils.environment import environment_ignored
from georank_zoo.utils.errors import UsageError, plain
from georank_zoo.utils.progress import Silent

_LISTED = 5


@dataclass(frozen=True)
class Replay:
    """What a step showed when it was computed again.

    Attributes:
        failure: What the run recorded of it.
        lines: What is found, in the order of the computation.
        finite: Whether the loss is finite this time.
        same: Whether the terms are those that the run recorded.
    """

    failure: Failure
    lines: tuple[str, ...]
    finite: bool
    same: bool


@environment_ignored()
def replay(path: str | os.PathLike[str]) -> Replay:
    """Computes the step again at which a run stopped because its loss was not finite.

    The steps since the last checkpoint are taken again, which on the CPU gives the same numbers to
    the bit. Nothing is written.

    Args:
        path: Run folder.

    Raises:
        UsageError: If no loss of the run was not finite, or it trained in several processes.
        ModelError: If the folder is damaged.
    """
    run = open_run(path)
    failure = Failure.read(run.path)
    if failure.processes > 1:
        raise UsageError(
            f"{run.path} was trained in {failure.processes} processes, and one process computes a "
            f"step otherwise. The patches of step {failure.step} are listed in {FAILURE}."
        )
    setup = Setup.from_recipe(run.recipe)
    run.require_same(run.recipe, setup.batches.store)
    failure.require_of(run.path, setup.batches, setup.length.steps)
    loop = Loop(setup, run, make_accelerator(run.recipe), Silent())
    loop.restore()
    if loop.step >= failure.step:
        raise UsageError(f"{run.path} has a checkpoint after step {failure.step}: it went on.")
    start = loop.step
    loop.advance(failure.step - 1)
    state = _state(loop)
    lines, terms = _examine(loop)
    finite = all(math.isfinite(value) for part in terms for value in part.values())
    same = failure.terms in [{name: str(part[name]) for name in part} for part in terms]
    recorded = ", ".join(f"{plain(name)} {plain(text)}" for name, text in failure.terms.items())
    told = "the same" if same else f"not the same: {recorded}"
    lines = [f"Taken again from step {start}.", *state, *lines, f"What the run recorded is {told}."]
    return Replay(failure, tuple(lines), finite, same)


def _state(loop: Loop) -> list[str]:
    """What the network is before the step."""
    weights = dict(loop.objective.named_parameters())
    bad = [name for name, value in weights.items() if not value.isfinite().all()]
    largest = max(weights, key=lambda name: float(weights[name].detach().abs().max().nan_to_num()))
    return [
        f"Before the step: {_named(bad, 'weights')} not finite; the largest is "
        f"{float(weights[largest].detach().abs().max()):.3g}, in {largest}."
    ]


def _examine(loop: Loop) -> tuple[list[str], list[dict[str, float]]]:
    """Computes each part of the step; what is not finite, and the terms of each part."""
    lines, parts = [], []
    batches, section = loop.setup.batches, loop.recipe.train
    for part in range(section.accumulate):
        number = loop.step * section.accumulate + part
        views, latlon = loop.views_of(batches[number])
        bad = [not view.isfinite().all() for view in views]
        lines.append(f"Part {part + 1}: {sum(bad)} of {len(views)} views hold values not finite.")
        with torch.autocast(
            latlon.device.type, torch.bfloat16, enabled=section.precision == "bf16"
        ):
            loss, logs, embeddings = loop.objective(views, latlon)
        keys = [batches.store.keys[patch] for patch in batches.patches(number)[0]]
        rows = (~embeddings.isfinite().all(dim=1)).nonzero()[:, 0].tolist()
        lines.append(f"Embeddings: {_named([keys[row] for row in rows], 'patches')} not finite.")
        terms = {name: float(value) for name, value in logs.items()}
        lines.append("Terms: " + ", ".join(f"{name} {value:g}" for name, value in terms.items()))
        parts.append(terms)
        loss.backward()
    gradients = {name: p.grad for name, p in loop.objective.named_parameters()}
    bad_gradients = [n for n, g in gradients.items() if g is not None and not g.isfinite().all()]
    lines.append(f"Gradients: {_named(bad_gradients, 'weights')} not finite.")
    return lines, parts


def _named(names: list[str], what: str) -> str:
    """How many, and the first few of them."""
    if not names:
        return f"no {what}"
    more = ", ..." if len(names) > _LISTED else ""
    return f"{len(names)} {what} ({', '.join(map(plain, names[:_LISTED]))}{more})"
