"""A run folder: what a training run leaves behind.

recipe.yaml     the resolved recipe
run.json        hashes, data, versions, device, wall time, state
footprint.json  where its places lie, in cells of one degree
metrics.jsonl   one line per logged step
checkpoints/    step-<number>/
export/         config.json and model.safetensors, as timm loads them, recipe and footprint
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from georank_zoo.data.store.patch import NO_TIME
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.models.config import CONFIG, RECIPE, load_config
from georank_zoo.models.export import export_model
from georank_zoo.models.folder import EXPORT, FACTS
from georank_zoo.models.footprint import FOOTPRINT, Footprint, read_footprint
from georank_zoo.training import checkpoints
from georank_zoo.training.build import build_algorithm
from georank_zoo.training.recipe import Recipe, from_text
from georank_zoo.training.recipe_schema import flat
from georank_zoo.utils.environment import versions
from georank_zoo.utils.errors import ModelError, UsageError
from georank_zoo.utils.files import write_text

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Run:
    """A run folder and the recipe in it."""

    path: Path
    recipe: Recipe

    @classmethod
    def create(
        cls, path: Path, recipe: Recipe, store: PatchStore, latlon: npt.NDArray[np.float64]
    ) -> Run:
        """Begins a run folder.

        Args:
            path: The folder to be.
            recipe: What is trained.
            store: What it is trained on.
            latlon: Positions (places, 2) in degrees of the places that are trained on.

        Raises:
            UsageError: If something lies there already.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(
                f"{path} is not empty. Say --resume to go on with the run in it, or give another "
                "folder with --out."
            )
        mean, std = store.mean_std(recipe.bands)
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path, recipe)
        write_text(path / RECIPE, recipe.to_yaml())
        write_text(path / FOOTPRINT, Footprint.of(latlon).to_json())
        run.update(
            recipe=recipe.name,
            recipe_hash=recipe.hash,
            store={
                "path": str(store.path.resolve()), "hash": store.hash, "patches": len(store),
                "places": store.manifest.places, "level": store.manifest.level,
                "places_used": recipe.data.places or store.manifest.places,
                "source": store.manifest.source, "license": store.manifest.license,
                "reader": store.manifest.reader, "period": _period(store),
            },
            bands=list(recipe.bands),
            mean=mean,
            std=std,
            versions=versions(),
            python=platform.python_version(),
            status="started",
        )  # fmt: skip
        return run

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Opens a run folder.

        Raises:
            UsageError: If it is none.
        """
        path = Path(path)
        if not (path / RECIPE).is_file() or not (path / FACTS).is_file():
            raise UsageError(f"{path} is not a run folder: it lacks {RECIPE} or {FACTS}.")
        text = (path / RECIPE).read_text(encoding="utf-8")
        return cls(path, from_text(text, where=str(path / RECIPE)))

    @property
    def facts(self) -> dict[str, Any]:
        """What `run.json` says."""
        try:
            facts = dict(json.loads((self.path / FACTS).read_text(encoding="utf-8")))
        except (ValueError, TypeError, RecursionError) as error:
            raise ModelError(f"{self.path / FACTS} is damaged: {error}") from error
        return facts

    def update(self, **facts: Any) -> None:
        """Adds to `run.json`."""
        known = self.facts if (self.path / FACTS).is_file() else {}
        write_text(self.path / FACTS, json.dumps({**known, **facts}, indent=2) + "\n")

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    def checkpoint(self, name: str = "last") -> Path:
        """A checkpoint by its folder's name, or the last one.

        Raises:
            UsageError: If there is none of that name.
        """
        existing = {path.name: path for path in checkpoints.existing(self.checkpoints)}
        if not existing:
            raise UsageError(f"{self.path} has no checkpoint yet.")
        if name == "last":
            return existing[max(existing)]
        if name not in existing:
            raise UsageError(
                f"{self.path} has no checkpoint {name!r}. Choose from: {', '.join(existing)}, last."
            )
        return existing[name]

    def require_same(self, recipe: Recipe, store: PatchStore) -> None:
        """Checks that a run can go on with this recipe and store.

        Raises:
            UsageError: Says what differs.
        """
        facts = self.facts
        # Not the hash that was noted: later versions know more keys, with defaults that leave
        # a run as it was.
        if recipe.hash != self.recipe.hash:
            different = _differences(self.recipe, recipe)
            raise UsageError(
                f"{self.path} was trained with another recipe: {different}. "
                "Resume with the same one, or train into another folder."
            )
        if store.hash != facts["store"]["hash"]:
            raise UsageError(
                f"{self.path} was trained on another store ({facts['store']['path']}). Resume "
                "with the same one, or train into another folder."
            )

    def metrics(self) -> list[dict[str, Any]]:
        """The logged steps, oldest first; a line cut by a kill is left out."""
        path = self.path / METRICS
        rows = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
        return rows

    def rewind_metrics(self, step: int) -> None:
        """Drops what was logged after a step, before a resumed run logs it again."""
        self._write_metrics(row for row in self.metrics() if row["step"] <= step)

    def _write_metrics(self, rows: Iterable[dict[str, Any]]) -> None:
        write_text(self.path / METRICS, "".join(json.dumps(row) + "\n" for row in rows))

    def log(self, row: dict[str, Any]) -> None:
        """Appends a line to the metrics."""
        with (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def export(
        self, folder: Path | None = None, *, checkpoint: str = "last", overwrite: bool = False
    ) -> Path:
        """Writes the backbone of a checkpoint as a folder that timm loads.

        Raises:
            UsageError: If the checkpoint or a free folder is lacking.
            ModelError: If the checkpoint is damaged, or what was written reloads otherwise.
        """
        source = self.checkpoint(checkpoint)
        algorithm = build_algorithm(self.recipe)
        checkpoints.load_algorithm(source, algorithm)
        facts, published = self.facts, self.recipe.for_others()
        return export_model(
            algorithm.backbone,
            folder or self.path / EXPORT,
            architecture=self.recipe.backbone.name,
            bands=facts["bands"],
            mean=facts["mean"],
            std=facts["std"],
            image_size=self.recipe.image_size,
            tag=self.recipe.name,
            georank={
                "name": self.recipe.name,
                "baseline": self.recipe.baseline,
                "recipe_hash": facts["recipe_hash"],
                "recipe": published.model_dump(mode="json", exclude={"cost", "mirrors"}),
                "step": int(source.name.removeprefix("step-")),
                "seconds": round(checkpoints.seconds(source), 1),
                "device": facts.get("device"),
                "processes": facts.get("processes"),
                "store": {k: v for k, v in facts["store"].items() if k != "path"},
                "versions": facts["versions"],
            },
            recipe=published.to_yaml(),
            footprint=read_footprint(self.path),
            overwrite=overwrite,
        )

    def exported(self) -> Path:
        """The export of the last checkpoint; it is written if there is none.

        Raises:
            UsageError: If there is an export of another checkpoint.
            ModelError: If the export is damaged.
        """
        folder = self.path / EXPORT
        if not (folder / CONFIG).is_file():
            return self.export()
        step = load_config(folder).georank.get("step")
        last = max((path.name for path in checkpoints.existing(self.checkpoints)), default=None)
        if last is not None and step != int(last.removeprefix("step-")):
            raise UsageError(
                f"{folder} is of step {step}, but the last checkpoint is {last}. Export that with "
                f"`georank export {self.path} --overwrite`, or give {folder} itself."
            )
        return folder


def _period(store: PatchStore) -> list[str] | None:
    """First and last day of the acquisitions, where the store knows any."""
    known = store.time[store.time != NO_TIME]
    if len(known) == 0:
        return None
    ends = np.array([known.min(), known.max()]).astype("datetime64[s]").astype("datetime64[D]")
    return [str(day) for day in ends]


def _differences(there: Recipe, here: Recipe) -> str:
    """The keys that differ between a run's recipe and a given one, and their values."""
    a, b = (flat(entry.model_dump(mode="json")) for entry in (there, here))
    texts = [
        f"{key} is {a.get(key)!r} there, {b.get(key)!r} here"
        for key in {**a, **b}
        if a.get(key) != b.get(key) and key.split(".")[0] not in ("name", "summary", "probe")
    ]
    return "; ".join(texts[:5]) + (f"; and {len(texts) - 5} more" if len(texts) > 5 else "")
