"""SimCLR against lightly's head and loss, and a closed form."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from lightly.models.modules.heads import SimCLRProjectionHead

from georank_zoo.losses.nt_xent import nt_xent
from tests.support.small_algorithms import (
    LATLON,
    apart,
    assert_same_gradients,
    build,
    views,
    with_weights_of,
)


def test_loss_equals_lightlys() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(2, 8, 16, dtype=torch.float64)
    a, b, c, d = (z.clone().requires_grad_() for z in (x, y, x, y))
    ours = nt_xent(F.normalize(a, dim=1), F.normalize(b, dim=1), 0.1)
    expected = NTXentLoss(0.1)(c, d)
    ours.backward()
    expected.backward()
    assert ours.item() == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close((a.grad, b.grad), (c.grad, d.grad), rtol=0, atol=1e-12)
    swapped = nt_xent(F.normalize(y, dim=1), F.normalize(x, dim=1), 0.1)
    assert swapped.item() == pytest.approx(ours.item(), rel=1e-12)


def test_loss_of_orthogonal_samples() -> None:
    z = torch.eye(5, dtype=torch.float64)
    # Similarity 1 with the other view, 0 with the 8 views of the other samples.
    expected = math.log(math.exp(1 / 0.2) + 8) - 1 / 0.2
    assert nt_xent(z, z, 0.2).item() == pytest.approx(expected, rel=1e-12)


def test_algorithm_equals_one_of_lightlys_parts() -> None:
    ours = apart(build("simclr"))
    backbone = copy.deepcopy(ours.backbone)
    head = with_weights_of(SimCLRProjectionHead(backbone.num_features, 32, 16), ours.projector)
    batch = views(ours)
    projected = head(backbone(torch.cat(batch)))
    expected = NTXentLoss(ours.temperature)(*projected.chunk(2))
    found = ours(batch, LATLON)
    expected.backward()
    found.loss.backward()
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(found.embeddings[0], projected[:8])
    assert_same_gradients(ours.backbone, backbone)
    assert_same_gradients(ours.projector, head)
