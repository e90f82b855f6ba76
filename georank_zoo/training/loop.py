"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from georank_zoo import bands as s2
from georank_zoo.geo import exact_dtype
from georank_zoo.training import checkpoints
from georank_zoo.training.batches import Batch, iterate
from georank_zoo.training.build import build_optimizer
from georank_zoo.training.log_window import LogWindow
from georank_zoo.training.run import Run
from georank_zoo.training.setup import Setup
from georank_zoo.utils.errors import GeorankError, Interrupted
from georank_zoo.utils.progress import Reporter
from georank_zoo.utils.rng import stream
from georank_zoo.utils.schedules import warmup_cosine
from georank_zoo.utils.signals import StopSignal

# Reading a loss from the device waits for it, so steps are logged in groups of this many.
LOG_STEPS = 10


class Loop:
    """Takes the steps of a run, logs, checkpoints and probes.

    Args:
        setup: Parts of the run. Its objective moves to the accelerator's device.
        folder: Run folder.
        accelerator: Device and processes.
        reporter: Progress display.

    Attributes:
        step: Optimizer steps taken.
        seconds: Wall time of the steps, without probes and checkpoints.
    """

    def __init__(
        self, setup: Setup, folder: Run, accelerator: Accelerator, reporter: Reporter
    ) -> None:
        self.recipe = setup.recipe
        self.setup = setup
        self.folder = folder
        self.accelerator = accelerator
        self.reporter = reporter
        self.length = setup.length
        objective, device = setup.objective, accelerator.device
        if self.recipe.train.channels_last:
            objective = objective.to(memory_format=torch.channels_last)
        self.objective = objective.to(device)
        self.optimizer = build_optimizer(self.recipe, self.objective)
        # Made once: a copy to the device in each step would make the step wait.
        mean, std = setup.batches.store.mean_std(self.recipe.bands)
        self._mean, self._std = torch.tensor(mean, device=device), torch.tensor(std, device=device)
        self._window = LogWindow()
        self.step, self.seconds = 0, 0.0

    def restore(self) -> None:
        """Goes to the last intact checkpoint in the folder, if there is one.

        Raises:
            ModelError: If all are damaged.
        """
        found = checkpoints.restore_newest(
            self.folder.checkpoints, self.objective, self.optimizer, steps=self.length.steps,
            on_message=self.reporter.message, set_aside=self.accelerator.is_main_process,
        )  # fmt: skip
        if found is not None:
            checkpoint, self.step, self.seconds = found
            self.reporter.message(f"Resumed from {checkpoint.name}.")

    def run(self) -> None:
        """Takes all steps that are left.

        Raises:
            Interrupted: After SIGINT or SIGTERM, when the state has been saved.
            GeorankError: If the loss is not finite.
        """
        model, optimizer = self.accelerator.prepare(self.objective, self.optimizer)
        model.train()
        batches = self._batches()
        self.reporter.start(self.length.steps, self.step)
        self._window.restart(self.step)
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
                        f"saved in {self.folder.path}. Continue with --resume (in Python: "
                        "resume=True)."
                    )

    def _batches(self) -> Iterator[Batch]:
        parts = self.recipe.train.accumulate
        return iterate(
            self.setup.batches,
            self.step * parts,
            self.length.steps * parts,
            workers=self.recipe.train.workers,
            pin_memory=self.accelerator.device.type == "cuda",
        )

    def _take_step(self, model: nn.Module, optimizer: Any, batches: Iterator[Batch]) -> None:
        self._set_learning_rate(optimizer)
        # For backbones that draw in their forward pass (dropout, stochastic depth).
        draws = stream(self.recipe.seed, f"model {self.accelerator.process_index}", self.step)
        torch.manual_seed(int(draws.integers(2**63)))
        parts = self.recipe.train.accumulate
        for part in range(parts):
            # Only the last part exchanges gradients between processes.
            waits = part < parts - 1
            with self.accelerator.no_sync(model) if waits else nullcontext():
                self._add_gradient(model, next(batches))
        self.objective.algorithm.before_step(self.step / self.length.per_epoch)
        optimizer.step()
        optimizer.zero_grad()
        self.step += 1
        self.objective.algorithm.end_step(self.step / self.length.steps)

    def _set_learning_rate(self, optimizer: Any) -> None:
        factor = warmup_cosine(
            self.step,
            total=self.length.steps,
            warmup=self.length.warmup,
            final=self.recipe.schedule.final,
        )
        for group in optimizer.param_groups:
            group["lr"] = self.recipe.optimizer.lr * factor

    def _add_gradient(self, model: nn.Module, batch: Batch) -> None:
        """Adds the gradient of a part of a batch."""
        section = self.recipe.train
        views, latlon = self._views(batch)
        bf16 = section.precision == "bf16"
        with torch.autocast(latlon.device.type, torch.bfloat16, enabled=bf16):
            loss, logs, embeddings = model(views, latlon)
        self.accelerator.backward(loss / section.accumulate)
        self._window.add(logs)
        self._window.last = (embeddings, latlon)

    def _views(self, batch: Batch) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The views and positions of a batch, on the device."""
        device = self.accelerator.device
        dates = [
            s2.standardize(s2.to_reflectance(date, "dn"), self._mean, self._std)
            for date in batch["images"].to(device, non_blocking=True)
        ]
        views = self.setup.views(dates, batch["uniform"])
        if self.recipe.train.channels_last:
            views = [view.contiguous(memory_format=torch.channels_last) for view in views]
        return views, batch["latlon"].to(device, exact_dtype(device), non_blocking=True)

    def _log(self) -> None:
        """Writes the means over the steps since the last time."""
        if not self._window:
            return
        means = self._window.means()
        # Of the last batch alone: they cost more than a mean.
        found = self.objective.diagnostics(*self._window.last)
        means |= {name: value.float() for name, value in found.items()}
        values = self.accelerator.reduce(torch.stack(list(means.values())), "mean").tolist()
        metrics: dict[str, float] = dict(zip(means, values, strict=True))
        steps, seconds = self._window.elapsed(self.step)
        images = steps * self.recipe.train.batch_size * self.setup.batches.views
        metrics |= {"images_per_s": images / seconds, "lr": self.optimizer.param_groups[0]["lr"]}
        self.seconds += seconds
        self._window.restart(self.step)
        if not all(map(math.isfinite, metrics.values())):
            raise GeorankError(
                f"The loss is not finite at step {self.step}. Lower `optimizer.lr`, lengthen "
                "`schedule.warmup_epochs`, or set `train.precision: fp32`."
            )
        self._record(metrics)
        self.reporter.advance(self.step, metrics)

    def _record(self, metrics: dict[str, float]) -> None:
        if self.accelerator.is_main_process:
            epoch = round(self.step / self.length.per_epoch, 4)
            self.folder.log.append({"step": self.step, "epoch": epoch, **metrics})
        self.accelerator.log(metrics, step=self.step)

    def _save_and_probe(self, *, last: bool, stopped: bool) -> None:
        """Saves and probes where they are due."""
        epoch, rest = divmod(self.step, self.length.per_epoch)
        saves = last or stopped or epoch % self.recipe.train.checkpoint_epochs == 0
        probes = last or (rest == 0 and epoch % self.recipe.probe.every_epochs == 0)
        if saves:
            self._log()  # a loss that is not finite must not be saved over good checkpoints
        began = time.monotonic()
        if self.accelerator.is_main_process:
            if saves:
                self._save()
            if probes:
                self._probe()
        self.accelerator.wait_for_everyone()
        self._window.pause(time.monotonic() - began)

    def _save(self) -> None:
        folder = self.folder.checkpoints
        checkpoints.save_checkpoint(
            folder, self.objective, self.optimizer, step=self.step, seconds=self.seconds
        )
        checkpoints.prune_checkpoints(folder, self.recipe.train.keep_checkpoints)

    def _probe(self) -> None:
        if self.setup.probe is None:
            return
        scores = self.setup.probe(self.objective.algorithm.backbone, self.accelerator.device)
        self._record(scores)
        text = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        self.reporter.message(f"Step {self.step}: {text}")

    def _anyone(self, flag: bool) -> bool:
        """Whether the flag is set in any process; several exchange it only when they log."""
        if self.accelerator.num_processes == 1:
            return flag
        if self.step % LOG_STEPS:
            return False
        mine = torch.tensor(float(flag), device=self.accelerator.device)
        return bool(self.accelerator.reduce(mine, "sum").item() > 0)
