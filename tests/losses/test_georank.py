"""GeoRank: the published implementation's numbers, and what the loss is for."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from georank_zoo import GeoRankLoss
from georank_zoo.utils.errors import UsageError


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


def test_perfect_order_costs_nothing() -> None:
    # Along the equator similarity falls with distance, in every row.
    angle = torch.rand(12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = torch.stack((angle.cos(), angle.sin()), dim=1)
    latlon = torch.stack((torch.zeros_like(angle), torch.rad2deg(angle) / 4), dim=1)
    loss = GeoRankLoss(strength=1e-9, margin=0.0)
    assert loss(z, latlon).item() == pytest.approx(0, abs=1e-12)
    assert loss(z, latlon.flip(0)).item() > 0.1


@pytest.mark.parametrize("count", [100, 400])
def test_random_order_costs_what_the_docstring_says(count: int) -> None:
    z, latlon = random_case(count)
    assert GeoRankLoss()(z, latlon).item() == pytest.approx(count**0.5 / 2, rel=0.15)
    assert GeoRankLoss(distance="l1")(z, latlon).item() == pytest.approx(count / 2, rel=0.15)


def test_descending_the_loss_orders_the_embeddings() -> None:
    from georank_zoo.training.diagnostics import geo_spearman

    z, latlon = random_case(48, seed=5)
    z = z.float().requires_grad_()
    loss, optimizer = GeoRankLoss(strength=0.05, max_km=20100), torch.optim.Adam([z], lr=0.02)
    before = geo_spearman(z, latlon)
    for _ in range(150):
        optimizer.zero_grad()
        loss(z, latlon).backward()
        optimizer.step()
    assert before < 0.2 and geo_spearman(z, latlon) > 0.6


@pytest.mark.parametrize(
    "settings",
    [
        {"strength": -1.0},
        {"distance": "huber"},
    ],
)
def test_bad_settings(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="GeoRank"):
        GeoRankLoss(**settings)
