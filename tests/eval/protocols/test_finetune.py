"""What is trained with labels: the published linear head and finetuning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from georank_zoo.eval.evaluate import evaluate
from georank_zoo.eval.protocols.base import EvalPlan
from georank_zoo.eval.protocols.finetune import Finetune
from georank_zoo.eval.protocols.knn import KNN
from georank_zoo.eval.protocols.linear import Linear
from georank_zoo.eval.protocols.linear_sgd import LinearSGD
from georank_zoo.eval.protocols.registry import PROTOCOLS, make_protocols
from georank_zoo.eval.results.settings import settings_from_json
from georank_zoo.eval.splits.make import hold_out_validation, make_split
from georank_zoo.eval.tasks import TASKS
from georank_zoo.models.encoder import create_model
from georank_zoo.utils.errors import GeorankError, UsageError
from georank_zoo.views import GeometricViews
from tests.eval.protocols.test_linear import blobs, check, context_of
from tests.support.models import make_export, make_store

FOLDER = TASKS["folder"]
# Of test_resnet in a few steps.
FAST = Finetune(epochs=12, lr=1e-2, backbone_lr=3e-3, train_batch_size=8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return create_model(make_export(tmp_path_factory.mktemp("finetune") / "model"))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("finetune") / "store", [i % 3 for i in range(60)])


def finetune(model, store, protocol, split=None, **options):
    split = split or make_split(store, "random")
    plan = EvalPlan(store=store, split=split, num_classes=3, seed=options.pop("seed", 0))
    context = plan.context(model, 32, **options)
    [prediction] = protocol.predict(context)
    return prediction


def test_an_epoch_takes_each_sample_once_in_batches_of_one_size():
    protocol = LinearSGD(train_batch_size=8)
    batches = protocol.batches(17, 0, 0)
    assert sorted(np.concatenate(batches)) == list(range(17))
    assert [len(batch) for batch in batches] == [6, 6, 5]
    orders = [
        np.concatenate(protocol.batches(17, *key)).tolist() for key in ((0, 0), (1, 0), (0, 1))
    ]
    assert len({tuple(order) for order in orders}) == 3
    assert orders[0] == np.concatenate(batches).tolist()


def test_no_batch_of_one():
    """A BatchNorm over one sample of a map of one pixel ends in a traceback."""
    protocol = LinearSGD(train_batch_size=2)
    for count in range(2, 30):
        sizes = [len(batch) for batch in protocol.batches(count, 0, 0)]
        assert sum(sizes) == count
        assert min(sizes) >= 2
        assert max(sizes) <= 3
        assert protocol.steps(count) == len(sizes)


def test_rates_warm_up_and_end_at_a_tenth():
    protocol = Finetune(epochs=10, train_batch_size=8, lr=1.0, backbone_lr=0.1)
    module = torch.nn.BatchNorm2d(2)
    optimizer = torch.optim.AdamW(protocol.groups(module, 1.0))
    rates = []
    for step in range(100):
        protocol.set_rates(optimizer, step, 80)
        rates.append(optimizer.param_groups[1]["lr"])
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10] == 1
    assert rates[99] == pytest.approx(0.1, abs=1e-3)
    assert optimizer.param_groups[1]["weight_decay"] == 0, "a norm decays"


def test_linear_head_learns_deterministically():
    features, label = blobs(n=400, spread=0.5)
    context = context_of(features, label)
    protocol = LinearSGD(lr=1e-2)
    [first], [again] = protocol.predict(context), protocol.predict(context)
    [linear] = Linear().predict(context)
    truth = label[context.split.test]
    assert (first.predicted == truth).mean() > 0.9
    assert abs((first.predicted == truth).mean() - (linear.predicted == truth).mean()) < 0.05
    np.testing.assert_array_equal(first.predicted, again.predicted)
    assert first.settings == {
        "epochs": 30, "lr": 0.01, "weight_decay": 0.01, "train_batch_size": 64,
    }  # fmt: skip


def test_views_of_finetuning_are_the_eight_orientations():
    image = torch.randn(1, 2, 16, 16)
    views = GeometricViews(size=16, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.5, rotate=0.75)
    uniform = torch.rand(400, 1, views.draws, generator=torch.Generator().manual_seed(0))
    [made] = views([image.expand(400, -1, -1, -1)], uniform)
    turned = [torch.rot90(im, turns, (2, 3)) for im in (image, image.flip(3)) for turns in range(4)]
    distance = torch.stack([(made - one).abs().amax((1, 2, 3)) for one in turned])
    assert (distance.min(dim=0)[0] < 1e-4).all()
    counts = torch.bincount(distance.argmin(dim=0), minlength=8)
    assert (counts > 25).all(), counts


def test_finetuning_learns_and_leaves_the_model_alone(model, store):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    seen = []
    split = make_split(store, "random")
    prediction = finetune(model, store, FAST, on_progress=lambda *a: seen.append(a))
    assert torch.equal(torch.rand(1), expected)
    assert (prediction.predicted == split.label[split.test]).mean() > 0.9
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model.training
    assert seen == [(epoch, 12) for epoch in range(1, 13)]
    assert list(prediction.settings.items())[-3:] == [
        ("train_batch_size", 8), ("backbone_lr", 0.003), ("precision", "fp32"),
    ]  # fmt: skip


class Scores:
    """A validation score that says what it is told to, and keeps what it was asked about."""

    def __init__(self, *values):
        self.values, self.logits, self.labels = list(values), [], []

    def __call__(self, logits, label):
        self.logits.append(logits)
        self.labels.append(label)
        return self.values[len(self.logits) - 1], 0.0


def test_finetuning_is_a_function_of_the_seed(model, store, monkeypatch):
    scores = Scores(*[0.5] * 6)
    monkeypatch.setattr("georank_zoo.eval.protocols.finetune.validation_score", scores)
    brief, split = replace(FAST, epochs=2), make_split(store, "random")
    for seed in (0, 0, 1):
        torch.manual_seed(99 + len(scores.logits))
        finetune(model, store, brief, split, seed=seed)
    first, again, other = (torch.stack(scores.logits[i : i + 2]) for i in (0, 2, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_best_epoch_on_validation_predicts(model, store, monkeypatch):
    split = make_split(store, "random")
    held = hold_out_validation(split)[1]
    # Test samples that are the validation samples, so that their logits can be compared.
    same = replace(split, test=held)
    scores = Scores(0.5, 0.9, 0.9, 0.2)
    monkeypatch.setattr("georank_zoo.eval.protocols.finetune.validation_score", scores)
    chosen = finetune(model, store, replace(FAST, epochs=4), same)
    assert (chosen.chosen, chosen.settings["epochs"]) == ({"epoch": 2}, 4)
    assert all((label == split.label[held]).all() for label in scores.labels)
    np.testing.assert_array_equal(chosen.predicted, scores.logits[1].argmax(dim=1))


def test_labels_of_the_test_set_are_never_seen(model, store):
    split = make_split(store, "random")
    wrong = split.label.copy()
    wrong[split.test] = (wrong[split.test] + 1) % 3
    brief = replace(FAST, epochs=2)
    clean = finetune(model, store, brief, split)
    blind = finetune(model, store, brief, replace(split, label=wrong))
    np.testing.assert_array_equal(clean.predicted, blind.predicted)
    assert (clean.settings, clean.chosen) == (blind.settings, blind.chosen)


def test_a_loss_that_is_not_finite_says_what_to_do(model, store):
    with pytest.raises(GeorankError, match=r"not finite in epoch .*Lower --lr"):
        finetune(model, store, replace(FAST, lr=1e30, backbone_lr=1e30, epochs=3))


@pytest.mark.parametrize(
    ("protocol", "reason"),
    [
        (Finetune(epochs=0), "epochs must be 1 or more"),
        (Finetune(lr=0.0), "lr must be a positive"),
        (LinearSGD(lr=float("nan")), "lr must be a positive"),
        (LinearSGD(weight_decay=-1.0), "weight-decay"),
        (LinearSGD(train_batch_size=1), "train-batch-size"),
        (Finetune(backbone_lr=-1.0), "backbone-lr"),
        (Finetune(precision="fp16"), "Choose from: bf16, fp32"),
    ],
)
def test_wrong_settings_are_refused(store, protocol, reason):
    with pytest.raises(UsageError, match=reason):
        check(protocol, make_split(store, "random"))


def test_what_does_not_suit_is_refused(store):
    split = make_split(store, "random")
    for protocol in (Finetune(), LinearSGD()):
        check(protocol, split)
        with pytest.raises(UsageError, match=r"split loo.*Choose from: random"):
            check(protocol, make_split(store, "loo"))
    plan = EvalPlan(store=store, split=split, num_classes=3, image_sizes=(32, 64))
    Finetune(precision="bf16").check(plan)
    with pytest.raises(UsageError, match="16 px cannot be finetuned in bf16"):
        Finetune(precision="bf16").check(replace(plan, image_sizes=(64, 16)))
    few = replace(split, train=split.train[:3], place=np.arange(60) % 3)
    with pytest.raises(UsageError, match="one training place per class"):
        check(Finetune(), few)


def test_protocols_take_their_own_settings():
    knn, head = make_protocols(["knn", "linear-sgd", "knn"], k=(3,), lr=0.1, epochs=None)
    assert (knn, head) == (KNN(k=(3,)), LinearSGD(lr=0.1))
    with pytest.raises(UsageError, match="backbone-lr is not a setting of protocol knn, linear"):
        make_protocols(["knn", "linear-sgd"], backbone_lr=0.1)
    with pytest.raises(UsageError, match="it belongs to: finetune, linear-sgd"):
        make_protocols(["knn"], lr=0.1)
    with pytest.raises(UsageError, match="Did you mean 'linear'"):
        make_protocols(["linea"])
    assert list(PROTOCOLS) == ["knn", "linear", "linear-sgd", "finetune"]


def test_rows_of_all_protocols_and_their_floors(model, store, monkeypatch):
    seen, extracted = [], []
    from georank_zoo.eval.protocols import base as protocol

    extract = protocol.extract
    monkeypatch.setattr(
        protocol, "extract", lambda e, *a, **k: extracted.append(e.name) or extract(e, *a, **k)
    )
    protocols = make_protocols(PROTOCOLS, epochs=1, k=(3,), lr=1e-2)
    rows = evaluate(
        [model], store, FOLDER, split="random", protocols=protocols, image_sizes=16,
        on_progress=lambda *a: seen.append(a),
    ).rows  # fmt: skip
    frozen = ["knn", "linear", "linear-sgd"]
    expected = [
        *((model.name, name) for name in (*frozen, "finetune")),
        *(("image statistics", name) for name in frozen),
        *(("random test_resnet", name) for name in frozen),
        ("test_resnet from scratch", "finetune"),
    ]
    assert [(row.model, row.protocol) for row in rows[::2]] == expected
    assert extracted == [model.name, "image statistics", "random test_resnet"]
    by = {(row.model, row.protocol): row for row in rows}
    assert by[model.name, "knn"].k == 3
    assert set(settings_from_json(by[model.name, "linear"].chosen)) == {"l2"}
    # All of a network from scratch is new, and the floor is comparable with the model.
    tuned, floor = by[model.name, "finetune"], by["test_resnet from scratch", "finetune"]
    assert settings_from_json(tuned.settings)["backbone_lr"] == 0.0001
    assert settings_from_json(tuned.chosen) == {"epoch": 1}
    assert settings_from_json(floor.chosen) == {"epoch": 1, "backbone_lr": 0.01}
    assert floor.setting == tuned.setting
    assert (floor.kind, floor.architecture) == ("scratch", "test_resnet")
    # Classes differ by brightness, which image statistics tell.
    assert by["image statistics", "linear"].value == 1
    assert seen[-1] == (14_000, 14_000, "test_resnet from scratch at 16 px, finetune")
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    # Features and protocols take a piece each, and each says what it is.
    ends = [what for done, _, what in seen if done % 1000 == 0 and done]
    assert list(dict.fromkeys(ends)) == [
        *(f"{model.name} at 16 px{piece}" for piece in ("", ", knn", ", linear", ", linear-sgd")),
        f"{model.name} at 16 px, finetune",
        *(f"image statistics at 16 px{piece}" for piece in ("", *(f", {p}" for p in frozen))),
        *(f"random test_resnet at 16 px{piece}" for piece in ("", *(f", {p}" for p in frozen))),
        "test_resnet from scratch at 16 px, finetune",
    ]


def test_finetuning_runs_in_one_process(model, store, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="runs in one process"):
        finetune(model, store, FAST)
