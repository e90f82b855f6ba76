"""Triplet loss of Tile2Vec: embeddings of near places are nearer than those of far ones."""

from __future__ import annotations

import torch

from georank_zoo.geo import chord_of_km, chords, exact_dtype, unit_vectors
from georank_zoo.utils import distributed


def geo_triplet(
    embeddings: torch.Tensor,
    latlon: torch.Tensor,
    uniform: torch.Tensor,
    *,
    margin: float = 1.0,
    positive_km: float = 15.0,
    negative_km: float = 50.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Triplet loss of a batch: an anchor lies nearer to its positive than to its negative.

        loss = mean over anchors a of max(0, margin + |z_a - z_positive| - |z_a - z_negative|)

    Anchors are the samples that have both, a positive within `positive_km`, but not at the same
    position, and a negative beyond `negative_km`. The two random numbers of an anchor choose among
    its positives and its negatives, all equally likely. Source: Jean et al. 2019, "Tile2Vec",
    equation 1.

    In a distributed run positives and negatives come from the batches of all processes, each
    process takes its own anchors, and the mean of the processes' losses and gradients (what DDP
    forms) is that of one process with the joined batch. All processes must bring batches of one
    size.

    Args:
        embeddings: (B, D), not normalized.
        latlon: Positions (B, 2) in degrees.
        uniform: Random numbers (B, 2) in [0, 1) for positive and negative, on any device.
        margin: Least lead of the positive, in the unit of the embeddings.
        positive_km: Largest distance of a positive.
        negative_km: Distance beyond which negatives lie.

    Returns:
        Scalar loss, 0 with gradient 0 where there is no anchor, and the share of this process's
        samples that are anchors.
    """
    points = unit_vectors(latlon.to(embeddings.device, exact_dtype(embeddings.device)))
    everyone, all_points = distributed.gather(embeddings), distributed.gather(points)
    # Equal positions are exactly 0 apart, a sample and itself among them.
    chord = chords(points, all_points)
    near = (chord > 0) & (chord <= chord_of_km(positive_km))
    far = chord > chord_of_km(negative_km)
    anchor = near.any(dim=1) & far.any(dim=1)
    by_positive, by_negative = uniform.to(chord.device, chord.dtype).unbind(1)
    positive = everyone[_pick(near, by_positive)]
    negative = everyone[_pick(far, by_negative)]
    difference = torch.linalg.vector_norm(embeddings - positive, dim=1)
    difference = difference - torch.linalg.vector_norm(embeddings - negative, dim=1)
    hinge = torch.where(anchor, (margin + difference).clamp(min=0), 0.0)
    anchors = distributed.all_sum(anchor.sum()).clamp(min=1)
    # Over all processes; DDP's mean of the gradients makes up for the factor.
    loss = hinge.sum() * distributed.world()[0] / anchors
    return loss, anchor.float().mean()


def _pick(mask: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """A column (R,) of each row where the mask (R, N) is set; 0 where it is set nowhere."""
    count = mask.sum(dim=1)
    wanted = torch.minimum((uniform * count).floor().long(), count - 1) + 1
    chosen = mask & (mask.cumsum(dim=1) == wanted[:, None])
    return chosen.to(torch.uint8).argmax(dim=1)
