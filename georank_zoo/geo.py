"""Positions on the globe: checks and great-circle distances."""

from __future__ import annotations

import math

import torch

from georank_zoo.utils.degrees import check_degrees
from georank_zoo.utils.errors import UsageError

EARTH_RADIUS_KM = 6371.0088  # mean radius (IUGG), as in the published implementation


def exact_dtype(device: torch.device) -> torch.dtype:
    """float64, or float32 on devices that have no float64 (Apple's MPS)."""
    return torch.float32 if device.type == "mps" else torch.float64


def check_latlon(latlon: torch.Tensor, *, where: str = "latlon") -> None:
    """Refuses positions that are not WGS84 latitude and longitude in degrees.

    Args:
        latlon: Positions (N, 2): latitude in [-90, 90], longitude in [-180, 180].
        where: Name of what holds them, for the message.

    Raises:
        UsageError: On a wrong shape, NaN or a value out of range; says when latitude and
            longitude look swapped.
    """
    if latlon.ndim != 2 or latlon.shape[1] != 2:
        raise UsageError(f"{where} must have shape (N, 2), not {tuple(latlon.shape)}.")
    check_degrees(latlon.detach().cpu().double().numpy(), where=where)


def unit_vectors(latlon: torch.Tensor) -> torch.Tensor:
    """Points on the unit sphere (N, 3) from positions (N, 2) in degrees, in `exact_dtype`."""
    lat, lon = torch.deg2rad(latlon.to(exact_dtype(latlon.device))).unbind(1)
    return torch.stack((lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()), dim=1)


def chords(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Straight-line distances (N, M), in Earth radii, between unit vectors (N, 3) and (M, 3).

    They order pairs as great-circle distances do, without trigonometry. They are computed from
    differences: products confuse places that are closer than a hundred meters.
    """
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def chord_of_km(km: float) -> float:
    """Chord in Earth radii of a great-circle distance in km; infinite beyond half the equator."""
    angle = km / EARTH_RADIUS_KM
    return 2 * math.sin(angle / 2) if angle <= math.pi else math.inf


def km_of_chord(chord: torch.Tensor) -> torch.Tensor:
    """Great-circle distances in km of chords in Earth radii."""
    return 2 * EARTH_RADIUS_KM * torch.asin((chord / 2).clamp_(max=1))


def great_circle_km(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Great-circle distances between two sets of positions, on a sphere of the mean radius.

    Args:
        a: Positions (N, 2) as latitude, longitude in degrees.
        b: Positions (M, 2).

    Returns:
        Distances (N, M) in km, in float64 where the device has it: float32 confuses places
        that are closer than a few hundred meters.
    """
    return km_of_chord(chords(unit_vectors(a), unit_vectors(b)))
