"""GeoRank: the published implementation's numbers, an oracle, invariants, bad input."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from scipy.stats import rankdata

from georank_zoo import GeoRankLoss
from georank_zoo.errors import UsageError
from tests.test_ranking import slow_soft_rank


def haversine_km(a: np.ndarray, b: np.ndarray) -> float:
    (lat1, lon1), (lat2, lon2) = np.radians(a), np.radians(b)
    h = (
        math.sin((lat2 - lat1) / 2) ** 2
        + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    )
    return 2 * 6371.0088 * math.asin(math.sqrt(min(1.0, h)))


def slow_georank(z: np.ndarray, latlon: np.ndarray, **settings: float | str) -> float:
    """The loss, pair by pair, from the steps in which the paper gives it."""
    tau, strength = settings.get("temperature", 0.04), settings.get("strength", 10 / len(z))
    low, high = settings.get("min_km", 0.0), settings.get("max_km", 3000.0)
    count, n = len(z), len(z) - 1
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    kappa = np.linalg.norm(np.arange(1, n + 1))
    kept: list[float] = []
    for i in range(count):
        others = [j for j in range(count) if j != i]
        ranks = count - slow_soft_rank(np.array([z[i] @ z[j] / tau for j in others]), strength)
        km = np.array([haversine_km(latlon[i], latlon[j]) for j in others])
        order = rankdata(km)
        x, y = ranks / np.linalg.norm(ranks), order / np.linalg.norm(order)
        for a, b, d in zip(x, y, km, strict=True):
            if low <= d <= high:
                square = settings.get("distance", "mse") == "mse"
                element = (a - b) ** 2 if square else abs(a - b)
                free = settings.get("margin", 1.0) / kappa
                kept.append(element if element > (free**2 if square else free) else 0.0)
    return float(kappa * np.mean(kept)) if kept else 0.0


def random_case(count: int, dim: int = 16, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(count, dim, dtype=torch.float64, generator=generator)
    uniform = torch.rand(count, 2, dtype=torch.float64, generator=generator)
    return z, torch.stack((uniform[:, 0] * 180 - 90, uniform[:, 1] * 360 - 180), dim=1)


def test_equals_the_published_implementation(real_data: Path) -> None:
    path = real_data.parent / "fixtures" / "georank_reference.safetensors"
    with safe_open(path, "pt") as file:
        cases = json.loads(file.metadata()["cases"])
        for number, case in enumerate(cases):
            get = {k: file.get_tensor(f"{number:02d}.{k}") for k in ("embeddings", "latlon")}
            z = get["embeddings"].clone().requires_grad_()
            loss = GeoRankLoss(
                temperature=case["temperature"],
                strength=case["strength"],
                min_km=case["min_km"],
                max_km=case["max_km"],
                margin=case["margin"],
                distance=case["loss_type"],
            )(z, get["latlon"])
            loss.backward()
            expected, gradient = (file.get_tensor(f"{number:02d}.{k}") for k in ("loss", "grad"))
            assert abs(loss.item() - expected.item()) < 1e-9, case
            assert (z.grad - gradient).abs().max() < 1e-9, case
        assert len(cases) == 12


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"strength": 0.5, "temperature": 0.1},
        {"distance": "l1", "margin": 0.0},
        {"min_km": 500.0, "max_km": 9000.0, "margin": 4.0, "strength": 0.05},
    ],
)
@pytest.mark.parametrize("count", [2, 3, 20])
def test_equals_the_slow_oracle(settings: dict[str, float], count: int) -> None:
    z, latlon = random_case(count)
    latlon[0] = torch.tensor([90.0, 10.0])  # a pole
    latlon[1] = torch.tensor([5.0, 180.0])
    if count > 4:
        latlon[2] = torch.tensor([5.0, -179.9])  # near the one before, over the antimeridian
        latlon[4] = latlon[3]  # two dates of one place
    expected = slow_georank(z.numpy(), latlon.numpy(), **settings)
    assert GeoRankLoss(**settings)(z, latlon).item() == pytest.approx(expected, abs=1e-9)


def test_gradcheck() -> None:
    z, latlon = random_case(7, dim=3)
    loss = GeoRankLoss(strength=0.5, max_km=20100, margin=0.0)
    assert torch.autograd.gradcheck(lambda x: loss(x, latlon), z.requires_grad_(), eps=1e-7)


def test_order_of_the_batch_does_not_matter() -> None:
    z, latlon = random_case(40)
    latlon[10:20] = latlon[:10]  # ties
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    loss = GeoRankLoss(strength=0.1)
    assert loss(z, latlon).item() == pytest.approx(loss(z[order], latlon[order]).item(), abs=1e-12)


def test_perfect_order_costs_nothing() -> None:
    # Along the equator similarity falls with distance, in every row.
    angle = torch.rand(12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = torch.stack((angle.cos(), angle.sin()), dim=1)
    latlon = torch.stack((torch.zeros_like(angle), torch.rad2deg(angle) / 4), dim=1)
    loss = GeoRankLoss(strength=1e-9, margin=0.0)
    assert loss(z, latlon).item() == pytest.approx(0, abs=1e-12)
    assert loss(z, latlon.flip(0)).item() > 0.1


def test_descending_the_loss_orders_the_embeddings() -> None:
    from georank_zoo.diagnostics import geo_spearman

    z, latlon = random_case(48, seed=5)
    z = z.float().requires_grad_()
    loss, optimizer = GeoRankLoss(strength=0.05, max_km=20100), torch.optim.Adam([z], lr=0.02)
    before = geo_spearman(z, latlon)
    for _ in range(150):
        optimizer.zero_grad()
        loss(z, latlon).backward()
        optimizer.step()
    assert before < 0.2 and geo_spearman(z, latlon) > 0.6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_low_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    z, latlon = random_case(64)
    z = z.to(dtype)
    exact = GeoRankLoss(strength=0.1)(z.double(), latlon)
    with torch.autocast("cpu", torch.bfloat16):
        found = GeoRankLoss(strength=0.1)(z, latlon)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(exact.item(), rel=1e-5)


def test_no_pair_in_range_gives_zero_and_no_gradient() -> None:
    z, latlon = random_case(6)
    z.requires_grad_()
    loss = GeoRankLoss(max_km=0.001)(z, latlon)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(z.grad, torch.zeros_like(z))


@pytest.mark.parametrize(
    ("z", "latlon", "message"),
    [
        (torch.ones(1, 4), torch.zeros(1, 2), "batch of 2 or more"),
        (torch.ones(3, 4), torch.zeros(2, 2), "needs embeddings"),
        (torch.ones(3, 4), torch.tensor([[0.0, 0], [float("nan"), 0], [0, 0]]), "row 1: lat nan"),
        (torch.ones(2, 4), torch.tensor([[151.2, -33.8], [139.6, 35.6]]), "look swapped"),
        (torch.ones(2, 4), torch.tensor([[10.0, 200.0], [0, 0]]), r"\[-180, 180\]"),
    ],
)
def test_bad_input(z: torch.Tensor, latlon: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GeoRankLoss()(z, latlon)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.0},
        {"strength": -1.0},
        {"min_km": 5.0, "max_km": 5.0},
        {"margin": -1.0},
        {"distance": "huber"},
    ],
)
def test_bad_settings(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="GeoRank"):
        GeoRankLoss(**settings)
