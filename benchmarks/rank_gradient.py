"""How hard the ranks are, and how large and how well aligned the rank loss's gradient is.

For embeddings of real patches (a trained run's projection head, and the same network before
training), by regularization strength, temperature, batch size and spread of the similarities:

- `block`: mean size of the block that a pair shares its soft rank with; 1 are hard ranks;
- `reached`: share of the pairs that get a gradient, those in blocks of more than one;
- `gradient_norm`: of the loss with respect to the unit embeddings;
- `cosine`: of the step against that gradient with the gradient of Spearman's correlation between
  similarity and nearness. Exact ranks are steps, so this is that of the correlation expected
  under noise of a tenth of a row's standard deviation, in closed form;
- `spearman_gain`: change of the exact correlation after one step of fixed length against the
  gradient.

    python benchmarks/rank_gradient.py RUN STORE --out benchmarks/results/rank_gradient.csv
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rank_loss_rivals import without_diagonal

from georank_zoo import GeoRankLoss, PatchStore, bands
from georank_zoo.geo import great_circle_km
from georank_zoo.losses.soft_rank import average_rank, soft_rank
from georank_zoo.training import build, checkpoints
from georank_zoo.training.diagnostics import geo_spearman
from georank_zoo.training.run import Run, open_run
from georank_zoo.utils.environment import versions

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
NOISE = 0.1  # standard deviation of the noise on a row's similarities, in its own
STEP = 0.02  # length of the step per sample, on the unit sphere
DRAWS = 5  # batches that each row is the mean over


@dataclass(frozen=True)
class Setting:
    """One line of the study: what the strengths are tried on.

    Attributes:
        network: `trained` or `random`.
        batch: Samples that are ranked.
        temperature: Of the rank loss.
        shrink: Factor by which embeddings are drawn to their mean, which narrows the spread.
    """

    network: str = "trained"
    batch: int = 256
    temperature: float = 0.04
    shrink: float = 1.0


# One axis at a time, from the paper's temperature and a middling batch.
SETTINGS = [
    *(Setting(batch=batch) for batch in (64, 128, 256, 512, 1024)),
    *(Setting(temperature=temperature) for temperature in (0.01, 0.1, 0.4)),
    *(Setting(shrink=shrink) for shrink in (0.3, 0.1)),
    *(Setting(network="random", batch=batch) for batch in (128, 256, 512)),
]


@torch.inference_mode()
def embed(run: Run, store: PatchStore, samples: np.ndarray, *, trained: bool) -> torch.Tensor:
    """Unit projections (N, D) of patches, by the trained network or as it was initialized."""
    algorithm = build.build_algorithm(run.recipe, build.build_views(run.recipe))
    if trained:
        checkpoints.load_algorithm(run.checkpoint(), algorithm, steps=None)
    algorithm.eval()
    parts = []
    for part in np.array_split(samples, math.ceil(len(samples) / 128)):
        dn = torch.from_numpy(store.read(part, run.recipe.bands))
        z = bands.standardize(bands.to_reflectance(dn, "dn"), run.facts["mean"], run.facts["std"])
        parts.append(F.normalize(algorithm.projector(algorithm.backbone(z)), dim=1))
    return torch.cat(parts).double().clone()


def spearman_gradient(z: torch.Tensor, latlon: torch.Tensor) -> torch.Tensor:
    """Gradient (B, D) of the expected Spearman correlation under noise on the similarities.

    With noise of standard deviation s, entry j's expected rank is 1/2 + sum_k Phi((x_j - x_k) /
    (s sqrt 2)); the correlation is linear in the ranks where these have no ties.
    """
    z = z.clone().requires_grad_()
    similarity = without_diagonal(z @ z.T)
    nearness = average_rank(-without_diagonal(great_circle_km(latlon, latlon)))
    nearness = F.normalize(nearness - nearness.mean(dim=1, keepdim=True), dim=1)
    with torch.no_grad():
        by_similarity = torch.empty_like(similarity)
        for row, (x, weight) in enumerate(zip(similarity, nearness, strict=True)):
            scale = NOISE * x.std() * math.sqrt(2)
            density = torch.exp(-(((x[:, None] - x) / scale) ** 2) / 2)
            by_similarity[row] = (density * (weight[:, None] - weight)).sum(dim=1) / scale
    (gradient,) = torch.autograd.grad((similarity * by_similarity).sum(), z)
    return gradient


def measure(
    z: torch.Tensor, latlon: torch.Tensor, better: torch.Tensor, setting: Setting, strength: float
) -> dict[str, float]:
    """One row's figures for one batch of unit embeddings and its Spearman gradient."""
    z = z.clone().requires_grad_()
    loss = GeoRankLoss(strength=strength, temperature=setting.temperature)(z, latlon)
    (gradient,) = torch.autograd.grad(loss, z)
    with torch.no_grad():
        similarity = without_diagonal(z @ z.T) / setting.temperature
        step = -gradient / gradient.norm().clamp(min=1e-30) * STEP * math.sqrt(len(z))
        gain = geo_spearman(z + step, latlon) - geo_spearman(z, latlon)
    spread = float(similarity.std(dim=1).mean()) * setting.temperature
    similarity.requires_grad_()
    ranks = soft_rank(similarity, strength)
    probe = torch.zeros_like(ranks).bernoulli_(0.5) - 0.5
    (jacobian,) = torch.autograd.grad(ranks, similarity, probe)
    # The ranks' derivative is (1 - 1 / block) / strength on the diagonal.
    sizes = block_sizes(ranks.detach(), similarity.detach(), strength)
    return {
        "spread": spread,
        "relative_strength": strength * setting.temperature * len(z) / spread,
        "loss": float(loss.detach()),
        "block": float(sizes.mean()),
        "reached": float((jacobian != 0).double().mean()),
        "gradient_norm": float(gradient.norm()),
        "cosine": float(F.cosine_similarity(-gradient.flatten(), better.flatten(), dim=0)),
        "spearman_gain": float(gain),
    }


def block_sizes(ranks: torch.Tensor, values: torch.Tensor, strength: float) -> torch.Tensor:
    """Size of each entry's block: within one, rank - value / strength is constant."""
    offset = (ranks - values / strength).sort(dim=1).values
    opens = F.pad(offset.diff(dim=1) > 1e-6, (1, 0)).flatten()
    opens.view(offset.shape)[:, 0] = True
    counts = torch.bincount(opens.cumsum(0) - 1)
    return counts.repeat_interleave(counts).double()


def study(
    embeddings: dict[str, torch.Tensor], latlon: torch.Tensor
) -> list[dict[str, float | str]]:
    """All rows of the study."""
    rows: list[dict[str, float | str]] = []
    for setting in SETTINGS:
        batches = []
        for draw in range(DRAWS):
            chosen = np.random.default_rng(draw).permutation(len(latlon))[: setting.batch]
            z = embeddings[setting.network][chosen]
            z = F.normalize(z.mean(dim=0) + setting.shrink * (z - z.mean(dim=0)), dim=1)
            batches.append((z, latlon[chosen], spearman_gradient(z, latlon[chosen])))
        for strength in STRENGTHS:
            found = [measure(*batch, setting, strength) for batch in batches]
            means = {key: float(np.mean([row[key] for row in found])) for key in found[0]}
            rounded = {key: float(f"{value:.4g}") for key, value in means.items()}
            rows.append({**asdict(setting), "strength": strength, **rounded})
            print(rows[-1], flush=True)
    return rows


def table(rows: Sequence[dict[str, float | str]]) -> str:
    """Share of the pairs reached and alignment, as a Markdown table."""
    lines = [
        "Mean block size / share of the pairs that get a gradient / cosine with the gradient of "
        "Spearman's correlation / Spearman gain of one step.\n",
        "| network | batch | temperature | shrink | "
        + " | ".join(f"strength {strength:g}" for strength in STRENGTHS)
        + " |",
        "|---|---|---|---|" + "---|" * len(STRENGTHS),
    ]
    for setting in SETTINGS:
        own = asdict(setting)
        cells = [
            f"{row['block']:.3g} / {row['reached']:.2f} / {row['cosine']:.2f} / "
            f"{row['spearman_gain']:.3f}"
            for row in rows
            if all(row[key] == value for key, value in own.items())
        ]
        lines.append(f"| {' | '.join(map(str, own.values()))} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[dict[str, float | str]], path: Path) -> None:
    """Reach, block size, alignment and gain against strength and against strength in gaps."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = {
        "block": "mean block size, pairs",
        "reached": "share of pairs with a gradient",
        "cosine": "cosine with Spearman's gradient",
        "spearman_gain": "Spearman gain of one step",
    }
    figure, axes = plt.subplots(2, len(panels), figsize=(15, 7), layout="constrained")
    colors = plt.get_cmap("tab20").colors  # type: ignore[attr-defined]
    for setting, color in zip(SETTINGS, colors, strict=False):
        own = [r for r in rows if all(r[k] == v for k, v in asdict(setting).items())]
        label = f"B {setting.batch}, T {setting.temperature:g}"
        label += f", spread x {setting.shrink:g}" if setting.shrink != 1 else ""
        label += ", untrained" if setting.network == "random" else ""
        for line, x in zip(axes, ("strength", "relative_strength"), strict=True):
            for axis, (name, title) in zip(line, panels.items(), strict=True):
                axis.plot(
                    [r[x] for r in own],
                    [r[name] for r in own],
                    color=color,
                    marker=".",
                    linestyle="--" if setting.network == "random" else "-",
                    label=label,
                )
                axis.set(xscale="log", title=title)
                axis.grid(alpha=0.3)
                if name == "block":
                    axis.set_yscale("log")
    for axis in axes[0]:
        axis.set_xlabel("strength")
    for axis in axes[1]:
        axis.set_xlabel("strength x temperature x batch / spread")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run of a MoCo recipe")
    parser.add_argument("store", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/rank_gradient.csv"))
    arguments = parser.parse_args()
    torch.manual_seed(0)
    run, store = open_run(arguments.run), PatchStore(arguments.store)
    first = np.unique(store.footprint, return_index=True)[1]
    latlon = torch.from_numpy(store.latlon[first])
    embeddings = {
        "trained": embed(run, store, first, trained=True),
        "random": embed(run, store, first, trained=False),
    }
    rows = study(embeddings, latlon)
    stamp = {
        "date": date.today().isoformat(),
        "store": store.hash[:12],
        "torch": versions()["torch"],
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], *stamp])
        writer.writeheader()
        writer.writerows({**row, **stamp} for row in rows)
    arguments.out.with_suffix(".md").write_text(table(rows))
    plot(rows, arguments.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
