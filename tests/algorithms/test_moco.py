"""MoCo against lightly's loss, and its queue against a numpy account."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from lightly.models.modules.heads import MoCoProjectionHead

from georank_zoo.algorithms.queue import NegativeQueue
from georank_zoo.losses.nt_xent import nt_xent_queue
from tests.support.small_algorithms import (
    LATLON,
    apart,
    assert_same_gradients,
    build,
    views,
    with_weights_of,
)


def lightly_loss(queue: torch.Tensor, temperature: float) -> NTXentLoss:
    loss = NTXentLoss(temperature, memory_bank_size=tuple(queue.shape))
    loss.memory_bank.bank = queue.clone()
    loss.memory_bank.bank_ptr = torch.zeros(1, dtype=torch.long)
    return loss


def test_loss_equals_lightlys() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, queue = (torch.randn(n, 16, generator=generator) for n in (8, 8, 40))
    queue = F.normalize(queue, dim=1)
    a, b = q.clone().requires_grad_(), q.clone().requires_grad_()
    ours = nt_xent_queue(F.normalize(a, dim=1), F.normalize(k, dim=1), queue, 0.1)
    expected = lightly_loss(queue, 0.1)(b, k)
    ours.backward()
    expected.backward()
    assert ours.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-7)


def test_algorithm_equals_one_of_lightlys_parts() -> None:
    ours = apart(build("moco"))
    backbone, teacher = copy.deepcopy(ours.backbone), copy.deepcopy(ours.teacher)
    head = with_weights_of(MoCoProjectionHead(backbone.num_features, 32, 16), ours.projector)
    criterion = lightly_loss(ours.queue.keys, ours.temperature)
    for seed in (0, 1):  # the second batch meets the keys of the first
        one, two = views(ours, seed)
        expected = criterion(head(backbone(one)), teacher(two).detach())
        found = ours([one, two], LATLON)
        assert found.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    found.loss.backward()
    assert_same_gradients(ours.backbone, backbone)
    assert_same_gradients(ours.projector, head)


def test_queue_is_first_in_first_out_and_wraps_around() -> None:
    queue = NegativeQueue(5, 2)
    account = queue.keys.numpy().copy()
    position = 0
    for step in range(4):
        keys = np.random.default_rng(step).normal(size=(3, 2)).astype(np.float32)
        for key in keys:
            account[position] = key
            position = (position + 1) % 5
        queue.push(torch.from_numpy(keys))
        np.testing.assert_array_equal(queue.keys.numpy(), account)
    assert {"keys", "position"} <= set(queue.state_dict())


def test_queue_smaller_than_the_batch_keeps_the_last_keys() -> None:
    queue = NegativeQueue(2, 1)
    queue.push(torch.tensor([[1.0], [2.0], [3.0]]))
    assert sorted(queue.keys.flatten().tolist()) == [2.0, 3.0]
