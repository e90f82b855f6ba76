"""Training of a recipe: checks everything, takes the steps, exports the result.

    store -> batch -> reflectance -> z -> views -> algorithm -> loss + embeddings
          -> alpha * loss + (1 - alpha) * regularizer(embeddings, positions) -> step

Everything that changes over a run is a function of the global step, and every random draw of
(seed, step, sample); so a resumed run is the same run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import filter_trackers
from accelerate.utils import GradientAccumulationPlugin, InitProcessGroupKwargs

from georank_zoo.models.config import CONFIG
from georank_zoo.models.folder import EXPORT, FACTS
from georank_zoo.training.checkpoints import list_checkpoints, prune_checkpoints, step_of
from georank_zoo.training.log_window import UNLOGGED
from georank_zoo.training.loop import Loop
from georank_zoo.training.new_run import create_run
from georank_zoo.training.recipe import Recipe
from georank_zoo.training.run import CHECKPOINTS, Run, open_run, resume_command
from georank_zoo.training.run_folder import check_free, keep_run_folder, load_plan
from georank_zoo.training.setup import Setup
from georank_zoo.utils.distributed import world
from georank_zoo.utils.environment import (
    MIN_CPU_BF16_SIZE,
    device_name,
    environment_ignored,
)
from georank_zoo.utils.errors import GeorankError, Interrupted, UsageError, plain
from georank_zoo.utils.locks import MOMENT, output_lock
from georank_zoo.utils.peers import Peers, is_lost_peer, refuse
from georank_zoo.utils.progress import Reporter, Silent, TrainingBar

# For a launch whose recipe is not known.
_REFUSAL_S = 60


@environment_ignored()
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
    first one writes. What a launcher exports about precision, accumulation or compilation counts
    for nothing: the recipe says it. An interruption (Ctrl-C, SIGTERM) saves the state after the
    current step.

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
    accelerator = make_accelerator(recipe, trackers, folder)
    peers = Peers(recipe.train.timeout_s, lambda lost: _lost(lost, recipe, folder, accelerator))
    if not accelerator.is_main_process or (reporter is None and not progress):
        reporter = Silent()
    reporter = reporter or TrainingBar(recipe.name)

    def keep(kept: ExitStack) -> None:
        _check_start(recipe, accelerator, trackers)
        if accelerator.is_main_process:  # which alone writes
            kept.enter_context(keep_run_folder(folder))

    try:
        with ExitStack() as kept:
            peers.together(lambda: keep(kept))
            loop = _prepare(recipe, folder, accelerator, reporter, resume, peers)
            loop.run()
            peers.together(lambda: _finish(loop))
        peers.close()
    except BaseException as error:
        said = _to_be_said(error, peers)
        peers.leave(said or error)
        if said is None:
            raise
        raise said from error
    finally:
        reporter.close()
        accelerator.end_training()
    return loop.folder


def _to_be_said(error: BaseException, peers: Peers) -> GeorankError | None:
    """What the processes say in place of an error; None if it is to stay."""
    if is_lost_peer(error):
        return peers.lost()
    if isinstance(error, GeorankError):
        peers.said_by_one(error)
    elif isinstance(error, KeyboardInterrupt) and world()[0] > 1:
        # Before the first step: each process of a launch gets the signal.
        return peers.said_by_one(Interrupted("Interrupted. Repeat the command with --resume."))
    return None


def _lost(lost: int | None, recipe: Recipe, folder: Path, accelerator: Accelerator) -> str:
    saved = list_checkpoints(folder / CHECKPOINTS)
    state = f"saved up to step {step_of(saved[-1])}" if saved else "not saved yet"
    which = "A process" if lost is None else f"Process {lost} (the first is 0)"
    return (
        f"{which} of {accelerator.num_processes} was lost: it was killed, ran out of memory, or "
        f"gave no answer for {recipe.train.timeout_s} s (`train.timeout_s`). The run is {state}; "
        f"start all processes again with `{resume_command(folder)}`."
    )


def refuse_in_all(error: GeorankError) -> None:
    """Raises the error that keeps this process from `train`, in all processes of a launch.

    Raises:
        GeorankError: In all of them; one of them says why.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        try:
            _refuse_together(error)
        except RuntimeError as lost:
            if not is_lost_peer(lost):
                raise
    raise error


def _refuse_together(error: GeorankError) -> None:
    with environment_ignored():
        accelerator = _accelerator([], Path(), timedelta(seconds=_REFUSAL_S))
    peers = Peers(_REFUSAL_S)
    try:
        peers.together(lambda: refuse(error))
    except GeorankError as said:
        peers.leave(said)
        raise
    finally:
        accelerator.end_training()


def _prepare(
    recipe: Recipe,
    folder: Path,
    accelerator: Accelerator,
    reporter: Reporter,
    resume: bool,
    peers: Peers,
) -> Loop:
    """Checks the input, opens the run folder and brings the loop to where the run stands."""
    # Everything that can be wrong with the input shows before anything is written.
    setup = peers.together(lambda: _set_up(recipe, accelerator))
    _require_same_input(setup, peers)
    run = _open_folder(setup, folder, accelerator, resume, peers)
    loop = Loop(setup, run, accelerator, reporter, peers)
    for text in [*setup.advice(), *_advice_on_processes(run, accelerator)]:
        reporter.message(text)
    peers.together(loop.restore)
    if run.facts["status"] == "finished" and not list_checkpoints(run.checkpoints):
        loop.step = loop.length.steps  # they were deleted to save room
    # A run that needs no step is left as it is.
    if accelerator.is_main_process and loop.step < loop.length.steps:
        run.log.rows()  # compared with its hash, which goes with the next word
        device = device_name(accelerator.device)
        run.update(status="running", device=device, processes=accelerator.num_processes)
        run.log.rewind(loop.step)
        loop.look()
    return loop


def _set_up(recipe: Recipe, accelerator: Accelerator) -> Setup:
    setup = Setup.from_recipe(
        recipe, rank=accelerator.process_index, processes=accelerator.num_processes
    )
    _check_precision(setup, accelerator)
    return setup


def _require_same_input(setup: Setup, peers: Peers) -> None:
    """Each machine reads its own files."""
    inputs = peers.gather((setup.recipe.hash, setup.batches.store.hash))
    for what, hashes in zip(("recipe", "store"), zip(*inputs, strict=True), strict=True):
        if len(set(hashes)) > 1:
            kinds = [
                f"{name[:12]} in process {hashes.index(name)}" for name in dict.fromkeys(hashes)
            ]
            raise peers.said_by_first(
                UsageError(
                    f"The processes do not have the same {what}: hash {', '.join(kinds)} (the "
                    "first is 0). Give all machines the same files."
                )
            )


def _finish(loop: Loop) -> None:
    """Exports the model; the other processes wait for it."""
    if loop.accelerator.is_main_process:
        _export(loop)


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
    loop.look(at_features=True)
    with output_lock(folder, wait=MOMENT):  # `georank export` may write there
        run.export(overwrite=True)
    run.update(status="finished", steps=loop.step, seconds=round(loop.seconds, 1))
    loop.reporter.message(f"Exported to {folder}.")


def make_accelerator(
    recipe: Recipe, trackers: Sequence[str] = (), folder: Path = Path()
) -> Accelerator:
    """Device and processes of a run.

    Raises:
        GeorankError: If the processes do not find each other in time.
    """
    known = _known_trackers(trackers, folder)
    limit = timedelta(seconds=recipe.train.timeout_s)
    try:
        return _accelerator(known, folder, limit)
    except RuntimeError as error:
        if not is_lost_peer(error):
            raise
        raise GeorankError(
            f"The processes of this run did not find each other within {recipe.train.timeout_s} s "
            f"(`train.timeout_s`): {str(error).splitlines()[0]}"
        ) from error


def _accelerator(known: list[Any], folder: Path, limit: timedelta) -> Accelerator:
    return Accelerator(
        # Longer than the limit of `Peers`, which says what happened where NCCL aborts.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=limit + timedelta(minutes=1))],
        # The recipe decides, in the loop, and nothing that a launcher or another Accelerator of
        # this process says.
        mixed_precision="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        dynamo_backend="no",
        log_with=known or None,
        project_dir=str(folder) if known else None,
    )


def _known_trackers(trackers: Sequence[str], folder: Path) -> list[Any]:
    """Those that Accelerate knows and that are installed."""
    try:
        return list(filter_trackers(list(trackers), folder))
    except (ValueError, RuntimeError):  # unknown; not installed, which it logs too early
        return []


def _check_start(recipe: Recipe, accelerator: Accelerator, trackers: Sequence[str]) -> None:
    if len(accelerator.log_with) < len(trackers):
        raise UsageError(
            f"Tracker {', '.join(map(plain, trackers))} is unknown or not installed: install its "
            "package, for TensorBoard with pip install 'georank-zoo[tensorboard]'."
        )
    parts = accelerator.num_processes * recipe.train.accumulate
    if recipe.train.batch_size % parts or recipe.train.batch_size // parts < 2:
        raise UsageError(
            f"train.batch_size {recipe.train.batch_size} does not divide into "
            f"{accelerator.num_processes} process(es) x {recipe.train.accumulate} part(s) of 2 "
            "samples or more each."
        )


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


def _open_folder(
    setup: Setup, folder: Path, accelerator: Accelerator, resume: bool, peers: Peers
) -> Run:
    recipe, batches = setup.recipe, setup.batches

    def create() -> None:
        if accelerator.is_main_process and not (resume and _is_begun(folder)):
            create_run(folder, recipe, batches.store, batches.latlon)

    def open_same() -> Run:
        run = open_run(folder)
        run.require_same(recipe, batches.store)
        return run

    # The first process decides and writes; what it leaves is there when the others look.
    peers.together(create)
    run = peers.together(open_same)
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
