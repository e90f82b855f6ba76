"""Training a recipe: what a run needs is checked and built here; `loop.py` takes the steps.

    store -> batch -> reflectance -> z -> views -> algorithm -> loss + embeddings
          -> alpha * loss + (1 - alpha) * regularizer(embeddings, positions) -> step

Everything that changes over a run is a function of the global step, and every random draw of
(seed, step, sample); so a resumed run is the same run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.tracking import filter_trackers

from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.models.folder import EXPORT
from georank_zoo.training import build, checkpoints
from georank_zoo.training.batches import PlaceBatches
from georank_zoo.training.loop import Length, Loop
from georank_zoo.training.objective import Objective
from georank_zoo.training.probe import Probe
from georank_zoo.training.recipe import Recipe
from georank_zoo.training.run import Run, open_run
from georank_zoo.utils.environment import MIN_CPU_BF16_SIZE, device_name
from georank_zoo.utils.errors import UsageError
from georank_zoo.utils.progress import Reporter, Silent


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
    folder = Path(folder)
    accelerator = _accelerator(recipe, trackers, folder)
    if reporter is None or not accelerator.is_main_process:
        reporter = Silent()
    loop = _build_loop(recipe, folder, accelerator, reporter, resume=resume)
    run = loop.run
    try:
        loop.go()
        if accelerator.is_main_process:
            run.export(run.path / EXPORT, overwrite=True)
            run.update(status="finished", steps=loop.step, seconds=round(loop.seconds, 1))
            reporter.message(f"Exported to {run.path / EXPORT}.")
        accelerator.wait_for_everyone()
    finally:
        accelerator.end_training()
    return run


def _build_loop(
    recipe: Recipe, folder: Path, accelerator: Accelerator, reporter: Reporter, *, resume: bool
) -> Loop:
    """Checks the input, opens the run folder and brings everything to where the run stands."""
    # Everything that can be wrong with the input shows before anything is written.
    store = PatchStore(recipe.data.store)
    mean, std = store.mean_std(recipe.bands)
    probe = Probe.from_recipe(recipe, mean=mean, std=std)
    views = build.build_views(recipe)
    objective = build.build_objective(recipe)
    batches = PlaceBatches(
        store,
        bands=recipe.bands,
        batch_size=recipe.train.batch_size,
        parts=recipe.train.accumulate,
        seed=recipe.seed,
        temporal=recipe.data.temporal,
        views=objective.algorithm.num_views + views.local_views,
        draws=views.draws,
        subset=recipe.data.places,
        neighbors_km=recipe.data.neighbors_km,
        rank=accelerator.process_index,
        processes=accelerator.num_processes,
    )
    objective.fit(torch.from_numpy(batches.latlon))
    _check_precision(recipe, views.sizes, accelerator)
    run = _open_run(accelerator, folder, recipe, batches, resume)
    for text in _advice(recipe, batches, objective, accelerator, run):
        reporter.message(text)

    if recipe.train.channels_last:
        objective = objective.to(memory_format=torch.channels_last)
    objective = objective.to(accelerator.device)
    optimizer = build.build_optimizer(recipe, objective)
    step, seconds = 0, 0.0
    if checkpoints.list_checkpoints(run.checkpoints):
        checkpoint = run.checkpoint()
        step, seconds = checkpoints.load_checkpoint(checkpoint, objective, optimizer)
        reporter.message(f"Resumed from {checkpoint.name}.")
    if accelerator.is_main_process:
        run.rewind_metrics(step)
        device = device_name(accelerator.device)
        run.update(status="running", device=device, processes=accelerator.num_processes)
    return Loop(
        recipe=recipe,
        run=run,
        accelerator=accelerator,
        objective=objective,
        optimizer=optimizer,
        batches=batches,
        views=views,
        # Made once: a copy to the device in each step would make the step wait.
        mean=torch.tensor(mean, device=accelerator.device),
        std=torch.tensor(std, device=accelerator.device),
        probe=probe,
        reporter=reporter,
        length=Length.of(recipe, batches.per_epoch),
        step=step,
        seconds=seconds,
    )


def _accelerator(recipe: Recipe, trackers: Sequence[str], folder: Path) -> Accelerator:
    try:
        known = filter_trackers(list(trackers), folder)
    except ValueError:  # a name that Accelerate does not know at all
        known = []
    if len(known) < len(trackers):
        raise UsageError(
            f"Tracker {', '.join(trackers)} is unknown or not installed; for TensorBoard: "
            "pip install 'georank-zoo[tensorboard]'."
        )
    accelerator = Accelerator(
        mixed_precision="no",  # the recipe decides, in the loop, not the launcher's settings
        log_with=known or None,
        project_dir=str(folder) if known else None,
    )
    parts = accelerator.num_processes * recipe.train.accumulate
    if recipe.train.batch_size % parts or recipe.train.batch_size // parts < 2:
        raise UsageError(
            f"train.batch_size {recipe.train.batch_size} does not divide into "
            f"{accelerator.num_processes} process(es) x {recipe.train.accumulate} part(s) of 2 "
            "samples or more each."
        )
    return accelerator


def _check_precision(recipe: Recipe, sizes: Sequence[int], accelerator: Accelerator) -> None:
    size = min(sizes)
    if (
        accelerator.device.type == "cpu"
        and recipe.train.precision == "bf16"
        and size < MIN_CPU_BF16_SIZE
    ):
        key = "views.size" if size == recipe.image_size else "views.local_size"
        raise UsageError(
            f"Views of {size} px cannot be trained in bf16 on the CPU: torch's kernels give wrong "
            f"gradients on feature maps of one pixel. Say train.precision=fp32, or {key}=32 or "
            "more."
        )


def _open_run(
    accelerator: Accelerator, folder: Path, recipe: Recipe, batches: PlaceBatches, resume: bool
) -> Run:
    # The first process decides and writes; what it leaves is there when the others look.
    with accelerator.main_process_first():
        if accelerator.is_main_process and not (resume and folder.exists()):
            run = Run.create(folder, recipe, batches.store, batches.latlon)
        else:
            run = open_run(folder)
            run.require_same(recipe, batches.store)
    if accelerator.log_with:
        accelerator.init_trackers("trackers", config={"recipe": recipe.name, "hash": recipe.hash})
    return run


def _advice(
    recipe: Recipe,
    batches: PlaceBatches,
    objective: Objective,
    accelerator: Accelerator,
    run: Run,
) -> list[str]:
    """What is allowed, and probably not what the user wants."""
    epochs = Length.of(recipe, batches.per_epoch).steps / batches.per_epoch
    texts = [objective.algorithm.advice(batches.places, epochs), batches.advice()]
    store, size = batches.store, recipe.image_size
    if store.size > size:
        texts.append(
            f"The patches of {store.size} px are larger than the views of {size} px, so that "
            f"large crops skip pixels. Better: patches or views of one size."
        )
    before = run.facts.get("processes", accelerator.num_processes)
    if before != accelerator.num_processes:
        texts.append(
            f"This run was begun with {before} process(es): with {accelerator.num_processes}, "
            "BatchNorm sees other parts of each batch, and the run will not be quite the same."
        )
    return [text for text in texts if text is not None]
