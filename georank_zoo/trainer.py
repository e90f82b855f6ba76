"""The training loop, on Accelerate.

    store -> batch -> reflectance -> z -> views -> algorithm -> loss + embeddings
          -> alpha * loss + (1 - alpha) * regularizer(embeddings, positions) -> step

Everything that changes over a run is a function of the global step, and every random draw of
(seed, step, sample); so a resumed run is the same run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.tracking import filter_trackers
from torch import nn

from georank_zoo import bands as s2
from georank_zoo import build, checkpoints, diagnostics
from georank_zoo.algorithms import Algorithm
from georank_zoo.data.loader import Batch, PlaceBatches, iterate
from georank_zoo.data.store import PatchStore
from georank_zoo.errors import GeorankError, Interrupted, UsageError
from georank_zoo.probe import Probe
from georank_zoo.random_streams import stream
from georank_zoo.recipe import Recipe
from georank_zoo.run import EXPORT, Run
from georank_zoo.schedules import warmup_cosine
from georank_zoo.stopping import StopSignal

_log = logging.getLogger(__name__)

# Reading a loss from the device waits for it, so steps are logged in groups of this many.
LOG_STEPS = 10


class Reporter(Protocol):
    """Shows the progress of a run; only the command line has one that prints."""

    def start(self, total: int, done: int) -> None:
        """The run begins, `done` of `total` steps being taken already."""

    def advance(self, step: int, metrics: dict[str, float]) -> None:
        """Steps were taken; `metrics` are the means over them."""

    def message(self, text: str) -> None:
        """Something worth a line happened."""


class Silent:
    """Shows nothing."""

    def start(self, total: int, done: int) -> None:
        """Ignores it."""

    def advance(self, step: int, metrics: dict[str, float]) -> None:
        """Ignores it."""

    def message(self, text: str) -> None:
        """Ignores it."""


def train(
    recipe: Recipe,
    folder: str | Path,
    *,
    resume: bool = False,
    trackers: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> Run:
    """Trains a recipe, exports the result and returns the run.

    Called in each process of an `accelerate launch`; the first one writes.

    Args:
        recipe: What to train.
        folder: Run folder to be, or to go on with.
        resume: Go on from the last checkpoint in the folder, if there is one.
        trackers: Accelerate trackers to log to as well, such as `tensorboard`.
        reporter: Shows the progress.

    Raises:
        GeorankError: Before any step, if recipe, store, probe store and folder do not fit.
        Interrupted: After SIGINT or SIGTERM, when the state has been saved.
    """
    reporter = reporter or Silent()
    accelerator = _accelerator(recipe, trackers, Path(folder))
    if not accelerator.is_main_process:
        reporter = Silent()
    store = PatchStore(recipe.data.store)
    algorithm = build.build_algorithm(recipe)
    views = build.build_views(recipe)
    batches = PlaceBatches(
        store,
        bands=recipe.bands,
        batch_size=recipe.train.batch_size // recipe.train.accumulate,
        seed=recipe.seed,
        temporal=recipe.data.temporal,
        views=algorithm.num_views,
        draws=views.draws,
        rank=accelerator.process_index,
        processes=accelerator.num_processes,
    )
    mean, std = store.mean_std(recipe.bands)
    probe = Probe.from_recipe(recipe, mean=mean, std=std)
    length = Length.of(recipe, batches.per_epoch // recipe.train.accumulate)
    run = _open_run(accelerator, Path(folder), recipe, store, resume)

    if recipe.train.channels_last:
        algorithm = algorithm.to(memory_format=torch.channels_last)
    optimizer = build.build_optimizer(recipe, algorithm)
    algorithm = algorithm.to(accelerator.device)
    step, seconds = 0, 0.0
    if checkpoints.existing(run.checkpoints):
        step, seconds = checkpoints.load(run.checkpoint(), algorithm, optimizer)
        reporter.message(f"Resumed from {run.checkpoint().name}.")
    if accelerator.is_main_process:
        run.rewind_metrics(step)
        run.update(
            status="running",
            device=_device_name(accelerator),
            processes=accelerator.num_processes,
        )

    loop = _Loop(
        accelerator=accelerator, recipe=recipe, run=run, length=length, batches=batches,
        objective=Objective(algorithm, build.build_regularizer(recipe), _alpha(recipe)),
        optimizer=optimizer, to_views=_ToViews(mean, std, views, recipe, accelerator.device),
        probe=probe, reporter=reporter, step=step, seconds=seconds,
    )  # fmt: skip
    loop.go()
    if accelerator.is_main_process:
        run.export(run.path / EXPORT, overwrite=True)
        run.update(status="finished", steps=length.steps, seconds=round(loop.seconds, 1))
        reporter.message(f"Exported to {run.path / EXPORT}.")
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return run


@dataclass(frozen=True)
class Length:
    """The length of a run in optimizer steps."""

    steps: int
    per_epoch: int
    warmup: int

    @classmethod
    def of(cls, recipe: Recipe, per_epoch: int) -> Length:
        """From a recipe and the steps of an epoch."""
        per_epoch = max(1, per_epoch)
        steps = recipe.train.steps or (recipe.train.epochs or 1) * per_epoch
        return cls(steps, per_epoch, min(steps, round(recipe.schedule.warmup_epochs * per_epoch)))


class Objective(nn.Module):
    """alpha * L_SSL + (1 - alpha) * L_Reg (GeoRank paper); L_SSL alone without a regularizer."""

    def __init__(self, algorithm: Algorithm, regularizer: nn.Module | None, alpha: float) -> None:
        super().__init__()
        self.algorithm = algorithm
        self.regularizer = regularizer
        self.alpha = alpha

    def forward(
        self, views: Sequence[torch.Tensor], latlon: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """The loss of a batch, what to log of it, and the first embeddings."""
        output = self.algorithm(views)
        logs = {"loss_ssl": output.loss.detach(), **output.logs}
        loss = output.loss
        if self.regularizer is not None:
            terms = [self.regularizer(z, latlon) for z in output.embeddings]
            term = torch.stack(terms).mean()
            loss = self.alpha * loss + (1 - self.alpha) * term
            logs[f"loss_{_regularizer_name(self.regularizer)}"] = term.detach()
        return loss, {"loss": loss.detach(), **logs}, output.embeddings[0].detach()


@dataclass
class _ToViews:
    """Batch -> views, on the device."""

    mean: list[float]
    std: list[float]
    views: Callable[[Sequence[torch.Tensor], torch.Tensor], list[torch.Tensor]]
    recipe: Recipe
    device: torch.device

    def __call__(self, batch: Batch) -> tuple[list[torch.Tensor], torch.Tensor]:
        images = batch["images"].to(self.device, non_blocking=True)
        acquisitions = [
            s2.standardize(s2.to_reflectance(date, "dn"), self.mean, self.std) for date in images
        ]
        views = self.views(acquisitions, batch["uniform"])
        if self.recipe.train.channels_last:
            views = [view.contiguous(memory_format=torch.channels_last) for view in views]
        return views, batch["latlon"].to(self.device, non_blocking=True)


@dataclass
class _Loop:
    accelerator: Accelerator
    recipe: Recipe
    run: Run
    length: Length
    batches: PlaceBatches
    objective: Objective
    optimizer: torch.optim.Optimizer
    to_views: _ToViews
    probe: Probe | None
    reporter: Reporter
    step: int
    seconds: float
    pending: list[dict[str, torch.Tensor]] = field(default_factory=list)

    @property
    def bf16(self) -> bool:
        """Compute in bf16 where autocast allows it."""
        return self.recipe.train.precision == "bf16"

    def go(self) -> None:
        """Takes all steps that are left."""
        parts, section = self.recipe.train.accumulate, self.recipe.train
        model, optimizer = self.accelerator.prepare(self.objective, self.optimizer)
        model.train()
        data = iterate(
            self.batches,
            self.step * parts,
            self.length.steps * parts,
            workers=section.workers,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        self.reporter.start(self.length.steps, self.step)
        # Time is kept here, so that probes and checkpoints do not lower the images per second.
        self.tick, self.logged = time.monotonic(), self.step
        with StopSignal() as stop:
            while self.step < self.length.steps:
                self._take_step(model, optimizer, data, parts)
                last = self.step == self.length.steps
                if last or self.step % LOG_STEPS == 0:
                    self._log()
                # Processes must agree to stop, so several look only when they log.
                due = self.accelerator.num_processes == 1 or self.step % LOG_STEPS == 0
                stopped = due and self._anyone(stop.requested)
                if self.step % self.length.per_epoch == 0 or last or stopped:
                    self._end_epoch(force=last or stopped)
                if stopped and not last:
                    raise Interrupted(
                        f"Stopped after step {self.step} of {self.length.steps}; the state is "
                        f"saved in {self.run.path}. Go on with --resume."
                    )

    def _take_step(self, model: nn.Module, optimizer: Any, data: Any, parts: int) -> None:
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
        for part in range(parts):
            views, latlon = self.to_views(next(data))
            # Only the last part exchanges gradients between processes.
            waits = part < parts - 1
            with self.accelerator.no_sync(model) if waits else nullcontext():
                with torch.autocast(latlon.device.type, torch.bfloat16, enabled=self.bf16):
                    loss, logs, embeddings = model(views, latlon)
                self.accelerator.backward(loss / parts)
            self.pending.append(logs)
        optimizer.step()
        optimizer.zero_grad()
        self.step += 1
        self.objective.algorithm.end_step(self.step / self.length.steps)
        if self.step % LOG_STEPS == 0 or self.step == self.length.steps:
            self.pending[-1] |= {
                "embedding_std": diagnostics.embedding_std(embeddings),
                "geo_spearman": diagnostics.geo_spearman(embeddings, latlon),
            }

    def _log(self) -> None:
        names = list(self.pending[-1])
        means = torch.stack(
            [
                torch.stack([row[name].float() for row in self.pending if name in row]).mean()
                for name in names
            ]
        )
        values = self.accelerator.reduce(means, "mean").tolist()
        metrics = dict(zip(names, values, strict=True))
        self.pending.clear()
        elapsed = time.monotonic() - self.tick
        self.seconds += elapsed
        views = (self.step - self.logged) * self.recipe.train.batch_size * self.batches.views
        metrics["images_per_s"] = views / elapsed
        metrics["lr"] = self.optimizer.param_groups[0]["lr"]
        self.tick, self.logged = time.monotonic(), self.step
        if not all(torch.isfinite(means.cpu())):
            raise GeorankError(
                f"The loss is not finite at step {self.step}. Lower `optimizer.lr`, lengthen "
                "`schedule.warmup_epochs`, or say `train.precision: fp32`."
            )
        row = {"step": self.step, "epoch": self.step / self.length.per_epoch, **metrics}
        if self.accelerator.is_main_process:
            self.run.log(row)
        self.accelerator.log(metrics, step=self.step)
        self.reporter.advance(self.step, metrics)

    def _end_epoch(self, *, force: bool) -> None:
        paused = time.monotonic()
        epoch = self.step // self.length.per_epoch
        due = force or epoch % self.recipe.train.checkpoint_epochs == 0
        if due and self.accelerator.is_main_process:
            checkpoints.save(
                self.run.checkpoints, self.objective.algorithm, self.optimizer,
                step=self.step, seconds=self.seconds,
            )  # fmt: skip
            checkpoints.prune(self.run.checkpoints, self.recipe.train.keep_checkpoints)
        last = self.step == self.length.steps
        if self.probe and (last or epoch % self.recipe.probe.every_epochs == 0):
            self._probe()
        self.accelerator.wait_for_everyone()
        self.tick += time.monotonic() - paused

    def _probe(self) -> None:
        if self.probe is None or not self.accelerator.is_main_process:
            return
        scores = self.probe(self.objective.algorithm.backbone, self.accelerator.device)
        self.run.log({"step": self.step, "epoch": self.step / self.length.per_epoch, **scores})
        self.accelerator.log(scores, step=self.step)
        text = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        self.reporter.message(f"Step {self.step}: {text}")

    def _anyone(self, flag: bool) -> bool:
        mine = torch.tensor(float(flag), device=self.accelerator.device)
        return bool(self.accelerator.reduce(mine, "sum").item() > 0)


def _accelerator(recipe: Recipe, trackers: Sequence[str], folder: Path) -> Accelerator:
    known = [str(tracker) for tracker in filter_trackers(list(trackers), folder)]
    if len(known) < len(trackers):
        raise UsageError(
            f"Tracker {', '.join(trackers)} is unknown or not installed; for TensorBoard: "
            "pip install 'georank-zoo[tensorboard]'."
        )
    accelerator = Accelerator(
        mixed_precision="no",  # the recipe decides, in _take_step, not the launcher's settings
        log_with=known or None,
        project_dir=str(folder) if known else None,
    )
    parts = accelerator.num_processes * recipe.train.accumulate
    if recipe.train.batch_size % parts:
        raise UsageError(
            f"train.batch_size {recipe.train.batch_size} does not divide into "
            f"{accelerator.num_processes} processes x {recipe.train.accumulate} parts."
        )
    return accelerator


def _open_run(
    accelerator: Accelerator, folder: Path, recipe: Recipe, store: PatchStore, resume: bool
) -> Run:
    if resume and folder.exists():
        run = Run.open(folder)
        run.require_same(recipe, store)
    elif accelerator.is_main_process:
        run = Run.create(folder, recipe, store)
    else:
        run = Run(folder, recipe)
    accelerator.wait_for_everyone()
    if accelerator.log_with:
        accelerator.init_trackers("trackers", config={"recipe": recipe.name, "hash": recipe.hash})
    return run


def _alpha(recipe: Recipe) -> float:
    return float(getattr(recipe.regularizer, "alpha", 1.0))


def _regularizer_name(regularizer: nn.Module) -> str:
    from georank_zoo.losses import REGULARIZERS

    return next(name for name, kind in REGULARIZERS.items() if isinstance(regularizer, kind))


def _device_name(accelerator: Accelerator) -> str:
    if accelerator.device.type == "cuda":
        return torch.cuda.get_device_name(accelerator.device)
    return f"{accelerator.device.type}, {torch.get_num_threads()} threads"
