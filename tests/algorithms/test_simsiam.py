"""SimSiam against lightly's heads and loss."""

import copy

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules.heads import SimSiamPredictionHead, SimSiamProjectionHead

from georank_zoo.losses.cosine import negative_cosine
from tests.support.small_algorithms import (
    LATLON,
    apart,
    assert_same_gradients,
    build,
    views,
    with_weights_of,
)


def test_loss_equals_lightlys_and_stops_the_gradient() -> None:
    torch.manual_seed(0)
    p, z = torch.randn(2, 8, 16, dtype=torch.float64)
    a, b, target = (x.clone().requires_grad_() for x in (p, p, z))
    ours, expected = negative_cosine(a, target), NegativeCosineSimilarity()(b, z)
    ours.backward()
    expected.backward()
    assert ours.item() == pytest.approx(expected.item(), rel=1e-12) and target.grad is None
    torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-12)
    assert negative_cosine(z, 3 * z).item() == pytest.approx(-1)


def test_algorithm_equals_one_of_lightlys_parts() -> None:
    ours = apart(build("simsiam"))
    backbone = copy.deepcopy(ours.backbone)
    head = with_weights_of(SimSiamProjectionHead(backbone.num_features, 32, 16), ours.projector)
    predictor = with_weights_of(SimSiamPredictionHead(16, 8, 16), ours.predictor)
    batch = views(ours)
    z1, z2 = (head(backbone(view)) for view in batch)
    criterion = NegativeCosineSimilarity()
    p1, p2 = predictor(z1), predictor(z2)
    expected = 0.5 * (criterion(p1, z2.detach()) + criterion(p2, z1.detach()))
    found = ours(batch, LATLON)
    expected.backward()
    found.loss.backward()
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(found.embeddings[0], z1)
    assert found.embeddings[0].requires_grad  # a regularizer must reach the backbone
    for mine, theirs in (
        (ours.backbone, backbone),
        (ours.projector, head),
        (ours.predictor, predictor),
    ):
        assert_same_gradients(mine, theirs)
