"""Notes: what one must know to read the scores of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from georank_zoo.eval.metrics.counts import absent_from_masks
from georank_zoo.eval.protocols.base import EvalPlan, Protocol
from georank_zoo.eval.splits.make import LEAVE_ONE_OUT, Split
from georank_zoo.eval.tasks import Task, class_names
from georank_zoo.utils.errors import plain

# Below this many test samples a score says whether the machinery works, not how good a model is.
SMALL_TEST_SET = 1000


def evaluation_notes(plan: EvalPlan, task: Task, protocols: Sequence[Protocol]) -> list[str]:
    """Protocols, split, places, and what is missing from the test set."""
    split, store = plan.split, plan.store
    notes = [f"Protocol {protocol.name}: {protocol.describe()}." for protocol in protocols]
    places = len(set(split.place[split.test].tolist()))
    notes.append(
        f"On split {split.name}, task {task.name}, store {store.hash[:12]}: {len(split.train)} "
        f"training and {len(split.test)} test samples of {places} places; 95 % intervals "
        "(bootstrap over places) in brackets."
    )
    notes += _split_notes(split)
    names = class_names(task, store)
    masks = store.target == "mask"
    absent = absent_from_masks(store, split, names) if masks else split.absent(names)
    if absent:
        notes.append(
            f"Not in the test set, so not in the macro averages: {', '.join(map(plain, absent))}."
        )
    if split.dropped:
        notes.append(
            f"Left out: {split.dropped} patch(es) of the store without a label, or without a part "
            "in the split."
        )
    if len(split.test) < SMALL_TEST_SET:
        notes.append(
            f"Only {len(split.test)} test samples: this checks that the machinery works. It is no "
            "benchmark."
        )
    return notes


def _split_notes(split: Split) -> list[str]:
    notes = []
    if split.name.partition("-")[0] == LEAVE_ONE_OUT:
        notes.append("loo: each sample is predicted from all samples that are not of its place.")
    elif split.n_shared_places:
        notes.append(
            f"{split.n_shared_places} of the test samples are of a place that training samples are "
            "of too: the published split goes through places. Only knn of classes and labels "
            "leaves a sample's own place out."
        )
    if split.validation is not None:
        notes.append(f"Validation: the {len(split.validation)} samples that the split has for it.")
    return notes
