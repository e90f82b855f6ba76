"""Predictions of single samples, kept in a folder next to a results file.

Two models are compared on the same samples, and scores alone do not tell on which of them the
models differ. `results.csv` has its predictions in `results_predictions/`, one safetensors file
for all metrics of one evaluation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from georank_zoo.eval.arrays import Indices
from georank_zoo.eval.results.table import Row, read_rows
from georank_zoo.eval.splits.make import Split
from georank_zoo.utils.errors import GeorankError
from georank_zoo.utils.files import new_file

# What differs between the metrics of one evaluation, or says nothing of what was evaluated.
_OF_THE_METRIC = ("metric", "value", "ci_low", "ci_high", "versions")
_MOST_CLASSES = 2**16  # memory grows with the largest number of a class
_TENSORS = ("sample", "place", "target", "predicted")


@dataclass(frozen=True)
class Predictions:
    """What a model predicted for the test samples.

    Attributes:
        sample: Positions (n,) of the samples in the store.
        place: Place of each (n,).
        target: True class (n,), or labels (n, C) as 0 and 1.
        predicted: Predicted class (n,), scores (n, C), or pixels per true and predicted class
            (n, C, C); see `georank_zoo.eval.metrics.score`.
    """

    sample: Indices
    place: Indices
    target: Indices
    predicted: npt.NDArray[Any]

    @classmethod
    def from_split(cls, split: Split, predicted: npt.NDArray[Any]) -> Predictions:
        """What was predicted for the test samples of a split."""
        test = split.test
        return cls(split.samples[test], split.place[test], split.label[test], predicted)

    @property
    def num_classes(self) -> int:
        """Number of classes that they know of."""
        if self.predicted.ndim > 1:
            return int(self.predicted.shape[1])
        return int(max(self.target.max(), self.predicted.max())) + 1


def predictions_key(row: Row) -> str:
    """What names the predictions behind a row: equal for all metrics of one evaluation."""
    facts = {
        # As the CSV file rounds them: a row that was read names the same file.
        name: round(value, 6) if isinstance(value, float) else value
        for name, value in asdict(row).items()
        if name not in _OF_THE_METRIC
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def predictions_path(results: Path, row: Row) -> Path:
    """Where the predictions behind a row of a results file lie."""
    return predictions_folder(results) / f"{predictions_key(row)}.safetensors"


def predictions_folder(results: Path) -> Path:
    """Where the predictions behind the rows of a results file lie."""
    return results.with_name(f"{results.stem}_predictions")


def delete_unnamed(results: Path, files: Iterable[Path]) -> None:
    """Deletes those of some predictions that are of no row: the rows were never added."""
    rows = read_rows(results) if results.is_file() else []
    named = {predictions_path(results, row) for row in rows}
    for file in files:
        if file not in named:
            file.unlink(missing_ok=True)
    with suppress(OSError):  # others are there, or none was written
        predictions_folder(results).rmdir()


def write_predictions(results: Path, row: Row, predictions: Predictions) -> Path:
    """Writes the predictions behind a row; whole or not at all.

    Raises:
        OSError: If the file cannot be written.
    """
    path = predictions_path(results, row)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: np.ascontiguousarray(getattr(predictions, name)) for name in _TENSORS}
    about = {"model": row.title, "task": row.task, "store_hash": row.store_hash, "split": row.split}
    with new_file(path) as temporary:
        save_file(tensors, temporary, metadata={"georank": json.dumps(about, sort_keys=True)})
    return path


def read_predictions(results: Path, row: Row) -> Predictions | None:
    """The predictions behind a row, or None where none were kept.

    Raises:
        GeorankError: If the file is damaged or does not fit the row.
    """
    path = predictions_path(results, row)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
    except SafetensorError as error:
        raise GeorankError(
            f"{path} is damaged: {error}. Delete it to compare the scores only, or repeat the "
            "evaluation."
        ) from error
    if not (_fits(tensors, row.n_test) and _possible(tensors)):
        raise GeorankError(
            f"{path} does not hold the {row.n_test} predictions that its row in {results} speaks "
            "of, or impossible ones. Delete it to compare the scores only, or repeat the "
            "evaluation."
        )
    return Predictions(**tensors)


def _fits(tensors: dict[str, npt.NDArray[Any]], count: int) -> bool:
    """Whether tensors have the shapes that the metrics take, and `count` samples."""
    predicted, target = tensors["predicted"], tensors["target"]
    whole = all(np.issubdtype(tensors[name].dtype, np.integer) for name in _TENSORS[:3])
    shapes = [tensors[name].shape for name in ("sample", "place")] + [target.shape[:1]]
    return (
        whole
        and predicted.shape[:1] == (count,)
        and all(shape == (count,) for shape in shapes)
        and (predicted.shape == target.shape or predicted.ndim == 3)
    )


def _possible(tensors: dict[str, npt.NDArray[Any]]) -> bool:
    """Whether the numbers are some that an evaluation gives."""
    predicted, target = tensors["predicted"], tensors["target"]
    if not (tensors["sample"] >= 0).all():
        return False
    if predicted.ndim == 2:  # scores of labels
        return bool(np.isfinite(predicted).all() and ((target == 0) | (target == 1)).all())
    if predicted.ndim == 3:  # counts of pixels
        square = predicted.shape[1] == predicted.shape[2]
        return square and predicted.dtype.kind in "iu" and bool((predicted >= 0).all())
    classes = np.concatenate([predicted, target]) if predicted.dtype.kind in "iu" else [-1]
    return bool(np.all([np.min(classes) >= 0, np.max(classes) < _MOST_CLASSES]))
