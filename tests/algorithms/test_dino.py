"""DINO against lightly's head and loss, its center, its crops and its first epoch."""

import copy
import math

import numpy as np
import pytest
import torch
from lightly.loss import DINOLoss
from lightly.models.modules.heads import DINOProjectionHead

from georank_zoo.algorithms.heads import DINOHead
from georank_zoo.losses.dino import Center, dino_loss
from tests.support.small_algorithms import LATLON, apart, assert_same_gradients, build, views


def lightly_head(ours: DINOHead) -> DINOProjectionHead:
    head = DINOProjectionHead(ours.mlp[0].in_features, 32, 8, 40)
    head.layers.load_state_dict(ours.mlp.state_dict())
    head.last_layer.weight_v.data.copy_(ours.last_layer.weight)
    return head


@pytest.mark.parametrize("crops", [2, 5])
def test_loss_and_center_equal_lightlys(crops: int) -> None:
    theirs = DINOLoss(12).double()
    center = Center(12, 0.9).double()
    for seed in range(3):
        torch.manual_seed(seed)
        student, teacher = torch.randn(crops, 6, 12).double(), torch.randn(2, 6, 12).double() + 1
        a, b = student.clone().requires_grad_(), student.clone().requires_grad_()
        targets = torch.softmax((teacher - center.value) / 0.04, dim=2)
        ours = dino_loss(tuple(a), tuple(targets), 0.1)
        center.update(teacher.flatten(0, 1))
        expected = theirs(list(teacher), list(b))
        ours.backward()
        expected.backward()
        # lightly keeps its temperature in float32.
        assert ours.item() == pytest.approx(expected.item(), rel=1e-6)
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(center.value, theirs.center.flatten(), rtol=1e-12, atol=0)


def test_loss_of_indifferent_teacher_and_student() -> None:
    targets = [torch.full((3, 8), 1 / 8)] * 2
    loss = dino_loss([torch.zeros(3, 8)] * 4, targets, 0.1)
    assert loss.item() == pytest.approx(math.log(8))


def test_center_step_by_step() -> None:
    center = Center(4, 0.9)
    account = np.zeros(4)
    for step in range(4):
        outputs = np.random.default_rng(step).normal(1, 1, size=(10, 4))
        account = 0.9 * account + 0.1 * outputs.mean(axis=0)
        center.update(torch.from_numpy(outputs).float())
        np.testing.assert_allclose(center.value.numpy(), account, rtol=1e-5)
    assert "value" in center.state_dict()


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")  # of lightly
def test_algorithm_equals_one_of_lightlys_parts() -> None:
    ours = apart(build("dino"))
    backbone, teacher = copy.deepcopy(ours.backbone), copy.deepcopy(ours.teacher)
    head, criterion = lightly_head(ours.projector), DINOLoss(40)
    for seed in (0, 1):  # the second batch is centered by the first
        batch = views(ours, seed)
        features = backbone(torch.cat(batch[:2])), backbone(torch.cat(batch[2:]))
        student = head(torch.cat(features)).chunk(5)
        outputs = teacher(torch.cat(batch[:2])).detach().chunk(2)
        center = ours.center.value.clone()
        expected = criterion(list(outputs), list(student))
        found = ours(batch, LATLON)
        assert found.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    found.loss.backward()
    assert_same_gradients(ours.backbone, backbone)
    assert_same_gradients(ours.projector.mlp, head.layers)
    gradient = ours.projector.last_layer.weight.grad
    torch.testing.assert_close(gradient, head.last_layer.weight_v.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.embeddings, (student[0], outputs[0]))
    targets = torch.softmax((torch.cat(outputs) - center) / ours.teacher_temperature, dim=1)
    entropy = torch.distributions.Categorical(targets).entropy().mean()
    torch.testing.assert_close(found.logs["teacher_entropy"], entropy)


def test_teacher_sees_the_global_crops_once_a_step() -> None:
    algorithm = build("dino")
    seen: dict[str, list[tuple[int, ...]]] = {"teacher": [], "student": []}
    for name, network in (("teacher", algorithm.teacher[0]), ("student", algorithm.backbone)):
        network.register_forward_pre_hook(
            lambda _, inputs, name=name: seen[name].append(tuple(inputs[0].shape))
        )
    algorithm(views(algorithm), LATLON)
    assert seen["teacher"] == [(16, 3, 32, 32)]
    assert seen["student"] == [(16, 3, 32, 32), (24, 3, 16, 16)]


@pytest.mark.parametrize(("epochs", "moves_from"), [(0.0, 0), (1.0, 4), (2.0, 8)])
def test_prototypes_rest_in_the_first_epochs(epochs: float, moves_from: int) -> None:
    algorithm = build("dino", freeze_last_layer_epochs=epochs)
    trained = [p for p in algorithm.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01, weight_decay=0.1)
    prototypes = algorithm.projector.last_layer.weight
    bottleneck = algorithm.projector.mlp[4].weight
    for step in range(9):
        before, other = prototypes.clone(), bottleneck.clone()
        algorithm(views(algorithm, step), LATLON).loss.backward()
        algorithm.before_step(step / 4)
        optimizer.step()
        optimizer.zero_grad()
        assert torch.equal(before, prototypes) == (step < moves_from)
        assert not torch.equal(other, bottleneck)


def test_a_run_in_which_the_prototypes_never_move_is_announced() -> None:
    algorithm = build("dino", freeze_last_layer_epochs=1.0)
    assert algorithm.advice(1000, 1.01) is None
    assert "The run is 0.5 epochs long" in str(algorithm.advice(1000, 0.5))
    assert algorithm.advice(1000, 1.0) is not None
    assert build("dino", freeze_last_layer_epochs=0.0).advice(1000, 0.1) is None


def test_head_ends_in_float32_cosines() -> None:
    head = DINOHead(12, 16, 8, 20)
    x = torch.randn(4, 12)
    with torch.autocast("cpu", torch.bfloat16):
        bottleneck, cosines = head.mlp(x), head(x)
    assert bottleneck.dtype == torch.bfloat16 and cosines.dtype == torch.float32
    a, b = bottleneck.float().detach().numpy(), head.last_layer.weight.detach().numpy()
    expected = (a @ b.T) / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(cosines.detach().numpy(), expected, atol=1e-6)


def test_head_begins_as_in_the_authors_code() -> None:
    torch.manual_seed(0)
    for layer in DINOHead(256, 256, 64, 20).mlp[::2]:
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert not layer.bias.any()
