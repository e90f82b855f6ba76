"""Training of a recipe: checks everything, takes the steps, exports the result.

    store -> batch -> reflectance -> z -> views -> algorithm -> loss + embeddings
          -> alpha * loss + (1 - alpha) * regularizer(embeddings, positions) -> step

Everything that changes over a run is a function of the global step, and every random draw of
(seed, step, sample); so a resumed run is the same run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from accelerate import Accelerator
from accelerate.tracking import filter_trackers

from georank_zoo.models.config import CONFIG
from georank_zoo.models.folder import EXPORT, FACTS
from georank_zoo.training.checkpoints import list_checkpoints, prune_checkpoints
from georank_zoo.training.loop import Loop
from georank_zoo.training.new_run import create_run
from georank_zoo.training.recipe import Recipe
from georank_zoo.training.run import Run, open_run
from georank_zoo.training.run_folder import UNLOGGED, check_free, keep_run_folder, load_plan
from georank_zoo.training.setup import Setup
from georank_zoo.utils.environment import MIN_CPU_BF16_SIZE, device_name
from georank_zoo.utils.errors import Interrupted, UsageError
from georank_zoo.utils.locks import MOMENT, output_lock
from georank_zoo.utils.progress import Reporter, Silent, TrainingBar


def train(
    recipe: Recipe | Run | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    trackers: Sequence[str] = (),
    reporter: Reporter | None = None,
    progress: bool = True,
) -> Run:
    """Trains a recipe, exports the model and returns the run.

    Works in a notebook, in a script and in each process of an `accelerate launch`, of which the
    first one writes. An interruption (Ctrl-C, SIGTERM) saves the state after the current step.

    Args:
        recipe: Recipe, name of a shipped recipe, or path of a YAML file. To resume, the run or its
            folder is enough.
        out: Run folder; `runs/<name of the recipe>` by default. No other process may train in it.
        resume: Continue from the last checkpoint in the folder, if there is one. Without it, a
            folder is taken that is empty or holds a run without any checkpoint, which begins again.
        trackers: Accelerate trackers to log to as well, such as `tensorboard`.
        reporter: Progress display of the caller, in place of a bar.
        progress: Show a bar with the losses.

    Raises:
        GeorankError: Before any step, if recipe, store, probe store and folder do not fit; later
            if the loss is not finite.
        Interrupted: After SIGINT, SIGTERM or SIGHUP, when the state has been saved.

    Example:
        >>> import georank_zoo as gz
        >>> small = {"steps": 4, "batch_size": 16, "precision": "fp32", "workers": 0}
        >>> recipe = gz.load_recipe(
        ...     "moco_georank", data="stores/mine", train=small, views={"size": 32},
        ...     backbone="test_resnet", algorithm={"queue_size": 64},
        ... )
        >>> run = gz.train(recipe, "out/run", progress=False)
        >>> run.status
        'finished'
        >>> run.model().image_size
        32
    """
    recipe, folder = load_plan(recipe, out, resume=resume)
    accelerator = _accelerator(recipe, trackers, folder)
    if not accelerator.is_main_process or (reporter is None and not progress):
        reporter = Silent()
    reporter = reporter or TrainingBar(recipe.name)
    try:
        # Only the first process writes.
        with keep_run_folder(folder) if accelerator.is_main_process else nullcontext():
            return _train(recipe, folder, accelerator, reporter, resume)
    finally:
        reporter.close()


def _train(
    recipe: Recipe, folder: Path, accelerator: Accelerator, reporter: Reporter, resume: bool
) -> Run:
    loop = _prepare(recipe, folder, accelerator, reporter, resume)
    try:
        loop.run()
        _finish(loop)
    except Interrupted:
        if accelerator.is_main_process:
            loop.folder.update(status="interrupted", steps=loop.step)
        raise
    finally:
        accelerator.end_training()
    return loop.folder


def _prepare(
    recipe: Recipe, folder: Path, accelerator: Accelerator, reporter: Reporter, resume: bool
) -> Loop:
    """Checks the input, opens the run folder and brings the loop to where the run stands."""
    # Everything that can be wrong with the input shows before anything is written.
    setup = Setup.from_recipe(
        recipe, rank=accelerator.process_index, processes=accelerator.num_processes
    )
    _check_precision(setup, accelerator)
    run = _open_folder(setup, folder, accelerator, resume)
    for text in [*setup.advice(), *_advice_on_processes(run, accelerator)]:
        reporter.message(text)
    loop = Loop(setup, run, accelerator, reporter)
    loop.restore()
    if run.facts["status"] == "finished" and not list_checkpoints(run.checkpoints):
        loop.step = loop.length.steps  # they were deleted to save room
    # A run that needs no step is left as it is.
    if accelerator.is_main_process and loop.step < loop.length.steps:
        run.log.rewind(loop.step)
        device = device_name(accelerator.device)
        run.update(status="running", device=device, processes=accelerator.num_processes)
    return loop


def _finish(loop: Loop) -> None:
    """Exports the model; the other processes wait for it."""
    if loop.accelerator.is_main_process:
        _export(loop)
    loop.accelerator.wait_for_everyone()


def _export(loop: Loop) -> None:
    run, folder = loop.folder, loop.folder.path / EXPORT
    if loop.stopped:
        raise Interrupted(
            f"Stopped after the last step; the state is saved. Continue with "
            f"`{run.resume_command}` (in Python: resume=True), which exports the model."
        )
    prune_checkpoints(run.checkpoints, run.recipe.train.keep_checkpoints)
    (run.path / UNLOGGED).unlink(missing_ok=True)
    if run.facts["status"] == "finished" and (folder / CONFIG).is_file():
        loop.reporter.message(f"{run.path} is finished already, and exported to {folder}.")
        return
    with output_lock(folder, wait=MOMENT):  # `georank export` may write there
        run.export(overwrite=True)
    run.update(status="finished", steps=loop.step, seconds=round(loop.seconds, 1))
    loop.reporter.message(f"Exported to {folder}.")


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


def _check_precision(setup: Setup, accelerator: Accelerator) -> None:
    recipe, size = setup.recipe, min(setup.views.sizes)
    if (
        accelerator.device.type == "cpu"
        and recipe.train.precision == "bf16"
        and size < MIN_CPU_BF16_SIZE
    ):
        key = "views.size" if size == recipe.image_size else "views.local_size"
        raise UsageError(
            f"Views of {size} px cannot be trained in bf16 on the CPU: torch's kernels give wrong "
            f"gradients on feature maps of one pixel. Set train.precision=fp32, or {key}=32 or "
            "more."
        )


def _open_folder(setup: Setup, folder: Path, accelerator: Accelerator, resume: bool) -> Run:
    recipe, batches = setup.recipe, setup.batches
    # The first process decides and writes; what it leaves is there when the others look.
    with accelerator.main_process_first():
        if accelerator.is_main_process and not (resume and _is_begun(folder)):
            run = create_run(folder, recipe, batches.store, batches.latlon)
        else:
            run = open_run(folder)
            run.require_same(recipe, batches.store)
    if accelerator.log_with:
        accelerator.init_trackers("trackers", config={"recipe": recipe.name, "hash": recipe.hash})
    return run


def _is_begun(folder: Path) -> bool:
    check_free(folder)
    return (folder / FACTS).is_file()


def _advice_on_processes(run: Run, accelerator: Accelerator) -> list[str]:
    before = run.facts.get("processes", accelerator.num_processes)
    if before == accelerator.num_processes:
        return []
    return [
        f"This run was begun with {before} process(es): with {accelerator.num_processes}, "
        "BatchNorm sees other parts of each batch, and the run will not be quite the same."
    ]
