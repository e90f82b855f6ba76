"""BYOL against lightly's heads and loss."""

import copy

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules.heads import BYOLPredictionHead, BYOLProjectionHead

from tests.support.small_algorithms import (
    LATLON,
    apart,
    assert_same_gradients,
    build,
    views,
    with_weights_of,
)


def test_algorithm_equals_one_of_lightlys_parts() -> None:
    ours = apart(build("byol"))
    backbone, teacher = copy.deepcopy(ours.backbone), copy.deepcopy(ours.teacher)
    head = with_weights_of(BYOLProjectionHead(backbone.num_features, 32, 16), ours.projector)
    predictor = with_weights_of(BYOLPredictionHead(16, 24, 16), ours.predictor)
    batch = views(ours)
    z1, z2 = (head(backbone(view)) for view in batch)
    t1, t2 = (teacher(view).detach() for view in batch)
    criterion = NegativeCosineSimilarity()
    expected = 0.5 * (criterion(predictor(z1), t2) + criterion(predictor(z2), t1))
    found = ours(batch, LATLON)
    expected.backward()
    found.loss.backward()
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(found.embeddings[0], z1)
    for mine, theirs in (
        (ours.backbone, backbone),
        (ours.projector, head),
        (ours.predictor, predictor),
    ):
        assert_same_gradients(mine, theirs)


def test_loss_is_the_papers_squared_distance() -> None:
    ours = apart(build("byol"))
    batch = views(ours)
    reference = copy.deepcopy(ours)
    q = [reference.predictor(reference.projector(reference.backbone(view))) for view in batch]
    t = [reference.teacher(view) for view in batch]
    unit = [torch.nn.functional.normalize(x, dim=1) for x in (*q, *t)]
    squared = ((unit[0] - unit[3]) ** 2).sum(1) + ((unit[1] - unit[2]) ** 2).sum(1)
    loss = ours(batch, LATLON).loss
    assert 4 + 4 * loss.item() == pytest.approx(squared.mean().item(), rel=1e-5)
