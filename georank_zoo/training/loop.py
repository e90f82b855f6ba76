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
from georank_zoo.training.failure import FAILURE, Failure
from georank_zoo.training.finding_words import FINDINGS
from georank_zoo.training.findings import LogWatch, found_before, found_in_features
from georank_zoo.training.log_window import UNLOGGED, LogWindow, UnloggedFile, Values, means
from georank_zoo.training.run import Run
from georank_zoo.training.setup import Setup
from georank_zoo.utils.errors import GeorankError, Interrupted
from georank_zoo.utils.peers import Peers
from georank_zoo.utils.progress import Reporter
from georank_zoo.utils.rng import stream
from georank_zoo.utils.schedules import warmup_cosine
from georank_zoo.utils.signals import StopSignal, note

# Reading a loss from the device waits for it, so steps are logged in groups of this many.
LOG_STEPS = 10


class Loop:
    """Takes the steps of a run, logs, checkpoints and probes.

    Args:
        setup: Parts of the run. Its objective moves to the accelerator's device.
        folder: Run folder.
        accelerator: Device and processes.
        reporter: Progress display.
        peers: The other processes; none by default.

    Attributes:
        step: Optimizer steps taken.
        seconds: Wall time of the steps, without probes and checkpoints.
        stopped: Whether the last step and what follows it were to be the last thing done.
    """

    def __init__(
        self,
        setup: Setup,
        folder: Run,
        accelerator: Accelerator,
        reporter: Reporter,
        peers: Peers | None = None,
    ) -> None:
        self.recipe = setup.recipe
        self.setup = setup
        self.folder = folder
        self.accelerator = accelerator
        self.reporter = reporter
        self._peers = peers or Peers(self.recipe.train.timeout_s)
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
        self._watch: LogWatch | None = None
        self._before: set[str] = set()
        self._warned: set[str] = set()
        self._noted: set[str] = set()
        self._unlogged = UnloggedFile(folder.path / UNLOGGED)
        self.step, self.seconds = 0, 0.0
        self.stopped = False

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

    def look(self, *, at_features: bool = False) -> set[str]:
        """Notes in the run's facts what shows that it learns nothing, and warns once of each.

        Only the first process looks.

        Args:
            at_features: Look at the features too, as they are after the last step.
        """
        if not self.accelerator.is_main_process:
            return set()
        if self._watch is None:
            self._watch = LogWatch(self.recipe, self.folder.log.rows())
            self._before = found_before(self.setup)
            self._noted = set(self.folder.facts.get("findings", ()))
        found = self._before | self._watch.found()
        if at_features:
            found |= found_in_features(self.setup, self.accelerator.device)
        for kind in sorted(found - self._warned):
            self.reporter.message(f"Warning: {FINDINGS[kind]}")
        self._warned |= found
        if found != self._noted:
            self.folder.update(findings=sorted(found))
            self._noted = found
        return found

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
        earlier = self._peers.together(lambda: self._unlogged.read(self.step))
        self._window.restart(self.step, earlier)
        with StopSignal() as stop:
            while self.step < self.length.steps:
                self._take_step(model, optimizer, batches)
                last = self.step == self.length.steps
                if self.step % LOG_STEPS == 0 or last:
                    self._log()
                number = self._peers.most(stop.number)
                stopped = number > 0 and not last
                if self.step % self.length.per_epoch == 0 or last or stopped:
                    self._save_and_probe(last=last, stopped=stopped)
                if stopped:
                    raise self._interrupted(number)
        self.stopped = stop.requested

    def _interrupted(self, number: int) -> GeorankError:
        note(number)
        if self.accelerator.is_main_process:
            self.folder.update(status="interrupted", steps=self.step)
        error = Interrupted(
            f"Stopped after step {self.step} of {self.length.steps}; the state is saved. Continue "
            f"with `{self.folder.resume_command}` (in Python: resume=True)."
        )
        return self._peers.said_by_first(error)

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
        self._seed()
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

    def _seed(self) -> None:
        """For backbones that draw in their forward pass (dropout, stochastic depth)."""
        draws = stream(self.recipe.seed, f"model {self.accelerator.process_index}", self.step)
        torch.manual_seed(int(draws.integers(2**63)))

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
        views, latlon = self.views_of(batch)
        bf16 = section.precision == "bf16"
        with torch.autocast(latlon.device.type, torch.bfloat16, enabled=bf16):
            loss, logs, embeddings = model(views, latlon)
        self.accelerator.backward(loss / section.accumulate)
        self._window.add(logs)
        self._window.last = (embeddings, latlon)

    def advance(self, step: int) -> None:
        """Takes the steps up to one, and writes nothing; for a step that is looked at again."""
        model, optimizer = self.accelerator.prepare(self.objective, self.optimizer)
        model.train()
        batches = self._batches()
        while self.step < step:
            self._take_step(model, optimizer, batches)
        self._set_learning_rate(optimizer)
        self._seed()

    def views_of(self, batch: Batch) -> tuple[list[torch.Tensor], torch.Tensor]:
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
        metrics = means(self._finite_values())
        # Of the last batch alone: they cost more than a mean.
        found = self.objective.diagnostics(*self._window.last)
        values = self._over_processes(
            torch.stack([value.float() for value in found.values()])
        ).tolist()
        metrics |= dict(zip(found, values, strict=True))
        steps, seconds = self._window.elapsed(self.step)
        images = steps * self.recipe.train.batch_size * self.setup.batches.views
        metrics |= {"images_per_s": images / seconds, "lr": self.optimizer.param_groups[0]["lr"]}
        self.seconds += seconds
        self._window.restart(self.step)
        self._record(metrics)
        self.look()
        self.reporter.advance(self.step, metrics)

    def _over_processes(self, values: torch.Tensor) -> torch.Tensor:
        """Mean over the processes, element by element."""
        reduced: torch.Tensor = self.accelerator.reduce(values, "mean")
        return reduced

    def _finite_values(self) -> Values:
        """The values of the steps that are not logged yet.

        Raises:
            GeorankError: If one is not finite.
        """
        values, parts = self._window.values(self._over_processes), self.recipe.train.accumulate
        for number, row in enumerate(values, start=1):
            if all(map(math.isfinite, row.values())):
                continue
            bad = self.step - (len(values) - number) // parts
            raise self._not_finite(bad, row)
        return values

    def _not_finite(self, step: int, terms: dict[str, float]) -> GeorankError:
        """Saves what is known of a step whose loss is not finite."""
        bad = [name for name, value in terms.items() if not math.isfinite(value)]
        if self.accelerator.is_main_process:
            processes = self.accelerator.num_processes
            Failure.of(step, terms, self.setup.batches, processes).write(self.folder.path)
        error = GeorankError(
            f"The loss is not finite at step {step} ({', '.join(bad)}). Lower `optimizer.lr`, "
            "lengthen `schedule.warmup_epochs`, or set `train.precision: fp32`. The step's patches "
            f"are listed in {self.folder.path / FAILURE}; `georank train {self.folder.path} "
            "--replay` computes it again and says where it goes wrong."
        )
        return self._peers.said_by_first(error)

    def _record(self, metrics: dict[str, float]) -> None:
        if self.accelerator.is_main_process:
            epoch = round(self.step / self.length.per_epoch, 4)
            row = {"step": self.step, "epoch": epoch, **metrics}
            self.folder.log.append(row)
            if self._watch is not None:
                self._watch.add(row)
        self.accelerator.log(metrics, step=self.step)

    def _save_and_probe(self, *, last: bool, stopped: bool) -> None:
        """Saves and probes where they are due."""
        epoch, rest = divmod(self.step, self.length.per_epoch)
        regular = last or (rest == 0 and epoch % self.recipe.train.checkpoint_epochs == 0)
        saves = regular or stopped
        probes = last or (rest == 0 and epoch % self.recipe.probe.every_epochs == 0)
        # A loss that is not finite must not be saved over good checkpoints. A stop adds no row to
        # the log, which would then differ from that of an undisturbed run.
        if regular:
            self._log()
        elif stopped and self._window:
            values = self._finite_values()
            if self.accelerator.is_main_process:
                self._unlogged.write(self.step, values)
        began = time.monotonic()
        self._peers.together(lambda: self._main_saves_and_probes(saves, probes))
        self._window.pause(time.monotonic() - began)

    def _main_saves_and_probes(self, saves: bool, probes: bool) -> None:
        if self.accelerator.is_main_process:
            # First the probe: what a checkpoint's run has logged is complete when it exists.
            if probes:
                self._probe()
            if saves:
                self._save()

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
