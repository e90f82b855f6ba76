"""Slow accounts of the losses, row by row in float64 numpy, with their gradients by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.isotonic import isotonic_regression

RADIUS_KM = 6371.0088


def haversine_km(latlon: np.ndarray) -> np.ndarray:
    """Great-circle distances (B, B) of positions (B, 2) in degrees."""
    lat, lon = np.radians(latlon).T
    h = (
        np.sin((lat[:, None] - lat) / 2) ** 2
        + np.cos(lat[:, None]) * np.cos(lat) * np.sin((lon[:, None] - lon) / 2) ** 2
    )
    return 2 * RADIUS_KM * np.arcsin(np.sqrt(np.clip(h, 0, 1)))


def soft_rank_blocks(row: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Soft ranks of a row and, for each entry, the number of its block.

    Projection onto the permutahedron from its definition: sort, isotonic regression, unsort.
    """
    scaled = row / strength
    order = np.argsort(-scaled, kind="stable")
    dual = isotonic_regression(scaled[order] - np.arange(len(row), 0, -1.0), increasing=False)
    ranks, block = np.empty_like(scaled), np.empty(len(row), dtype=int)
    ranks[order] = scaled[order] - dual
    block[order] = np.cumsum(np.r_[0, np.diff(dual) != 0])
    return ranks, block


def _gradient(z: np.ndarray, unit: np.ndarray, by_cosine: np.ndarray) -> np.ndarray:
    """From the derivative by the cosines (B, B) to that by the embeddings (B, D)."""
    by_unit = by_cosine @ unit + by_cosine.T @ unit
    radial = (by_unit * unit).sum(axis=1, keepdims=True)
    return (by_unit - radial * unit) / np.linalg.norm(z, axis=1, keepdims=True)


def georank(z: np.ndarray, latlon: np.ndarray, **settings: Any) -> tuple[float, np.ndarray]:
    """The rank loss and its gradient, from the steps in which the paper gives it."""
    count, n = len(z), len(z) - 1
    tau = settings.get("temperature", 0.04)
    strength = settings.get("strength") or 0.4 / (tau * count)
    low, high = settings.get("min_km", 0.0), settings.get("max_km", 3000.0)
    square = settings.get("distance", "mse") == "mse"
    kappa = np.linalg.norm(np.arange(1, n + 1))
    free = settings.get("margin", 1.0) / kappa
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    km = haversine_km(latlon)
    total, pairs = 0.0, 0
    by_cosine = np.zeros((count, count))
    for i in range(count):
        others = np.delete(np.arange(count), i)
        ranks, block = soft_rank_blocks(unit[others] @ unit[i] / tau, strength)
        x, y = count - ranks, rankdata(np.round(km[i, others], 7))
        size = np.linalg.norm(x)
        deviation = x / size - y / np.linalg.norm(y)
        in_range = (km[i, others] >= low) & (km[i, others] <= high)
        element = deviation**2 if square else np.abs(deviation)
        kept = in_range & (element > (free**2 if square else free))
        total, pairs = total + element[kept].sum(), pairs + in_range.sum()
        by_x = np.where(kept, 2 * deviation if square else np.sign(deviation), 0.0)
        by_x = (by_x - x / size * (by_x @ x) / size) / size
        mean = np.bincount(block, by_x) / np.bincount(block)
        by_cosine[i, others] = -(by_x - mean[block]) / strength / tau
    scale = kappa / max(pairs, 1)
    return scale * total, scale * _gradient(z, unit, by_cosine)


def geobasic(z: np.ndarray, latlon: np.ndarray, **settings: Any) -> tuple[float, np.ndarray]:
    """The regularizer of GeoBasic and its gradient."""
    tau, spacing = settings.get("temperature", 0.04), settings.get("spacing", 0.1)
    low, high = settings.get("min_km", 0.0), settings.get("max_km", 8000.0)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    km = haversine_km(latlon)
    deviation = (1 - unit @ unit.T) / tau - spacing / tau - km / high / tau
    in_range = (km >= low) & (km <= high) & ~np.eye(len(z), dtype=bool)
    kept = in_range & (deviation**2 > (settings.get("margin", 0.1) / tau) ** 2 * (1 + 1e-9))
    pairs = max(in_range.sum(), 1)
    value = (deviation**2)[kept].sum() / pairs
    return value, _gradient(z, unit, np.where(kept, -2 * deviation / tau, 0.0) / pairs)


def haversine(a, b):
    """Great-circle distances (N, M) in km, by the textbook's formula."""
    (lat_a, lon_a), (lat_b, lon_b) = np.radians(a).T, np.radians(b).T
    d_lat, d_lon = lat_a[:, None] - lat_b, lon_a[:, None] - lon_b
    h = np.sin(d_lat / 2) ** 2
    h += np.cos(lat_a)[:, None] * np.cos(lat_b) * np.sin(d_lon / 2) ** 2
    return 2 * 6371.0088 * np.arcsin(np.sqrt(np.minimum(h, 1)))
