"""Predictions of single samples, kept beside a results file.

Two models are compared on the same samples, and scores alone do not tell on which of them the
models differ. `results.csv` has its predictions in `results_predictions/`, one safetensors file
for all metrics of one evaluation.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from georank_zoo.errors import GeorankError
from georank_zoo.eval.results import Row
from georank_zoo.eval.splits import Split
from georank_zoo.files import new_file

Indices = npt.NDArray[np.int64]

# What differs between the metrics of one evaluation, or says nothing of what was evaluated.
_OF_THE_METRIC = ("metric", "value", "ci_low", "ci_high", "versions")
_TENSORS = ("sample", "place", "target", "predicted")


@dataclass(frozen=True)
class Predictions:
    """What a model predicted for the test samples.

    Attributes:
        sample: Positions (n,) of the samples in the store.
        place: Place of each (n,).
        target: True class (n,).
        predicted: Predicted class (n,).
    """

    sample: Indices
    place: Indices
    target: Indices
    predicted: Indices

    @classmethod
    def of(cls, split: Split, predicted: Indices) -> Predictions:
        """Predictions (n,) for the test samples of a split."""
        test = split.test
        return cls(split.samples[test], split.place[test], split.label[test], predicted)


def path_of(results: Path, row: Row) -> Path:
    """Where the predictions behind a row of a results file lie."""
    facts = {
        # As the CSV file rounds them: a row that was read names the same file.
        name: round(value, 6) if isinstance(value, float) else value
        for name, value in asdict(row).items()
        if name not in _OF_THE_METRIC
    }
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return results.with_name(f"{results.stem}_predictions") / f"{name}.safetensors"


def write(results: Path, row: Row, predictions: Predictions) -> Path:
    """Writes the predictions behind a row; whole or not at all.

    Raises:
        OSError: If the file cannot be written.
    """
    path = path_of(results, row)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: np.ascontiguousarray(getattr(predictions, name), np.int64) for name in _TENSORS
    }
    about = {"model": row.model, "task": row.task, "store_hash": row.store_hash, "split": row.split}
    with new_file(path) as beside:
        save_file(tensors, beside, metadata={"georank": json.dumps(about, sort_keys=True)})
    return path


def read(results: Path, row: Row) -> Predictions | None:
    """The predictions behind a row, or None where none were kept.

    Raises:
        GeorankError: If the file is damaged or does not fit the row.
    """
    path = path_of(results, row)
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
    if any(t.shape != (row.n_test,) or t.dtype != np.int64 for t in tensors.values()):
        raise GeorankError(
            f"{path} does not hold the {row.n_test} predictions that its row in {results} speaks "
            "of. Delete it to compare the scores only, or repeat the evaluation."
        )
    return Predictions(**tensors)
