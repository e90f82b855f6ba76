"""Does the rank term carry over to places that a run has not seen?

For each run, before and after training: the rank loss (mean over batches of about 100) and
Spearman's correlation between similarity and nearness, on places of the training store and on a
store of other places.

    python benchmarks/heldout_rank.py TRAIN_STORE OTHER_STORE RUN... --out benchmarks/results/heldout_rank.csv
"""  # noqa: E501

from __future__ import annotations

import argparse
import csv
from datetime import date
from pathlib import Path

import numpy as np
import torch
from rank_gradient import embed

from georank_zoo import GeoRankLoss, PatchStore
from georank_zoo.training.diagnostics import geo_spearman
from georank_zoo.training.run import open_run
from georank_zoo.utils.environment import versions

PLACES = 512
BATCH = 100


def measure(z: torch.Tensor, latlon: torch.Tensor) -> dict[str, float]:
    """Rank loss and Spearman's correlation of embeddings (N, D)."""
    order = np.random.default_rng(1).permutation(len(z))
    groups = np.array_split(order, max(1, len(z) // BATCH))
    loss = np.mean([float(GeoRankLoss()(z[group], latlon[group])) for group in groups])
    return {
        "rank_loss": round(float(loss), 3),
        "spearman": round(float(geo_spearman(z, latlon)), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train_store", type=Path)
    parser.add_argument("other_store", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/heldout_rank.csv"))
    arguments = parser.parse_args()
    rows = []
    for path in arguments.runs:
        run = open_run(path)
        for places, folder in (("seen", arguments.train_store), ("other", arguments.other_store)):
            store = PatchStore(folder)
            first = np.unique(store.footprint, return_index=True)[1]
            samples = np.random.default_rng(0).permutation(first)[:PLACES]
            latlon = torch.from_numpy(store.latlon[samples])
            for network, trained in (("initial", False), ("trained", True)):
                row = {
                    "run": path.name, "places": places, "network": network,
                    **measure(embed(run, store, samples, trained=trained), latlon),
                    "samples": len(samples), "store": store.hash[:12],
                    "date": date.today().isoformat(), "torch": versions()["torch"],
                }  # fmt: skip
                print(row)
                rows.append(row)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
