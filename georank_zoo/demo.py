"""Demo: a small synthetic world, MoCo v2 with and without GeoRank, end to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.readers import open_reader
from georank_zoo.data.store.patch_store import PatchStore, open_store
from georank_zoo.embed.extract import extract
from georank_zoo.eval.results.table import Row
from georank_zoo.geo import great_circle_km
from georank_zoo.models.encoder import create_model
from georank_zoo.models.folder import EXPORT, FACTS
from georank_zoo.models.reload import require_timm_features
from georank_zoo.training.recipe import Recipe, load_recipe
from georank_zoo.training.run import Run, open_run
from georank_zoo.training.trainer import train
from georank_zoo.utils.figures import BASELINE, FLOOR, GEORANK, Array, save_figure, style
from georank_zoo.utils.progress import OnProgress, Reporter
from georank_zoo.utils.untrusted_text import figure_text

DEMO_SIZE = 32
STEPS = 400
# What makes the shipped recipes small: a minute or two each on two cores.
OVERRIDES: tuple[str, ...] = (
    f"views.size={DEMO_SIZE}",
    "train.batch_size=128",
    "train.workers=0",
    "train.checkpoint_epochs=25",
    "optimizer.name=adamw",
    "optimizer.lr=1e-3",
    "optimizer.weight_decay=1e-4",
    "algorithm.queue_size=375",
    "algorithm.temperature=0.1",
)


@dataclass(frozen=True)
class Part:
    """One of the two runs.

    Attributes:
        recipe: Name of the shipped recipe.
        overrides: Changes that the demo makes to it.
    """

    recipe: str
    overrides: tuple[str, ...]

    def load(self, store: Path) -> Recipe:
        """The recipe, on a store."""
        return load_recipe(self.recipe, self.overrides, data=str(store))


def parts(steps: int | None = None, seed: int = 0) -> list[Part]:
    """The baseline and GeoRank, equal in everything else."""
    common = (*OVERRIDES, f"train.steps={steps or STEPS}", f"seed={seed}")
    # In this small world the paper's alpha of 0.5 lets the place drown what stands there.
    return [Part("moco", common), Part("moco_georank", (*common, "regularizer.alpha=0.9"))]


def prepare_world(
    geotiffs: Path, store: Path, *, places: int, seed: int, on_progress: OnProgress | None = None
) -> PatchStore:
    """Generates a synthetic world as GeoTIFFs and prepares it; what is there is kept.

    Args:
        geotiffs: Folder of the world.
        store: Folder of the store.
        places: Number of places.
        seed: Source of randomness.
        on_progress: Callback in place of a bar.

    Raises:
        UsageError: If the folder holds a world of other numbers.
    """
    world: dict[str, Any] = {"places": places, "seed": seed, "size": DEMO_SIZE}
    if store.is_dir():
        open_reader("synthetic", geotiffs, **world)
        return open_store(store)
    return prepare_store(
        geotiffs, store, reader="synthetic", on_progress=on_progress, **world
    ).store


def train_part(
    part: Part, folder: Path, store: PatchStore, *, reporter: Reporter | None = None
) -> Run:
    """Trains a part in `<folder>/<model name>`, continues its training, or opens it if finished.

    Raises:
        UsageError: If there is a run of another recipe or store.
        ModelError: If timm computes other features from its export.
    """
    recipe = part.load(store.path)
    path = folder / recipe.name
    begun = (path / FACTS).is_file()
    run = open_run(path) if begun else None
    if run is not None and run.status == "finished":
        run.require_same(recipe, store)
    else:
        run = train(recipe, path, resume=begun, reporter=reporter)
    _check_reload(run)
    return run


def _check_reload(run: Run) -> None:
    """Compares what timm loads from a run's export with what `create_model` does."""
    folder = run.path / EXPORT
    encoder = create_model(folder)
    assert encoder.config is not None
    source = f"local-dir:{folder.absolute()}"
    require_timm_features(encoder.backbone, encoder.config, source, where=str(folder))


def draw(path: Path, runs: Sequence[Run], store: PatchStore, rows: Sequence[Row]) -> None:
    """The figure of two runs on held-out places, the baseline first."""
    encoders = [create_model(run) for run in runs]
    first = np.unique(store.footprint, return_index=True)[1]  # one date of each place
    features = {encoder.name: extract(encoder, store, samples=first) for encoder in encoders}
    draw_demo(
        path,
        latlon=store.latlon[first],
        features=features,
        rows=rows,
        title="A synthetic world: what GeoRank changes (numbers say nothing about the real Earth)",
    )


_KM_EDGES = np.geomspace(50, 20_000, 16)


def draw_demo(
    path: Path,
    *,
    latlon: npt.NDArray[np.float64],
    features: Mapping[str, Array],
    rows: Sequence[Row],
    title: str,
) -> None:
    """Two models side by side on held-out places: maps, similarity over distance, accuracy.

    Args:
        path: PNG file.
        latlon: Positions (N, 2) of the held-out patches.
        features: Their features (N, D) by model, the baseline first.
        rows: Evaluation results of the models and their floors.
        title: Heading.
    """
    with style():
        figure = Figure(figsize=(11, 6.4), layout="constrained")
        axes = figure.subplots(2, 2, width_ratios=(1.6, 1))
        for axis, (name, values) in zip(axes[:, 0], features.items(), strict=True):
            _draw_map(axis, latlon, values, name)
        _draw_similarity(axes[0, 1], latlon, features)
        _draw_scores(axes[1, 1], rows, list(features))
        figure.suptitle(figure_text(title, 200))
        save_figure(figure, path)


def _draw_map(axis: Axes, latlon: Array, features: Array, name: str) -> None:
    colors = _principal_colors(features)
    axis.scatter(latlon[:, 1], latlon[:, 0], c=colors, s=14, linewidths=0)
    axis.set(xlim=(-180, 180), ylim=(-60, 75), xlabel="longitude", ylabel="latitude")
    axis.set_title(f"{name}: first three principal components of its features", loc="left")
    axis.grid(alpha=0.2)


def _principal_colors(features: Array) -> Array:
    """The first three principal components (N, 3) as colors, each over its 2-98 % range."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    centered = unit - unit.mean(axis=0)
    _, _, directions = np.linalg.svd(centered, full_matrices=False)
    scores = centered @ directions[:3].T
    low, high = np.percentile(scores, (2, 98), axis=0)
    colors: Array = np.clip((scores - low) / (high - low), 0, 1)
    return colors


def _draw_similarity(axis: Axes, latlon: Array, features: Mapping[str, Array]) -> None:
    pairs = np.triu_indices(len(latlon), 1)
    positions = torch.from_numpy(latlon)
    km = great_circle_km(positions, positions).numpy()[pairs]
    middle = np.sqrt(_KM_EDGES[1:] * _KM_EDGES[:-1])
    bins = np.digitize(km, _KM_EDGES) - 1
    for (name, values), color in zip(features.items(), (BASELINE, GEORANK), strict=True):
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        similarity = (unit @ unit.T)[pairs]
        # In standard deviations of the model's own similarities: models differ in their spread.
        z = (similarity - similarity.mean()) / similarity.std()
        means = [z[bins == b].mean() if (bins == b).any() else np.nan for b in range(len(middle))]
        axis.plot(middle, means, "o-", color=color, markersize=3.5, label=name)
    axis.set(xscale="log", xlabel="distance (km)", ylabel="cosine similarity (z-score)")
    axis.set_title("Similarity of held-out places over distance", loc="left")
    axis.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    axis.legend(frameon=False)


def _draw_scores(axis: Axes, rows: Sequence[Row], models: Sequence[str]) -> None:
    shown = [row for row in rows if row.metric == "accuracy_macro"]
    for position, row in enumerate(reversed(shown)):
        color = dict(zip(models, (BASELINE, GEORANK), strict=True)).get(row.model, FLOOR)
        error = [[100 * (row.value - row.ci_low)], [100 * (row.ci_high - row.value)]]
        axis.barh(position, 100 * row.value, color=color, height=0.65)
        axis.errorbar(100 * row.value, position, xerr=error, color="0.2", capsize=3, linewidth=1)
        axis.text(1, position, f"{100 * row.value:.1f}", color="white", va="center", weight="bold")
    axis.set_yticks(range(len(shown)), [figure_text(row.model) for row in reversed(shown)])
    axis.set(xlim=(0, 100), xlabel="accuracy macro (%)")
    axis.set_title("k-NN on held-out places, 95 % intervals", loc="left")
