"""Small recipes, and what is asked of the runs of them."""

from __future__ import annotations

import os
import signal
from typing import Any

import torch
from safetensors.torch import load_file

from georank_zoo.training import checkpoints
from georank_zoo.training.run import Run
from georank_zoo.training.run_log import TIMED
from georank_zoo.utils.progress import Silent

# A step takes milliseconds: timm's network for tests, small patches, few samples.
TINY = [
    "backbone.name=test_resnet", "views.size=16", "train.batch_size=8", "train.steps=12",
    "train.workers=0", "train.precision=fp32", "algorithm.queue_size=32", "algorithm.hidden_dim=32",
    "algorithm.output_dim=16", "optimizer.lr=0.05", "schedule.warmup_epochs=1",
    "train.checkpoint_epochs=1",
]  # fmt: skip


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.checkpoint() / checkpoints.ALGORITHM)


def assert_equal_runs(a: Run, b: Run) -> None:
    """Weights, queue, center, optimizer and regularizer are equal to the bit."""
    ours, theirs = ({f.name: f for f in run.checkpoint().glob("*.safetensors")} for run in (a, b))
    assert ours.keys() == theirs.keys() >= {checkpoints.ALGORITHM, checkpoints.OPTIMIZER}
    for name in ours:
        left, right = load_file(ours[name]), load_file(theirs[name])
        assert left.keys() == right.keys()
        assert [key for key in left if not torch.equal(left[key], right[key])] == []


def untimed(run: Run) -> list[dict[str, Any]]:
    """The rows of the log, in which two runs of one recipe are equal."""
    return [{k: v for k, v in row.items() if k not in TIMED} for row in run.log.rows()]


class StopAt(Silent):
    """Interrupts the run as Ctrl-C does, at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def advance(self, step: int, metrics: dict[str, float]) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGINT)
