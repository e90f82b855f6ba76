"""Training of a recipe: checks everything, takes the steps, exports the result.

    store -> batch -> reflectance -> z -> views -> algorithm -> loss + embeddings
          -> alpha * loss + (1 - alpha) * regularizer(embeddings, positions) -> step

Everything that changes over a run is a function of the global step, and every random draw of
(seed, step, sample); so a resumed run is the same run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from accelerate import Accelerator
from accelerate.tracking import filter_trackers
from accelerate.utils import GradientAccumulationPlugin

from georank_zoo.training.loop import Loop
from georank_zoo.training.new_run import create_run
from georank_zoo.training.recipe import Recipe, load_recipe
from georank_zoo.training.run import Run, open_run
from georank_zoo.training.setup import Setup
from georank_zoo.utils.environment import (
    MIN_CPU_BF16_SIZE,
    device_name,
    environment_ignored,
)
from georank_zoo.utils.errors import Interrupted, UsageError, plain
from georank_zoo.utils.progress import Reporter, Silent, TrainingBar


@environment_ignored()
def train(
    recipe: Recipe | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    trackers: Sequence[str] = (),
    reporter: Reporter | None = None,
    progress: bool = True,
) -> Run:
    """Trains a recipe, exports the model and returns the run.

    Works in a notebook, in a script and in each process of an `accelerate launch`, of which the
    first one writes. What a launcher exports about precision, accumulation or compilation counts
    for nothing: the recipe says it. An interruption (Ctrl-C, SIGTERM) saves the state after the
    current step.

    Args:
        recipe: Recipe, name of a shipped recipe, or path of a YAML file.
        out: Run folder; `runs/<name of the recipe>` by default.
        resume: Continue from the last checkpoint in the folder, if there is one.
        trackers: Accelerate trackers to log to as well, such as `tensorboard`.
        reporter: Progress display of the caller, in place of a bar.
        progress: Show a bar with the losses.

    Raises:
        GeorankError: Before any step, if recipe, store, probe store and folder do not fit; later
            if the loss is not finite.
        Interrupted: After SIGINT or SIGTERM, when the state has been saved.

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
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe)
    folder = Path("runs") / recipe.name if out is None else Path(out)
    accelerator = make_accelerator(recipe, trackers, folder)
    if not accelerator.is_main_process or (reporter is None and not progress):
        reporter = Silent()
    loop = _prepare(recipe, folder, accelerator, reporter or TrainingBar(recipe.name), resume)
    try:
        loop.run()
        _finish(loop)
    except Interrupted:
        if accelerator.is_main_process:
            loop.folder.update(status="interrupted", steps=loop.step)
        raise
    finally:
        loop.reporter.close()
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
    loop = Loop(setup, run, accelerator, reporter)
    for text in [*setup.advice(), *_advice_on_processes(run, accelerator)]:
        reporter.message(text)
    loop.restore()
    if accelerator.is_main_process:
        run.log.rows()  # compared with its hash, which goes with the next word
        device = device_name(accelerator.device)
        run.update(status="running", device=device, processes=accelerator.num_processes)
        run.log.rewind(loop.step)
        loop.look()
    return loop


def _finish(loop: Loop) -> None:
    """Exports the model; the other processes wait for it."""
    if loop.accelerator.is_main_process:
        loop.look(at_features=True)
        folder = loop.folder.export(overwrite=True)
        loop.folder.update(status="finished", steps=loop.step, seconds=round(loop.seconds, 1))
        loop.reporter.message(f"Exported to {folder}.")
    loop.accelerator.wait_for_everyone()


def make_accelerator(
    recipe: Recipe, trackers: Sequence[str] = (), folder: Path = Path()
) -> Accelerator:
    """Device and processes of a run.

    Raises:
        UsageError: If a tracker is unknown, or the batch does not divide into the processes.
    """
    try:
        known = filter_trackers(list(trackers), folder)
    except (ValueError, RuntimeError):  # unknown; not installed, which it logs too early
        known = []
    if len(known) < len(trackers):
        raise UsageError(
            f"Tracker {', '.join(map(plain, trackers))} is unknown or not installed: install its "
            "package, for TensorBoard with pip install 'georank-zoo[tensorboard]'."
        )
    accelerator = Accelerator(
        # The recipe decides, in the loop, and nothing that a launcher or another Accelerator of
        # this process says.
        mixed_precision="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        dynamo_backend="no",
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
        if accelerator.is_main_process and not (resume and folder.exists()):
            run = create_run(folder, recipe, batches.store, batches.latlon)
        else:
            run = open_run(folder)
            run.require_same(recipe, batches.store)
    if accelerator.log_with:
        accelerator.init_trackers("trackers", config={"recipe": recipe.name, "hash": recipe.hash})
    return run


def _advice_on_processes(run: Run, accelerator: Accelerator) -> list[str]:
    before = run.facts.get("processes", accelerator.num_processes)
    if before == accelerator.num_processes:
        return []
    return [
        f"This run was begun with {before} process(es): with {accelerator.num_processes}, "
        "BatchNorm sees other parts of each batch, and the run will not be quite the same."
    ]
