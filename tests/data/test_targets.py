"""Stores of several labels or a mask a patch, of published splits, and without positions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from georank_zoo.data.store.patch import (
    NO_LABEL,
    NO_POSITION,
    NO_ROLE,
    ROLES,
    UNKNOWN,
    Patch,
    Target,
    most_frequent,
)
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.data.store.writer import StoreWriter
from georank_zoo.eval.splits.far_from_pretraining import beyond
from georank_zoo.eval.splits.make import make_split
from georank_zoo.eval.splits.overlap import overlap
from georank_zoo.training.batches import PlaceBatches
from georank_zoo.utils.errors import StoreError
from tests.support.command_line import run
from tests.support.trees import noise

BANDS = ("B02", "B8A")
CLASSES = ("water", "wood", "town")
SPLITS = ("official", "blocks")


def multi_hot(n: int) -> np.ndarray | None:
    """Every seventh patch's labels are unknown."""
    return None if n % 7 == 6 else np.array([n % 2, n % 3 == 0, 1], np.uint8)


def mask(n: int) -> np.ndarray:
    drawn = np.random.default_rng(n).integers(0, len(CLASSES), (8, 8)).astype(np.uint8)
    drawn[: n % 9] = UNKNOWN
    return drawn


def patch(n: int, target: Target = "class", **changes: Any) -> Patch:
    """Every fifth patch has no position; parts in the splits come and go."""
    located = n % 5 != 4
    given: dict[str, Any] = {
        "pixels": noise((2, 8, 8), n),
        "lat": n / 10 if located else NO_POSITION,
        "lon": -n if located else NO_POSITION,
        "key": f"f{n}",
        "place": "a",
        "roles": {s: ROLES[(n + k) % 4] for k, s in enumerate(SPLITS) if (n + k) % 4 < 3},
    }
    own = {"labels": {"labels": multi_hot(n)}, "mask": {"mask": mask(n)}, "class": {}}[target]
    return Patch(**{**given, **own, **changes})


def writer(path: Path, target: Target) -> StoreWriter:
    return StoreWriter(
        path, bands=BANDS, size=8, spec={}, target=target, class_names=CLASSES, splits=SPLITS,
        shard_bytes=5 * 2 * 8 * 8 * 2,
    )  # fmt: skip


def write(path: Path, target: Target, items: Sequence[int] = range(23)) -> PatchStore:
    one = writer(path, target)
    for n in items[one.next_item :]:
        one.add([patch(n, target)])
    return one.finish(reader="test")


def killed(path: Path, target: Target, after: int) -> None:
    """Writes some items in a process that dies without another word."""
    child = os.fork()
    if child == 0:
        one = writer(path, target)
        for n in range(after):
            one.add([patch(n, target)])
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("target", ["labels", "mask", "class"])
@pytest.mark.parametrize("after", [3, 12])
def test_all_that_is_known_survives_a_kill(tmp_path: Path, target: Target, after: int) -> None:
    whole = write(tmp_path / "whole", target)
    killed(tmp_path / "s", target, after)
    assert writer(tmp_path / "s", target).next_item == (0 if after == 3 else 10)
    store = write(tmp_path / "s", target)
    assert store.hash == whole.hash
    assert (store.target, store.header.splits) == (target, SPLITS)
    assert len(store.header.shards) > 2
    for n in range(23):
        for k, split in enumerate(SPLITS):
            expected = (n + k) % 4
            assert store.roles[split][n] == (expected if expected < 3 else NO_ROLE)
        if n % 5 == 4:
            assert np.isnan(store.latlon[n]).all()
        else:
            assert store.latlon[n].tolist() == [n / 10, -n]
    assert store.located.tolist() == [n % 5 != 4 for n in range(23)]


def test_labels(tmp_path: Path) -> None:
    store = write(tmp_path / "s", "labels")
    assert store.labels is not None
    for n, row in enumerate(store.labels):
        known = multi_hot(n)
        assert row.tolist() == ([UNKNOWN] * 3 if known is None else known.tolist())
    assert store.labeled.tolist() == [n % 7 != 6 for n in range(23)]
    assert (store.label == NO_LABEL).all()
    with pytest.raises(StoreError, match="has no masks"):
        store.masks(np.array([0]))


def test_masks(tmp_path: Path) -> None:
    store = write(tmp_path / "s", "mask")
    order = np.array([22, 0, 11, 8])
    np.testing.assert_array_equal(store.masks(order), np.stack([mask(n) for n in order]))
    assert store.labels is None
    # Of number 8 all pixels are unknown.
    expected = [most_frequent(mask(n)) for n in range(23)]
    assert store.label.tolist() == expected
    assert expected[8] == NO_LABEL
    assert store.labeled.tolist() == [label != NO_LABEL for label in expected]


def test_most_frequent_class_of_a_mask() -> None:
    assert most_frequent(np.array([[2, 2], [0, UNKNOWN]], np.uint8)) == 2
    assert most_frequent(np.array([[2, 0], [UNKNOWN, UNKNOWN]], np.uint8)) == 0
    assert most_frequent(np.full((2, 2), UNKNOWN, np.uint8)) == NO_LABEL


@pytest.mark.parametrize(
    ("target", "changes", "message"),
    [
        ("class", {"labels": np.ones(3, np.uint8)}, "labels does not suit .* 'class'"),
        ("mask", {"labels": np.ones(3, np.uint8)}, "labels does not suit .* 'mask'"),
        ("class", {"mask": mask(0)}, "mask does not suit .* 'class'"),
        ("mask", {"mask": None}, "mask does not suit .* 'mask'"),
        ("labels", {"label": 1}, "label does not suit .* 'labels'"),
        ("mask", {"label": 1}, "label does not suit .* 'mask'"),
        ("class", {"roles": {"other": "train"}}, "roles does not suit"),
        ("labels", {"labels": np.ones(4, np.uint8)}, "labels must be 3 zeros and ones"),
        ("labels", {"labels": np.array([0, 1, 2], np.uint8)}, "labels must be 3 zeros and ones"),
        ("mask", {"mask": mask(0)[:4]}, "the mask must be 8 px of 3 classes"),
        ("mask", {"mask": np.full((8, 8), 3, np.uint8)}, "the mask must be 8 px of 3 classes"),
        ("class", {"lat": NO_POSITION, "lon": 5.0}, "one coordinate without the other"),
    ],
)
def test_the_writer_refuses_what_does_not_suit(
    tmp_path: Path, target: Target, changes: dict[str, Any], message: str
) -> None:
    one = writer(tmp_path / "s", target)
    with pytest.raises(ValueError, match=f"f0: {message}"):
        one.add([patch(0, target, **changes)])
    assert one.count == 0


@pytest.fixture
def nowhere(tmp_path: Path) -> PatchStore:
    """A labeled store in which one patch of five has no position."""
    one = StoreWriter(tmp_path / "nowhere", bands=BANDS, size=8, spec={}, class_names=CLASSES)
    for n in range(20):
        one.add([patch(n, label=n % 3, roles={})])
    return one.finish(reader="test")


SENTENCE = "4 of the 20 patches of store .*nowhere have no position .*, and {} needs one for each"


@pytest.mark.parametrize(
    ("purpose", "use"),
    [
        (
            "pretraining",
            lambda store, _: PlaceBatches(
                store, bands=BANDS, batch_size=4, seed=0, temporal=False, views=2, draws=1
            ),
        ),
        ("a distance", lambda store, other: overlap(store, other)),
        ("a distance", lambda store, other: overlap(other, store)),
        ("a distance", lambda store, other: beyond(make_split(store, "loo"), store, 1, [other])),
        ("a distance", lambda store, other: beyond(make_split(other, "loo"), other, 1, [store])),
        ("a split by distance", lambda store, _: make_split(store, "distance50km")),
    ],
)
def test_what_needs_positions_says_so(
    nowhere: PatchStore,
    world_store: PatchStore,
    purpose: str,
    use: Callable[[PatchStore, PatchStore], object],
) -> None:
    with pytest.raises(StoreError, match=SENTENCE.format(purpose)):
        use(nowhere, world_store)


def test_a_split_by_place_needs_no_position(nowhere: PatchStore) -> None:
    split = make_split(nowhere, "random")
    assert len(split.train) + len(split.test) == 20


def test_commands_say_so_too(
    nowhere: PatchStore, world_store: PatchStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[tuple[object, ...]] = [
        ("train", "moco_georank", "--data", nowhere.path, "--out", tmp_path / "run", "--set",
         "data.bands=B02,B8A"),
        ("data", "overlap", nowhere.path, world_store.path),
    ]  # fmt: skip
    for command in commands:
        assert run(*command) == 1
        shown = " ".join(capsys.readouterr().err.split())
        assert "4 of the 20 patches" in shown
        assert "Choose a store with positions" in shown


def test_info_shows_splits_and_what_is_unknown(
    nowhere: PatchStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = write(tmp_path / "s", "labels")
    assert run("data", "info", store.path, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["splits"]["official"] == {"train": 6, "validation": 6, "test": 6}
    assert facts["splits"]["blocks"] == {"train": 5, "validation": 6, "test": 6}
    assert facts["target"] == "labels"
    assert (facts["unlabeled"], facts["without_position"]) == (3, 4)
    known = [row for n in range(23) if (row := multi_hot(n)) is not None]
    assert list(facts["classes"].values()) == np.sum(known, axis=0, dtype=int).tolist()
    assert run("data", "info", store.path) == 0
    shown = capsys.readouterr().out
    assert "6 train, 6 validation, 6 test" in shown
    assert "Split blocks" in shown

    one = StoreWriter(tmp_path / "lost", bands=BANDS, size=8, spec={})
    one.add([patch(4, roles={})])
    one.finish(reader="test")
    assert run("data", "info", tmp_path / "lost", "--json") == 0
    assert json.loads(capsys.readouterr().out)["extent"] is None
    assert run("data", "info", tmp_path / "lost") == 0
    assert "unknown" in capsys.readouterr().out
