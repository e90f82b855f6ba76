"""Run folders.

recipe.yaml     the resolved recipe
run.json        hashes, data, versions, device, wall time, state
footprint.json  where its places lie, in cells of one degree
metrics.jsonl   one line per logged step
unlogged.json   the steps after the last line, where a run was interrupted
failure.json    the step and the patches of a loss that was not finite
checkpoints/    step-<number>/
export/         config.json and model.safetensors, as timm loads them, recipe and footprint
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.models.config import CONFIG, RECIPE, load_config
from georank_zoo.models.encoder import Encoder, create_model
from georank_zoo.models.export import export_model
from georank_zoo.models.folder import EXPORT, FACTS
from georank_zoo.models.footprint import FOOTPRINT, read_footprint
from georank_zoo.models.run_facts import read_facts, write_facts
from georank_zoo.training import checkpoints
from georank_zoo.training.build import build_algorithm, build_views
from georank_zoo.training.finding_words import known_findings
from georank_zoo.training.recipe import Recipe, list_recipes, parse_recipe
from georank_zoo.training.recipe_yaml import read_recipe_text
from georank_zoo.training.run_log import METRICS_FILE, RunLog
from georank_zoo.utils.errors import ModelError, UsageError
from georank_zoo.utils.files import sha256_of
from georank_zoo.utils.leftovers import delete, scratch_beside, temporary_beside
from georank_zoo.utils.locks import MOMENT, is_locked, output_lock
from georank_zoo.utils.tables import Table

if TYPE_CHECKING:
    import pandas

    from georank_zoo.utils.figures import NotebookFigure

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, repr=False)
class Run:
    """A run folder and the recipe in it.

    Stands wherever a path of a model is taken, as in `create_model(run)`.

    Attributes:
        path: Run folder.
        recipe: Recipe of the run.

    Example:
        >>> import georank_zoo as gz
        >>> run = gz.open_run("runs/georank-moco-r18")
        >>> run
        Run('runs/georank-moco-r18', georank-moco-r18, finished)
        >>> "loss_georank" in run.metrics()
        True
    """

    path: Path
    recipe: Recipe

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.recipe.name}, {self.status})"

    def _repr_html_(self) -> str:
        return self.table().to_html()

    @property
    def status(self) -> str:
        """State of the run, such as `finished`, `running, saved at step 40` or `killed, not saved`.

        A run is running while a process holds its lock.
        """
        if not (self.path / FACTS).is_file():
            return "not started"
        facts = self.facts
        if facts["status"] == "interrupted":
            return f"interrupted at step {facts['steps']}"
        if facts["status"] in ("started", "running"):
            saved = checkpoints.list_checkpoints(self.checkpoints)
            at = f"saved at step {checkpoints.step_of(saved[-1])}" if saved else "not saved"
            return f"{'running' if is_locked(self.path) else 'killed'}, {at}"
        return str(facts["status"])

    def table(self) -> Table:
        """What the run is and where it stands."""
        facts, last = self.facts, self.log.last()
        scores = {k: v for k, v in last.items() if k.startswith(("loss", "probe_"))}
        rows = {
            "folder": str(self.path),
            "recipe": f"{self.recipe.summary or self.recipe.name} ({self.recipe.hash[:12]})",
            "store": f"{Path(facts['store']['path']).name}, {facts['store']['places_used']} places",
            "status": self.status,
            "warnings": "; ".join(known_findings(facts.get("findings"))),
            "steps logged": str(last.get("step", 0)),
            "wall time": f"{facts['seconds']:.0f} s" if "seconds" in facts else "",
            "device": facts.get("device", ""),
            **{f"{name} (last)": f"{value:.4g}" for name, value in scores.items()},
        }
        shown = tuple((key, value) for key, value in rows.items() if value)
        return Table(title=self.recipe.name, header=("", ""), rows=shown)

    @property
    def facts(self) -> dict[str, Any]:
        """Content of `run.json`.

        Raises:
            ModelError: If it is damaged or contradicts the recipe.
        """
        facts = read_facts(self.path / FACTS)
        for name, here in (("recipe", self.recipe.name), ("bands", list(self.recipe.bands))):
            if facts[name] != here:
                raise ModelError(f"{self.path / FACTS} contradicts {RECIPE} beside it: {name}.")
        return facts

    def update(self, **facts: Any) -> None:
        """Adds to `run.json`.

        With the word that no process trains the run any longer goes the hash of its log.
        """
        known = self.facts if (self.path / FACTS).is_file() else {}
        known |= facts
        files = {k: v for k, v in known.get("files", {}).items() if k != METRICS_FILE}
        if known["status"] in ("finished", "interrupted") and self.log.path.is_file():
            files[METRICS_FILE] = sha256_of(self.log.path)
        write_facts(self.path / FACTS, {**known, "files": files})

    @property
    def log(self) -> RunLog:
        """Log of the run."""
        files = self.facts.get("files", {}) if (self.path / FACTS).is_file() else {}
        return RunLog(self.path / METRICS_FILE, files.get(METRICS_FILE))

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / CHECKPOINTS

    @property
    def resume_command(self) -> str:
        """The command line that continues the run."""
        return resume_command(self.path)

    def checkpoint(self, name: str = "last") -> Path:
        """A checkpoint by its folder's name, or the last one.

        Raises:
            UsageError: If the run has no checkpoint of that name.
        """
        existing = {path.name: path for path in checkpoints.list_checkpoints(self.checkpoints)}
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
        """Checks that the run can be continued with this recipe and store.

        Raises:
            UsageError: If one differs; the message names the keys.
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

    def metrics(self) -> pandas.DataFrame:
        """The logged losses, diagnostics and probe scores, one row a step.

        Returns:
            Columns `step`, `epoch`, `loss`, `loss_<term>`, `lr`, `probe_<metric>` and others; NaN
            where a step has no such value.

        Example:
            >>> import georank_zoo as gz
            >>> metrics = gz.open_run("runs/georank-moco-r18").metrics()
            >>> [name for name in metrics if name.startswith("loss")]
            ['loss', 'loss_ssl', 'loss_georank']
        """
        return self.log.frame()

    def plot(self) -> NotebookFigure:
        """The curves of the loss terms, the probe scores and the learning rate.

        Raises:
            UsageError: If no step was logged yet.

        Example:
            >>> import georank_zoo as gz
            >>> figure = gz.open_run("runs/georank-moco-r18").plot()
            >>> figure.savefig("georank-moco-r18-curves.png")
        """
        from georank_zoo.training.curves import draw_curves

        return draw_curves(self.log.rows(), f"{self.recipe.name}: {self.status}")

    def model(self) -> Encoder:
        """The trained model, of the last checkpoint.

        Raises:
            UsageError: If there is no checkpoint yet, or the export is of another one.
            ModelError: If the export is damaged.

        Example:
            >>> import georank_zoo as gz
            >>> model = gz.open_run("runs/georank-moco-r18").model()
            >>> len(model.bands)
            12
        """
        return create_model(self.exported())

    def export(
        self, folder: Path | None = None, *, checkpoint: str = "last", overwrite: bool = False
    ) -> Path:
        """Writes the backbone of a checkpoint as a folder that timm loads.

        Raises:
            UsageError: If there is no such checkpoint, or something lies in the folder.
            ModelError: If the checkpoint is damaged, or what was written reloads otherwise.
        """
        source = self.checkpoint(checkpoint)
        # The caller's random state does not depend on whether it exports a model.
        with torch.random.fork_rng(devices=[]):
            algorithm = build_algorithm(self.recipe, build_views(self.recipe))
        facts, published = self.facts, self.recipe.for_others()
        finished = facts["steps"] if facts["status"] == "finished" else None
        state = checkpoints.load_algorithm(
            source, algorithm, steps=self.recipe.train.steps or finished
        )
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
                "step": state.step,
                "seconds": round(state.seconds, 1),
                "device": facts.get("device"),
                "processes": facts.get("processes"),
                "findings": facts.get("findings", []),
                "store": {k: v for k, v in facts["store"].items() if k != "path"},
                "versions": facts["versions"],
            },
            recipe=published.to_yaml(),
            footprint=read_footprint(self.path),
            overwrite=overwrite,
        )

    def export_onnx(
        self, path: Path | None = None, *, checkpoint: str = "last", overwrite: bool = False
    ) -> Path:
        """Writes the backbone of a checkpoint as one ONNX file, as `models.onnx.export_onnx` does.

        Args:
            path: File to write; `model.onnx` in the run folder by default.
            checkpoint: Name of the checkpoint's folder.
            overwrite: Replace an existing file.

        Raises:
            UsageError: If there is no such checkpoint, the file exists or a package is missing.
            ModelError: If the model cannot be written as ONNX, or gives other features.
        """
        from georank_zoo.models.onnx import export_onnx, require_packages

        require_packages()
        # Not the run's export/: it may be of another checkpoint, or not be there yet.
        path = Path(path or self.path / "model.onnx").absolute()
        scratch = scratch_beside(path)
        with output_lock(path, scratch) as taken:
            try:
                model = self.export(scratch / "model", checkpoint=checkpoint)
                return export_onnx(model, path, overwrite=overwrite or taken.finished)
            finally:
                delete(scratch)

    def exported(self) -> Path:
        """The export of the last checkpoint; it is written if there is none.

        Raises:
            UsageError: If there is an export of another checkpoint.
            ModelError: If the export is damaged.
        """
        folder = self.path / EXPORT
        if not (folder / CONFIG).is_file():
            # Two that need it at once: the second takes what the first has written.
            with output_lock(folder, temporary_beside(folder), wait=MOMENT):
                return folder if (folder / CONFIG).is_file() else self.export()
        step = load_config(folder).georank.get("step")
        saved = checkpoints.list_checkpoints(self.checkpoints)
        if saved and step != checkpoints.step_of(saved[-1]):
            raise UsageError(
                f"{folder} is of step {step}, but the last checkpoint is {saved[-1].name}. Export "
                f"that with `georank export {self.path} --overwrite`, or give {folder} itself."
            )
        return folder


def open_run(path: str | os.PathLike[str]) -> Run:
    """Opens a run folder.

    Raises:
        UsageError: If the folder holds no run.
        ModelError: If a file of it is damaged.

    Example:
        >>> import georank_zoo as gz
        >>> run = gz.open_run("runs/georank-moco-r18")
        >>> run.recipe.regularizer.name, run.status
        ('georank', 'finished')
    """
    path = Path(path)
    missing = [name for name in (RECIPE, FACTS) if not (path / name).is_file()]
    if missing:
        raise UsageError(f"{path} is not a run folder: it has no {' and no '.join(missing)}.")
    for name, digest in read_facts(path / FACTS).get("files", {}).items():
        file = path / name
        if name == METRICS_FILE:
            continue  # compared when it is read: to export, nobody needs it
        if name not in (RECIPE, FOOTPRINT) or not file.is_file() or sha256_of(file) != digest:
            raise ModelError(
                f"{file} is another than the run began with. Put back a copy of it, or train again "
                "into another folder."
            )
    return Run(path, parse_recipe(read_recipe_text(path / RECIPE), where=str(path / RECIPE)))


def resume_command(folder: Path) -> str:
    """The command line that continues the run in a folder."""
    text = str(folder)
    if text.startswith("-") or text in list_recipes():  # neither an option nor that recipe
        text = f"./{text}"
    return f"georank train {shlex.quote(text)} --resume"


def _differences(there: Recipe, here: Recipe) -> str:
    """The keys that differ between a run's recipe and a given one, and their values."""
    texts = [f"{key} is {a!r} there, {b!r} here" for key, (a, b) in there.differences(here).items()]
    return "; ".join(texts[:5]) + (f"; and {len(texts) - 5} more" if len(texts) > 5 else "")
