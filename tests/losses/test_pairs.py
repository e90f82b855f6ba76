"""GeoRank and GeoBasic: oracles for value and gradient, invariants, precision, bad input."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from georank_zoo.losses import GeoMSELoss, GeoRankLoss, pairs
from georank_zoo.losses import soft_rank as ranking
from georank_zoo.losses.isotonic import isotonic_by_merging
from georank_zoo.utils.errors import UsageError
from tests.support import oracles

Case = tuple[torch.Tensor, torch.Tensor]
LOSSES: dict[str, tuple[type[pairs.PairLoss], Callable[..., tuple[float, np.ndarray]]]] = {
    "georank": (GeoRankLoss, oracles.georank),
    "geobasic": (GeoMSELoss, oracles.geobasic),
}
each_loss = pytest.mark.parametrize("name", LOSSES)


def make_case(kind: str, count: int) -> Case:
    """Embeddings (B, 16) of a kind, and positions with each special place that fits."""
    generator = torch.Generator().manual_seed(count)
    z = torch.randn(count, 16, dtype=torch.float64, generator=generator)
    if kind == "clustered":
        z = z[torch.arange(count) % 5] + 1e-3 * z
    elif kind == "collapsed":
        z = z[0] + 1e-9 * z
    elif kind == "tied":
        z = z[torch.arange(count) % max(2, count // 2)]
    uniform = torch.rand(count, 2, dtype=torch.float64, generator=generator)
    latlon = torch.stack((uniform[:, 0] * 180 - 90, uniform[:, 1] * 360 - 180), dim=1)
    special = torch.tensor(
        # Poles, seen under several longitudes; one meridian with two names; its neighbor;
        # three dates of one place.
        [[90, 10], [5, 180], [5, -179.9], [5, -180], [90, -50], [-90, 3], *[[48.1, 11.5]] * 3],
        dtype=torch.float64,
    )[: count // 2]
    latlon[: len(special)] = special
    return z, latlon


def value_and_gradient(
    loss: pairs.PairLoss, z: torch.Tensor, latlon: torch.Tensor
) -> tuple[float, np.ndarray]:
    z = z.clone().requires_grad_()
    value = loss(z, latlon)
    value.backward()
    assert z.grad is not None and z.grad.dtype == z.dtype
    return value.item(), z.grad.double().numpy()


def assert_equals_oracle(name: str, case: Case, tolerance: float, **settings: Any) -> None:
    loss, oracle = LOSSES[name]
    value, gradient = value_and_gradient(loss(**settings), *case)
    expected, by_z = oracle(case[0].double().numpy(), case[1].numpy(), **settings)
    assert value == pytest.approx(expected, rel=tolerance, abs=tolerance)
    scale = max(1.0, float(np.abs(by_z).max()))
    np.testing.assert_allclose(gradient, by_z, atol=tolerance * scale, rtol=0)


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("georank", {}),
    ("georank", {"temperature": 0.5}),
    ("georank", {"strength": 1e-4}),
    ("georank", {"strength": 10.0, "max_km": 20100.0}),
    ("georank", {"strength": 0.5, "temperature": 0.1}),
    ("georank", {"distance": "l1", "margin": 0.0}),
    ("georank", {"min_km": 500.0, "max_km": 9000.0, "margin": 4.0, "strength": 0.05}),
    ("geobasic", {}),
    ("geobasic", {"temperature": 1.0, "spacing": 0.0, "min_km": 300.0, "margin": 0.0}),
]


@pytest.mark.parametrize("merging", [False, True])
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
@pytest.mark.parametrize("kind", ["random", "clustered", "collapsed", "tied"])
@pytest.mark.parametrize("count", [2, 3, 20, 150])
def test_equals_the_oracle(
    name: str,
    settings: dict[str, Any],
    kind: str,
    count: int,
    merging: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if merging:  # as on other devices
        monkeypatch.setattr(ranking, "isotonic_regression", isotonic_by_merging)
    assert_equals_oracle(name, make_case(kind, count), 1e-9, **settings)


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_float32_equals_the_oracle(name: str, settings: dict[str, Any]) -> None:
    z, latlon = make_case("random", 300)
    assert_equals_oracle(name, (z.float(), latlon), 1e-6, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["random", "clustered", "tied"])
@pytest.mark.parametrize("strength", [1e-4, 1e-2, 10.0])
@pytest.mark.parametrize("merging", [False, True])
def test_georank_of_4096_equals_the_oracle(
    strength: float, kind: str, dtype: torch.dtype, merging: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if merging:
        monkeypatch.setattr(ranking, "isotonic_regression", isotonic_by_merging)
    z, latlon = make_case(kind, 4096)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    assert_equals_oracle("georank", (z.to(dtype), latlon), tolerance, strength=strength)


@each_loss
def test_gradcheck(name: str) -> None:
    z, latlon = make_case("random", 7)
    options: dict[str, Any] = {"strength": 0.5} if name == "georank" else {}
    loss = LOSSES[name][0](max_km=20100.0, margin=0.0, **options)
    assert torch.autograd.gradcheck(lambda x: loss(x, latlon), z.requires_grad_(), eps=1e-7)


@each_loss
def test_order_of_the_batch_does_not_matter(name: str) -> None:
    z, latlon = make_case("tied", 60)
    latlon[20:40] = latlon[:20]
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    value, gradient = value_and_gradient(LOSSES[name][0](), z, latlon)
    permuted, by_permuted = value_and_gradient(LOSSES[name][0](), z[order], latlon[order])
    assert value == pytest.approx(permuted, rel=1e-12)
    np.testing.assert_allclose(gradient[order], by_permuted, atol=1e-9 * np.abs(gradient).max())


@each_loss
def test_a_pole_is_one_place_and_so_is_a_point_on_the_antimeridian(name: str) -> None:
    z, latlon = make_case("random", 30)
    renamed = latlon.clone()
    for row in range(30):
        if abs(latlon[row, 0]) == 90:
            renamed[row, 1] = 77.0
        elif abs(latlon[row, 1]) == 180:
            renamed[row, 1] *= -1
    assert not torch.equal(latlon, renamed)
    loss = LOSSES[name][0]()
    assert float(loss(z, renamed)) == pytest.approx(float(loss(z, latlon)), rel=1e-12)


@each_loss
@pytest.mark.parametrize("budget", [1, 100, 333])
def test_chunks_give_the_same(name: str, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case("random", 50)
    whole, gradient = value_and_gradient(LOSSES[name][0](), *case)
    monkeypatch.setattr(pairs, "CHUNK_PAIRS_CPU", budget)
    value, by_chunks = value_and_gradient(LOSSES[name][0](), *case)
    assert value == pytest.approx(whole, rel=1e-12)
    np.testing.assert_allclose(by_chunks, gradient, atol=1e-12 * np.abs(gradient).max())


@each_loss
def test_upstream_gradient_and_no_gradient(name: str) -> None:
    z, latlon = make_case("random", 20)
    loss = LOSSES[name][0]()
    value, gradient = value_and_gradient(loss, z, latlon)
    z.requires_grad_()
    (3 * loss(z, latlon)).backward()
    torch.testing.assert_close(z.grad, torch.from_numpy(3 * gradient))
    with torch.no_grad():
        found = loss(z, latlon)
    assert found.item() == value and not found.requires_grad


@each_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_and_autocast_compute_exactly(name: str, dtype: torch.dtype) -> None:
    z, latlon = make_case("random", 64)
    z = z.to(dtype)
    exact = LOSSES[name][0]()(z.double(), latlon)
    with torch.autocast("cpu", torch.bfloat16):
        found = LOSSES[name][0]()(z, latlon)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(exact.item(), rel=1e-6)


@each_loss
def test_no_pair_in_range_gives_zero_and_no_gradient(name: str) -> None:
    z, _ = make_case("random", 6)
    latlon = torch.stack((torch.zeros(6), 30.0 * torch.arange(6)), dim=1)
    loss = LOSSES[name][0](max_km=0.001)
    value, gradient = value_and_gradient(loss, z, latlon)
    assert value == 0 and not gradient.any()
    assert loss.diagnostics(latlon)["pairs_in_range"] == 0


@each_loss
def test_waits_for_no_device(name: str) -> None:
    # On the meta device there are no values: whatever needs one on the host fails.
    z = torch.zeros(9, 4, device="meta", requires_grad=True)
    LOSSES[name][0]()(z, torch.zeros(9, 2, device="meta", dtype=torch.float64)).backward()
    assert z.grad is not None and z.grad.shape == (9, 4)


@each_loss
def test_nan_shows(name: str) -> None:
    z, latlon = make_case("random", 6)
    z[2] = float("nan")
    assert LOSSES[name][0](max_km=20100.0)(z, latlon).isnan()


def test_share_of_pairs_in_range() -> None:
    latlon = torch.tensor([[0.0, 0], [0, 0], [0, 1], [0, 90]])  # 0, 111 and 10,000 km apart
    share = GeoRankLoss(max_km=3000).diagnostics(latlon)["pairs_in_range"]
    assert float(share) == pytest.approx(6 / 12)
    share = GeoRankLoss(min_km=50, max_km=3000).diagnostics(latlon)["pairs_in_range"]
    assert float(share) == pytest.approx(4 / 12)


def as_lists(values: torch.Tensor) -> list[list[float]]:
    return values.tolist()


def as_list_of_tensors(values: torch.Tensor) -> list[torch.Tensor]:
    return list(values)


@each_loss
@pytest.mark.parametrize("positions", [torch.Tensor.numpy, as_lists, as_list_of_tensors])
@pytest.mark.parametrize("embeddings", [torch.Tensor.numpy, as_lists, as_list_of_tensors])
def test_arrays_and_lists_are_taken_as_tensors_are(
    name: str, embeddings: Callable[..., Any], positions: Callable[..., Any]
) -> None:
    z, latlon = make_case("random", 12)
    found = LOSSES[name][0]()(embeddings(z), positions(latlon))
    assert torch.equal(found, LOSSES[name][0]()(z, latlon)) and not found.requires_grad


@each_loss
def test_a_list_of_tensors_keeps_its_gradients(name: str) -> None:
    z, latlon = make_case("random", 12)
    _, expected = value_and_gradient(LOSSES[name][0](), z, latlon)
    z.requires_grad_()
    LOSSES[name][0]()(list(z), latlon).backward()
    assert z.grad is not None and np.array_equal(z.grad.numpy(), expected)


@each_loss
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_of_any_float_that_cannot_be_written_to(name: str, dtype: Any) -> None:
    z, latlon = (values.numpy().astype(dtype) for values in make_case("random", 12))
    latlon = latlon.clip(-180, 180)
    z.setflags(write=False), latlon.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = LOSSES[name][0]()(z, latlon)
    exact = LOSSES[name][0]()(z.astype(np.float64), latlon.astype(np.float64))
    assert found.item() == pytest.approx(exact.item(), rel=1e-6)
    whole = [(48, 11), (52, 13), (41, 12)]
    assert torch.equal(LOSSES[name][0]()(z[:3], whole), LOSSES[name][0]()(z[:3], np.array(whole)))


@each_loss
def test_positions_of_a_device_are_looked_at_for_their_shape_alone(name: str) -> None:
    z = torch.zeros(9, 4, device="meta")
    with pytest.raises(UsageError, match=r"needs embeddings .*\(9, 4\) and \(9, 3\)"):
        LOSSES[name][0]()(z, torch.zeros(9, 3, device="meta"))
    # Positions on the CPU move to the embeddings, and are checked before.
    assert LOSSES[name][0]()(z, [(0.0, 0.0)] * 9).device.type == "meta"
    with pytest.raises(UsageError, match="look swapped"):
        LOSSES[name][0]()(z, [(151.2, -33.8)] * 9)


@each_loss
@pytest.mark.parametrize(
    ("z", "latlon", "message"),
    [
        ([[1.0, 2.0], [3.0]], [(0, 0)] * 2, "embeddings must be a tensor, an array or a list"),
        (torch.ones(2, 4), ["48 N", "52 N"], "latlon must be a tensor, an array or a list"),
        (torch.ones(2, 4), [], r"not \(2, 4\) and \(0,\)"),
        (torch.ones(3, 4), torch.zeros(2, 3), r"not \(3, 4\) and \(2, 3\)"),
        (torch.ones(3, 4), torch.zeros(3, 3), "a latitude and a longitude for each"),
        (torch.ones(4), torch.zeros(4, 2), "needs embeddings"),
        (torch.ones(2, 4), [(-120.0, 30.0), (100.0, 20.0)], "look swapped"),
        (torch.ones(1, 4), torch.zeros(1, 2), "batch of 2 or more"),
        (torch.ones(3, 4), torch.zeros(2, 2), "needs embeddings"),
        (torch.ones(3, 4), torch.tensor([[0.0, 0], [float("nan"), 0], [0, 0]]), "row 1: lat nan"),
        (torch.ones(2, 4), torch.tensor([[151.2, -33.8], [139.6, 35.6]]), "look swapped"),
        (torch.ones(2, 4), torch.tensor([[10.0, 200.0], [0, 0]]), r"\[-180, 180\]"),
    ],
)
def test_bad_input(name: str, z: torch.Tensor, latlon: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LOSSES[name][0]()(z, latlon)


@each_loss
@pytest.mark.parametrize(
    "settings", [{"temperature": 0.0}, {"min_km": 5.0, "max_km": 5.0}, {"margin": -1.0}]
)
def test_bad_settings(name: str, settings: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="Geo"):
        LOSSES[name][0](**settings)
