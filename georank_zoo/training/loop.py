"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from georank_zoo import bands as s2
from georank_zoo.geo import exact_dtype
from georank_zoo.training import checkpoints
from georank_zoo.training.batches import Batch, PlaceBatches, iterate
from georank_zoo.training.objective import Objective
from georank_zoo.training.probe import Probe
from georank_zoo.training.recipe import Recipe
from georank_zoo.training.run import Run
from georank_zoo.utils.errors import GeorankError, Interrupted
from georank_zoo.utils.progress import Reporter
from georank_zoo.utils.rng import stream
from georank_zoo.utils.schedules import warmup_cosine
from georank_zoo.utils.signals import StopSignal
from georank_zoo.views import Views

# Reading a loss from the device waits for it, so steps are logged in groups of this many.
LOG_STEPS = 10


@dataclass(frozen=True)
class Length:
    """The length of a run in optimizer steps.

    Attributes:
        steps: Of the whole run.
        per_epoch: Of an epoch.
        warmup: Of the learning rate's warm-up.
    """

    steps: int
    per_epoch: int
    warmup: int

    @classmethod
    def of(cls, recipe: Recipe, per_epoch: int) -> Length:
        """The length of a recipe's run on a store that gives an epoch of so many steps."""
        steps = recipe.train.steps or (recipe.train.epochs or 1) * per_epoch
        return cls(steps, per_epoch, min(steps, round(recipe.schedule.warmup_epochs * per_epoch)))


@dataclass
class Loop:
    """Takes the steps of a run, logs, checkpoints and probes.

    Attributes:
        step: Optimizer steps taken.
        seconds: Wall time of the steps, without probes and checkpoints.
    """

    recipe: Recipe
    run: Run
    accelerator: Accelerator
    objective: Objective
    optimizer: torch.optim.Optimizer
    batches: PlaceBatches
    views: Views
    mean: torch.Tensor
    std: torch.Tensor
    probe: Probe | None
    reporter: Reporter
    length: Length
    step: int
    seconds: float
    _logs: list[dict[str, torch.Tensor]] = field(default_factory=list)
    _last: tuple[torch.Tensor, torch.Tensor] | None = None
    _logged_step: int = 0
    _logged_at: float = 0.0

    def go(self) -> None:
        """Takes all steps that are left.

        Raises:
            Interrupted: After SIGINT or SIGTERM, when the state has been saved.
            GeorankError: If the loss is not finite.
        """
        model, optimizer = self.accelerator.prepare(self.objective, self.optimizer)
        model.train()
        parts = self.recipe.train.accumulate
        batches = iterate(
            self.batches,
            self.step * parts,
            self.length.steps * parts,
            workers=self.recipe.train.workers,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        self.reporter.start(self.length.steps, self.step)
        self._logged_step, self._logged_at = self.step, time.monotonic()
        with StopSignal() as stop:
            while self.step < self.length.steps:
                self._take_step(model, optimizer, batches)
                last = self.step == self.length.steps
                if self.step % LOG_STEPS == 0 or last:
                    self._log()
                stopped = self._anyone(stop.requested) and not last
                if self.step % self.length.per_epoch == 0 or last or stopped:
                    self._save_and_probe(last=last, stopped=stopped)
                if stopped:
                    raise Interrupted(
                        f"Stopped after step {self.step} of {self.length.steps}; the state is "
                        f"saved in {self.run.path}. Go on with --resume."
                    )

    def _take_step(self, model: nn.Module, optimizer: Any, batches: Iterator[Batch]) -> None:
        section = self.recipe.train
        factor = warmup_cosine(
            self.step,
            total=self.length.steps,
            warmup=self.length.warmup,
            final=self.recipe.schedule.final,
        )
        for group in optimizer.param_groups:
            group["lr"] = self.recipe.optimizer.lr * factor
        # For backbones that draw in their forward pass (dropout, stochastic depth).
        draws = stream(self.recipe.seed, f"model {self.accelerator.process_index}", self.step)
        torch.manual_seed(int(draws.integers(2**63)))
        for part in range(section.accumulate):
            views, latlon = self._views(next(batches))
            # Only the last part exchanges gradients between processes.
            waits = part < section.accumulate - 1
            with self.accelerator.no_sync(model) if waits else nullcontext():
                bf16 = section.precision == "bf16"
                with torch.autocast(latlon.device.type, torch.bfloat16, enabled=bf16):
                    loss, logs, embeddings = model(views, latlon)
                self.accelerator.backward(loss / section.accumulate)
            self._logs.append(logs)
        self.objective.algorithm.before_step(self.step / self.length.per_epoch)
        optimizer.step()
        optimizer.zero_grad()
        self.step += 1
        self.objective.algorithm.end_step(self.step / self.length.steps)
        self._last = (embeddings, latlon)

    def _views(self, batch: Batch) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The views and positions of a batch, on the device."""
        device = self.accelerator.device
        dates = [
            s2.standardize(s2.to_reflectance(date, "dn"), self.mean, self.std)
            for date in batch["images"].to(device, non_blocking=True)
        ]
        views = self.views(dates, batch["uniform"])
        if self.recipe.train.channels_last:
            views = [view.contiguous(memory_format=torch.channels_last) for view in views]
        return views, batch["latlon"].to(device, exact_dtype(device), non_blocking=True)

    def _log(self) -> None:
        """Writes the means over the steps since the last time."""
        if not self._logs or self._last is None:
            return
        means = {
            name: torch.stack([row[name].float() for row in self._logs]).mean()
            for name in self._logs[0]
        }
        # Of the last batch alone: they cost more than a mean.
        found = self.objective.diagnostics(*self._last)
        means |= {name: value.float() for name, value in found.items()}
        values = self.accelerator.reduce(torch.stack(list(means.values())), "mean").tolist()
        metrics: dict[str, float] = dict(zip(means, values, strict=True))
        now = time.monotonic()
        elapsed = now - self._logged_at
        images = (self.step - self._logged_step) * self.recipe.train.batch_size * self.batches.views
        metrics |= {"images_per_s": images / elapsed, "lr": self.optimizer.param_groups[0]["lr"]}
        self.seconds += elapsed
        self._logs, self._logged_step, self._logged_at = [], self.step, now
        if not all(map(math.isfinite, metrics.values())):
            raise GeorankError(
                f"The loss is not finite at step {self.step}. Lower `optimizer.lr`, lengthen "
                "`schedule.warmup_epochs`, or say `train.precision: fp32`."
            )
        self._record(metrics)
        self.reporter.advance(self.step, metrics)

    def _record(self, metrics: dict[str, float]) -> None:
        if self.accelerator.is_main_process:
            epoch = round(self.step / self.length.per_epoch, 4)
            self.run.log({"step": self.step, "epoch": epoch, **metrics})
        self.accelerator.log(metrics, step=self.step)

    def _save_and_probe(self, *, last: bool, stopped: bool) -> None:
        """Saves and probes where they are due."""
        epoch, rest = divmod(self.step, self.length.per_epoch)
        saves = stopped or epoch % self.recipe.train.checkpoint_epochs == 0
        probes = rest == 0 and epoch % self.recipe.probe.every_epochs == 0
        if saves or last:
            self._log()  # a loss that is not finite must not be saved over good checkpoints
        began = time.monotonic()
        if (saves or last) and self.accelerator.is_main_process:
            checkpoints.save_checkpoint(
                self.run.checkpoints,
                self.objective,
                self.optimizer,
                step=self.step,
                seconds=self.seconds,
            )
            checkpoints.prune_checkpoints(self.run.checkpoints, self.recipe.train.keep_checkpoints)
        if self.probe and (probes or last):
            self._probe(self.probe)
        self.accelerator.wait_for_everyone()
        self._logged_at += time.monotonic() - began

    def _probe(self, probe: Probe) -> None:
        if not self.accelerator.is_main_process:
            return
        scores = probe(self.objective.algorithm.backbone, self.accelerator.device)
        self._record(scores)
        text = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        self.reporter.message(f"Step {self.step}: {text}")

    def _anyone(self, flag: bool) -> bool:
        """Whether any process says so; several processes ask each other only when they log."""
        if self.accelerator.num_processes == 1:
            return flag
        if self.step % LOG_STEPS:
            return False
        mine = torch.tensor(float(flag), device=self.accelerator.device)
        return bool(self.accelerator.reduce(mine, "sum").item() > 0)
