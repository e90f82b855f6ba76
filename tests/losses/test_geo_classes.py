"""Clusters of places, and the loss that tells them apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from georank_zoo.geo import unit_vectors
from georank_zoo.losses import GeoClassesLoss, geo_clusters
from georank_zoo.losses.geo_clusters import fit_clusters, nearest_cluster
from georank_zoo.utils.errors import UsageError
from georank_zoo.utils.files import cache_folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache_folder()


def three_islands(count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions around the date line, the north pole and Munich, and which is where."""
    rng = np.random.default_rng(0)
    island = np.arange(count) % 3
    lat = np.choose(island, [0, 88, 48]) + rng.uniform(-2, 2, count)
    lon = np.where(island == 1, rng.uniform(-180, 180, count), rng.uniform(-2, 2, count))
    lon = np.where(island == 0, (lon + 360) % 360 - 180, lon + 11 * (island == 2))
    return torch.from_numpy(np.stack((lat, lon), axis=1)), torch.from_numpy(island)


def test_date_line_and_pole_do_not_part_what_lies_together() -> None:
    latlon, island = three_islands()
    found = nearest_cluster(latlon, fit_clusters(latlon, 3))
    for number in range(3):
        assert len(found[island == number].unique()) == 1
    assert len(found.unique()) == 3


def test_clusters_are_those_of_scikit_learn() -> None:
    from sklearn.cluster import KMeans

    latlon, _ = three_islands(200)
    centers = fit_clusters(latlon, 7)
    assert centers.shape == (7, 3) and bool((centers.norm(dim=1) <= 1).all())
    points = unit_vectors(latlon).numpy()
    oracle = KMeans(7, n_init=10, random_state=1).fit(points)
    assigned = nearest_cluster(latlon, centers)
    inertia = ((points - centers.numpy()[assigned]) ** 2).sum()
    assert inertia == pytest.approx(oracle.inertia_, rel=0.05)


def test_fitted_once_for_the_same_places(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latlon, _ = three_islands()
    centers = fit_clusters(latlon, 3)
    calls = []
    fit = geo_clusters._fit
    monkeypatch.setattr(geo_clusters, "_fit", lambda *a: calls.append(a) or fit(*a))
    assert torch.equal(fit_clusters(latlon.flip(0), 3), centers)  # in any order
    assert calls == []
    fit_clusters(latlon[:-1], 3)
    fit_clusters(latlon, 4)
    assert len(calls) == 2
    for file in cache.iterdir():
        file.write_bytes(file.read_bytes()[:20])  # damaged
    assert torch.equal(fit_clusters(latlon, 3), centers)
    assert len(calls) == 3


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert fit_clusters(three_islands()[0], 3).shape == (3, 3)


def test_loss_is_cross_entropy_of_the_clusters() -> None:
    latlon, island = three_islands()
    loss = GeoClassesLoss(clusters=3)
    loss.fit(latlon, 8)
    embeddings = torch.randn(60, 8, requires_grad=True)
    value = loss(embeddings, latlon)
    name_of = nearest_cluster(latlon, loss.centers)
    assert loss.head is not None
    expected = F.cross_entropy(loss.head(embeddings), name_of)
    assert value.item() == pytest.approx(expected.item())
    value.backward()
    assert embeddings.grad is not None and embeddings.grad.abs().sum() > 0
    # Learnable: embeddings that say where they lie.
    told = F.one_hot(island, 8).float()
    optimizer = torch.optim.Adam(loss.parameters(), 0.1)
    for _ in range(100):
        optimizer.zero_grad()
        value = loss(told, latlon)
        value.backward()
        optimizer.step()
    assert value.item() < 0.05


def test_arrays_and_lists_are_taken_as_tensors_are() -> None:
    latlon, _ = three_islands()
    loss, same = GeoClassesLoss(clusters=3), GeoClassesLoss(clusters=3)
    for other, places in ((loss, latlon), (same, latlon.numpy())):
        torch.manual_seed(0)
        other.fit(places, 8)
    z = torch.randn(60, 8)
    assert torch.equal(loss(z, latlon), same(z.numpy(), latlon.tolist()))


def test_refusals() -> None:
    loss = GeoClassesLoss(clusters=3)
    loss.fit(three_islands()[0], 4)
    with pytest.raises(UsageError, match="look swapped"):
        loss(torch.zeros(1, 4), [(151.2, -33.8)])
    with pytest.raises(UsageError, match=r"\(1, 4\) and \(2, 2\)"):
        loss(torch.zeros(1, 4), torch.zeros(2, 2))
    with pytest.raises(UsageError, match="clusters must be 2 or more"):
        GeoClassesLoss(clusters=1)
    with pytest.raises(UsageError, match="call fit"):
        GeoClassesLoss()(torch.zeros(2, 4), torch.zeros(2, 2))
    with pytest.raises(UsageError, match="5 clusters need as many places; there are 1"):
        GeoClassesLoss(clusters=5).fit(torch.zeros(9, 2), 4)
