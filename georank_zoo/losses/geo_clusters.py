"""K-means clusters of places on the globe."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from georank_zoo.geo import unit_vectors
from georank_zoo.utils.errors import UsageError
from georank_zoo.utils.files import cache_folder, new_file


def fit_clusters(latlon: torch.Tensor, clusters: int) -> torch.Tensor:
    """Centers of places by k-means on the unit sphere, where date line and poles are no borders.

    The same places give the same centers. They are kept in `cache_folder()` under a hash of the
    positions, so that runs on one store share them.

    Args:
        latlon: Positions (P, 2) in degrees.
        clusters: Number of clusters.

    Returns:
        Centers (clusters, 3), float64, inside the unit sphere; a place belongs to the nearest.

    Raises:
        UsageError: If there are fewer different places than clusters.
    """
    points = torch.unique(unit_vectors(latlon.cpu()), dim=0)
    if len(points) < clusters:
        raise UsageError(f"{clusters} clusters need as many places; there are {len(points)}.")
    digest = hashlib.sha256(points.numpy().tobytes()).hexdigest()[:16]
    path = cache_folder() / f"clusters-{clusters}-{digest}.safetensors"
    centers = _read(path, clusters)
    if centers is None:
        centers = _fit(points, clusters)
        _write(path, centers)
    return centers


def nearest_cluster(latlon: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    """Number of the nearest of the centers (k, 3) for each position (N, 2): int64 (N,)."""
    return torch.cdist(unit_vectors(latlon).to(centers), centers).argmin(dim=1)


def _fit(points: torch.Tensor, clusters: int) -> torch.Tensor:
    from sklearn.cluster import KMeans  # half a second to import, and few runs need it

    fitted = KMeans(clusters, n_init=10, random_state=0).fit(points.numpy())
    return torch.from_numpy(fitted.cluster_centers_)


def _read(path: Path, clusters: int) -> torch.Tensor | None:
    try:
        centers = load_file(path)["centers"]
    except (OSError, KeyError, SafetensorError):
        return None  # not there or damaged: fitted again
    valid = centers.shape == (clusters, 3) and bool(centers.isfinite().all())
    return centers if valid else None


def _write(path: Path, centers: torch.Tensor) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(path) as temporary:
            save_file({"centers": centers}, temporary)
    except OSError:
        return  # a home that cannot be written costs the seconds of another fit
