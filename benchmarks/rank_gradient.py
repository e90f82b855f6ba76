"""How much of a gradient the rank loss gives, by regularisation strength and batch size.

For embeddings of real patches (a trained run's projection head, and the same network before
training) and for each batch size and strength:

- `reached`: share of the pairs whose soft rank depends on more than its own block of one, that
  is, that get a gradient at all;
- `gradient_norm`: norm of the loss's gradient with respect to the unit embeddings;
- `spearman_gain`: change of Spearman's correlation between similarity and nearness after one
  step against the gradient, all steps of equal length: how well the gradient points.

    python benchmarks/rank_gradient.py RUN STORE --out benchmarks/results/rank_gradient.csv
"""

from __future__ import annotations

import argparse
import csv
import math
from datetime import date
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from georank_zoo import GeoRankLoss, PatchStore, bands, build, checkpoints
from georank_zoo.diagnostics import geo_spearman
from georank_zoo.environment import versions
from georank_zoo.ranking import soft_rank
from georank_zoo.run import Run

BATCHES = (128, 256, 512)
STRENGTHS = (1e-4, 1e-3, 4e-3, 0.01, 0.02, 0.04, 0.08, 0.16, 0.5, 2.0)
STEP = 0.02  # length of the step per sample, on the unit sphere
DRAWS = 5  # batches that each row is the mean over


@torch.inference_mode()
def embed(run: Run, store: PatchStore, samples: np.ndarray, *, trained: bool) -> torch.Tensor:
    """Unit projections (N, D) of patches, by the trained network or as it was initialised."""
    algorithm = build.build_algorithm(run.recipe)
    if trained:
        checkpoints.load_algorithm(run.checkpoint(), algorithm)
    algorithm.eval()
    parts = []
    for part in np.array_split(samples, math.ceil(len(samples) / 128)):
        dn = torch.from_numpy(store.read(part, run.recipe.bands))
        z = bands.standardize(bands.to_reflectance(dn, "dn"), run.facts["mean"], run.facts["std"])
        parts.append(F.normalize(algorithm.projector(algorithm.backbone(z)), dim=1))
    return torch.cat(parts).clone()


def measure(z: torch.Tensor, latlon: torch.Tensor, strength: float) -> dict[str, float]:
    """One row's figures for one batch of unit embeddings."""
    z = z.clone().requires_grad_()
    loss_of = GeoRankLoss(strength=strength)
    loss = loss_of(z, latlon)
    (gradient,) = torch.autograd.grad(loss, z)
    off_diagonal = ~torch.eye(len(z), dtype=torch.bool)
    with torch.no_grad():
        similarity = (z @ z.T)[off_diagonal].view(len(z), -1).double() / loss_of.temperature
    similarity.requires_grad_()
    ranks = soft_rank(similarity, strength)
    (jacobian,) = torch.autograd.grad(ranks, similarity, torch.randn_like(ranks))
    with torch.no_grad():
        step = -gradient / gradient.norm().clamp(min=1e-12) * STEP * math.sqrt(len(z))
        gain = geo_spearman(z + step, latlon) - geo_spearman(z, latlon)
    return {
        "spread": float((similarity.detach() * loss_of.temperature).std()),
        "loss": float(loss.detach()),
        "reached": float((jacobian != 0).double().mean()),
        "gradient_norm": float(gradient.norm()),
        "spearman_gain": float(gain),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run of a MoCo recipe")
    parser.add_argument("store", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/rank_gradient.csv"))
    arguments = parser.parse_args()
    torch.manual_seed(0)
    run, store = Run.open(arguments.run), PatchStore(arguments.store)
    first = np.unique(store.place, return_index=True)[1]
    latlon = torch.from_numpy(store.latlon[first])
    stamp = {
        "date": date.today().isoformat(),
        "store": store.hash[:12],
        "torch": versions()["torch"],
    }
    rows = []
    for name, trained in (("trained", True), ("random", False)):
        everything = embed(run, store, first, trained=trained)
        for batch in BATCHES:
            draws = [np.random.default_rng(i).permutation(len(first))[:batch] for i in range(DRAWS)]
            for strength in STRENGTHS:
                found = [measure(everything[d], latlon[d], strength) for d in draws]
                means = {key: np.mean([row[key] for row in found]) for key in found[0]}
                rounded = {key: float(f"{value:.4g}") for key, value in means.items()}
                rows.append({"network": name, "batch": batch, "strength": strength, **rounded})
                print(rows[-1])
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], *stamp])
        writer.writeheader()
        writer.writerows({**row, **stamp} for row in rows)
    arguments.out.with_suffix(".md").write_text(table(rows))


def table(rows: list[dict[str, object]]) -> str:
    """Share of the pairs reached and gain per step, as a Markdown table."""
    heads = [f"{network}, B = {batch}" for network in ("trained", "random") for batch in BATCHES]
    lines = [
        "Each cell: share of the pairs that get a gradient / Spearman gain of one step.\n",
        f"| strength | {' | '.join(heads)} |",
        "|---|" + "---|" * len(heads),
    ]
    for strength in STRENGTHS:
        cells = [
            f"{row['reached']:.2f} / {row['spearman_gain']:.3f}"
            for row in rows
            if row["strength"] == strength
        ]
        lines.append(f"| {strength:g} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
