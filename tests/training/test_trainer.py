"""Training: what a run leaves, exact resume, interruption, refusals before any step."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
import timm
import torch
from accelerate.state import AcceleratorState, GradientState

from georank_zoo.algorithms import ALGORITHMS, Algorithm, StepOutput
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.training import checkpoints, trainer
from georank_zoo.training.recipe import Recipe, load_recipe
from georank_zoo.training.run import Run, open_run
from georank_zoo.utils.errors import GeorankError, Interrupted, ModelError, StoreError, UsageError
from georank_zoo.utils.progress import Silent
from tests.support.models import make_store
from tests.support.training import TINY, StopAt, assert_equal_runs, untimed, weights


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PatchStore:
    places = [*range(32), *range(32)]
    labels = [place % 2 for place in places]
    return make_store(tmp_path_factory.mktemp("trainer") / "store", labels, places=places)


def load(store: PatchStore, *overrides: str, name: str = "moco_georank") -> Recipe:
    return load_recipe(name, [f"data.store={store.path}", *TINY, *overrides])


@pytest.fixture(scope="module")
def finished(store: PatchStore, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An uninterrupted run of 12 steps, 4 to an epoch."""
    probe = f"probe.store={store.path}"
    return trainer.train(
        load(store, probe, "probe.every_epochs=1"), tmp_path_factory.mktemp("run") / "run"
    )


def test_a_run_folder_is_complete(finished: Run, store: PatchStore) -> None:
    facts = finished.facts
    assert facts["status"] == "finished" and facts["steps"] == 12
    assert facts["recipe_hash"] == finished.recipe.hash == open_run(finished.path).recipe.hash
    assert facts["store"]["hash"] == store.hash
    assert facts["versions"]["torch"] == torch.__version__.split("+")[0]
    names = [path.name for path in checkpoints.list_checkpoints(finished.checkpoints)]
    assert names == ["step-00000008", "step-00000012"]  # the last two of three epochs
    assert not list(finished.path.rglob("*.tmp"))


def test_metrics(finished: Run) -> None:
    rows = [row for row in finished.log.rows() if "loss" in row]
    assert [row["step"] for row in rows] == [4, 8, 10, 12]  # each tenth, and before a save
    for row in rows:
        expected = 0.5 * row["loss_ssl"] + 0.5 * row["loss_georank"]
        assert row["loss"] == pytest.approx(expected, rel=1e-5)
        assert row["images_per_s"] > 0 and -1 <= row["geo_spearman"] <= 1
        assert 0 < row["embedding_std"] < 1.5
    assert 0 < rows[3]["lr"] < rows[2]["lr"] < 0.05  # the cosine falls
    probes = [row for row in finished.log.rows() if "probe_accuracy_macro" in row]
    assert [row["step"] for row in probes] == [4, 8, 12]
    # The two classes differ in brightness: any network tells them apart.
    assert probes[-1]["probe_accuracy_macro"] > 0.8


def test_export_is_the_trained_backbone(finished: Run) -> None:
    network = timm.create_model(f"local-dir:{finished.path / 'export'}", pretrained=True)
    trained = {
        key.removeprefix("backbone."): value
        for key, value in weights(finished).items()
        if key.startswith("backbone.")
    }
    state = network.state_dict()
    assert state.keys() == trained.keys()
    assert all(torch.equal(state[key], trained[key]) for key in state)


@pytest.mark.parametrize("optimizer", ["lars", "sgd", "adamw"])
def test_resume_is_the_same_run(optimizer: str, store: PatchStore, tmp_path: Path) -> None:
    plan = load(store, f"optimizer.name={optimizer}", "optimizer.lr=0.01")
    whole = trainer.train(plan, tmp_path / "whole")
    with pytest.raises(Interrupted, match="Stopped after step 9 of 12") as stop:
        trainer.train(plan, tmp_path / "parts", reporter=StopAt(8))
    assert stop.value.exit_code == 130
    resumed = trainer.train(plan, tmp_path / "parts", resume=True)
    assert_equal_runs(whole, resumed)
    # The row of step 10 is a mean over a step before and one after the stop.
    assert [row["step"] for row in resumed.log.rows()] == [4, 8, 10, 12]
    assert untimed(resumed) == untimed(whole)


@pytest.mark.parametrize("layout", ["true", "false"])
def test_resume_under_bf16_and_channels_last(
    layout: str, store: PatchStore, tmp_path: Path
) -> None:
    plan = load(store, "train.precision=bf16", f"train.channels_last={layout}", "views.size=32")
    whole = trainer.train(plan, tmp_path / "whole")
    with pytest.raises(Interrupted):
        trainer.train(plan, tmp_path / "parts", reporter=StopAt(8))
    assert_equal_runs(whole, trainer.train(plan, tmp_path / "parts", resume=True))


def test_resume_after_sigkill(store: PatchStore, tmp_path: Path) -> None:
    plan = load(store, "train.steps=40")
    (tmp_path / "plan.yaml").write_text(plan.to_yaml())
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "georank_cli", "train", str(tmp_path / "plan.yaml")]
    process = subprocess.Popen([*command, "--out", str(folder)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not checkpoints.list_checkpoints(folder / "checkpoints") and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()  # in the middle of a step, or of the next checkpoint
    process.wait()
    killed = open_run(folder)
    assert killed.facts["status"] == "running"
    assert int(killed.checkpoint().name.removeprefix("step-")) < 40
    # A kill in the middle of writing leaves such a folder; it must not count.
    (killed.checkpoints / ".step-00000099.1.tmp").mkdir()
    resumed = trainer.train(plan, folder, resume=True)
    whole = trainer.train(plan, tmp_path / "whole")
    assert_equal_runs(whole, resumed)
    assert untimed(resumed) == untimed(whole)
    assert not list(killed.checkpoints.glob(".*"))


def test_a_kill_between_a_checkpoint_and_the_next_loses_no_probe(
    store: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = load(store, f"probe.store={store.path}", "probe.every_epochs=1")
    whole = trainer.train(plan, tmp_path / "whole")
    save = checkpoints.save_checkpoint

    def killed_after_saving(*arguments, step: int, **named):
        save(*arguments, step=step, **named)
        if step == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_checkpoint", killed_after_saving)
        with pytest.raises(Interrupted):
            trainer.train(plan, tmp_path / "killed")
    assert untimed(trainer.train(plan, tmp_path / "killed", resume=True)) == untimed(whole)


# Each changes the numbers of an Accelerator, or of torch, that does not know better.
ENVIRONMENTS = [
    {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"},
    {"ACCELERATE_MIXED_PRECISION": "bf16"},
    {"ACCELERATE_MIXED_PRECISION": "fp8", "ACCELERATE_FP8_BACKEND": "AO"},
    {"ACCELERATE_DYNAMO_BACKEND": "EAGER", "ACCELERATE_DYNAMO_USE_FULLGRAPH": "true"},
    {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_GRADIENT_CLIPPING": "0.01"},
    {"ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "true"},
    {"ACCELERATE_USE_MEGATRON_LM": "true"},
    {"ACCELERATE_USE_PARALLELISM_CONFIG": "true", "PARALLELISM_CONFIG_TP_SIZE": "2"},
    {"NVIDIA_TF32_OVERRIDE": "1", "ONEDNN_DEFAULT_FPMATH_MODE": "BF16"},
]


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda e: next(iter(e)))
def test_the_recipe_decides_and_not_the_environment(
    environment: dict[str, str],
    store: PatchStore,
    finished: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One that a notebook made before.
    monkeypatch.setattr(AcceleratorState, "_shared_state", {})
    monkeypatch.setattr(GradientState, "_shared_state", {})
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    run = trainer.train(finished.recipe, tmp_path / "run")
    assert_equal_runs(run, finished)
    assert untimed(run) == untimed(finished)
    assert all(os.environ[name] == value for name, value in environment.items())


def test_products_of_float32_have_all_bits_while_training(
    store: PatchStore, tmp_path: Path
) -> None:
    class Listener(Silent):
        def advance(self, step: int, metrics: dict[str, float]) -> None:
            assert torch.get_float32_matmul_precision() == "highest"

    torch.set_float32_matmul_precision("high")  # as TORCH_ALLOW_TF32_CUBLAS_OVERRIDE does
    try:
        trainer.train(load(store, "train.steps=1"), tmp_path / "run", reporter=Listener())
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from georank_zoo.training import checkpoints, trainer
from georank_zoo.training.recipe import load_recipe

save, calls = checkpoints.save_file, []

def kill_at_the_fourth(tensors, path):  # the optimizer of the second checkpoint
    save(tensors, path)
    calls.append(path)
    if len(calls) == 4:
        Path(path).write_bytes(Path(path).read_bytes()[:100])
        os.kill(os.getpid(), signal.SIGKILL)

checkpoints.save_file = kill_at_the_fourth
trainer.train(load_recipe(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.parametrize("name", ["moco_georank", "dino_georank"])
def test_resume_after_sigkill_while_writing(name: str, store: PatchStore, tmp_path: Path) -> None:
    plan = load_recipe(name, [f"data.store={store.path}", *[o for o in TINY if "queue" not in o]])
    (tmp_path / "plan.yaml").write_text(plan.to_yaml())
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path / "plan.yaml"), str(folder)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    killed = open_run(folder)
    assert killed.checkpoint().name == "step-00000004"
    assert list(killed.checkpoints.glob(".step-00000008*"))  # half-written
    resumed = trainer.train(plan, folder, resume=True)
    assert_equal_runs(trainer.train(plan, tmp_path / "whole"), resumed)


class Mean(Algorithm):
    """A loss that is a mean over samples, so that parts of a batch add up to the batch."""

    def __init__(self, backbone: torch.nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, views: Sequence[torch.Tensor], latlon: torch.Tensor) -> StepOutput:
        features = [self.backbone(view) for view in views]
        return StepOutput(torch.stack(features).square().mean(), (features[0],))


def test_a_batch_in_parts_is_the_batch(
    store: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ALGORITHMS, "mean", Mean)
    changes = [
        "algorithm={name: mean}", "backbone.name=convnext_atto", "views.size=32",
        "train.steps=5", "optimizer.name=sgd", "optimizer.lr=0.01",
    ]  # fmt: skip
    tiny = [item for item in TINY if not item.startswith("algorithm")]
    plans = [
        load_recipe(
            "moco", [f"data.store={store.path}", *tiny, *changes, f"train.accumulate={parts}"]
        )
        for parts in (1, 4)
    ]
    one, four = (
        weights(trainer.train(plan, tmp_path / str(number))) for number, plan in enumerate(plans)
    )
    for key in one:
        torch.testing.assert_close(four[key], one[key], rtol=1e-4, atol=1e-6)


def test_advice_on_a_long_queue_and_large_patches(store: PatchStore, tmp_path: Path) -> None:
    class Listener(Silent):
        said: ClassVar[list[str]] = []

        def message(self, text: str) -> None:
            self.said.append(text)

    plan = load(store, "views.size=12", "train.steps=1")
    trainer.train(plan, tmp_path / "run", reporter=Listener())
    said = " ".join(Listener.said)
    assert "algorithm.queue_size=8" in said and "patches of 16 px are larger" in said


def test_sigterm_with_workers_saves_the_state(store: PatchStore, tmp_path: Path) -> None:
    plan = load(store, "train.steps=100000", "train.workers=1")
    (tmp_path / "plan.yaml").write_text(plan.to_yaml())
    command = [sys.executable, "-m", "georank_cli", "train", str(tmp_path / "plan.yaml")]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "run")],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (metrics.is_file() and metrics.stat().st_size):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)  # as a scheduler does
    _, error = process.communicate(timeout=120)
    assert process.returncode == 143 and "Continue with `georank train" in error


def test_baseline_logs_no_rank_term(store: PatchStore, tmp_path: Path) -> None:
    run = trainer.train(load(store, "train.steps=2", name="moco"), tmp_path / "run")
    row = run.log.rows()[-1]
    assert "loss_georank" not in row and row["loss"] == row["loss_ssl"]


def test_tensorboard(store: PatchStore, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer.train(load(store, "train.steps=10"), tmp_path / "run", trackers=["tensorboard"])
    # The configuration goes to a file of its own.
    steps = []
    for events in (tmp_path / "run").rglob("events.out.tfevents.*"):
        accumulator = EventAccumulator(str(events))
        accumulator.Reload()
        if "loss_georank" in accumulator.Tags()["scalars"]:
            steps += [event.step for event in accumulator.Scalars("loss_georank")]
    assert steps == [4, 8, 10]


def refused(plan: Recipe, folder: Path, error: type[Exception], message: str, **kw) -> None:
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(error, match=message):
        trainer.train(plan, folder, **kw)
    assert sorted(folder.parent.rglob("*")) == before  # nothing half-written


def test_refusals_before_any_step(store: PatchStore, finished: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    refused(load(store, "data.store=nowhere"), run, StoreError, "No store at nowhere")
    refused(load(store, "train.batch_size=64"), run, StoreError, "fewer than a batch of 64")
    refused(load(store, "data.bands=s2-13"), run, StoreError, "missing band.s. B10")
    refused(load(store, "probe.store=nowhere"), run, StoreError, "No store at nowhere")
    refused(load(store, "backbone.name=resnet81"), run, UsageError, "timm has no model")
    vit = load(store, "backbone.name=convnext_atto")
    refused(vit, run, UsageError, "does not take images of 16 px")
    tagged = load(store, "backbone.name=resnet18.a1_in1k")
    refused(tagged, run, UsageError, "give the architecture alone")
    refused(load(store, "train.precision=bf16"), run, UsageError, "wrong gradients")
    for tracker in ("wand", "mlflow"):  # unknown; not installed
        refused(load(store), run, UsageError, f"Tracker {tracker} is unk", trackers=[tracker])
    refused(load(store), finished.path, UsageError, "holds a run, finished. Continue it")
    plan = load(store, "optimizer.lr=0.5")
    refused(plan, finished.path, UsageError, "trained with another recipe", resume=True)


def test_unlabeled_probe_store(store: PatchStore, tmp_path: Path) -> None:
    make_store(tmp_path / "unlabeled", [-1] * 4)
    plan = load(store, f"probe.store={tmp_path / 'unlabeled'}")
    refused(plan, tmp_path / "run", StoreError, "has no labels")


def test_resume_on_another_store(finished: Run, tmp_path: Path) -> None:
    other = make_store(tmp_path / "other", [0] * 40, seed=5)
    plan = load(other, "probe.every_epochs=1")
    refused(plan, finished.path, UsageError, "trained on another store", resume=True)


def test_damaged_checkpoint_is_named(store: PatchStore, tmp_path: Path) -> None:
    run = trainer.train(load(store, "train.steps=4"), tmp_path / "run")
    path = run.checkpoint() / checkpoints.OPTIMIZER
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="holds no checkpoint that is intact"):
        trainer.train(run.recipe, run.path, resume=True)


def test_a_loss_that_is_not_finite_ends_the_run(store: PatchStore, tmp_path: Path) -> None:
    plan = load(store, "optimizer.name=sgd", "optimizer.lr=1e30", "train.steps=20")
    with pytest.raises(GeorankError, match="not finite at step 2"):
        trainer.train(plan, tmp_path / "run")


def test_half_a_line_of_metrics_is_left_out(finished: Run, tmp_path: Path) -> None:
    copy = Run(tmp_path, finished.recipe)
    text = (finished.path / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 13, "lo')
    assert copy.log.rows() == finished.log.rows()
    copy.log.rewind(10)
    assert max(row["step"] for row in copy.log.rows()) == 10
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line)
