"""Splits, tasks, floors and the evaluation as a whole."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from georank_zoo.bands import S2_12
from georank_zoo.data.store.patch import NO_LABEL
from georank_zoo.eval.evaluate import evaluate
from georank_zoo.eval.floors import (
    ImageStatistics,
    deduplicate_names,
    floors_of,
    random_initialization,
)
from georank_zoo.eval.protocols.knn import KNN
from georank_zoo.eval.protocols.mask_knn import MaskKNN
from georank_zoo.eval.splits.make import make_split
from georank_zoo.eval.tasks import TASKS, class_names, get_task
from georank_zoo.models.encoder import Encoder, create_model
from georank_zoo.utils.errors import StoreError, UsageError
from tests.support.models import MEAN, STD, make_export, make_store

FOLDER = TASKS["folder"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return create_model(
        make_export(
            tmp_path_factory.mktemp("eval") / "model",
            georank={
                "name": "moco_georank", "recipe_hash": "0123456789abcdef", "baseline": "moco-r18",
            },
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("eval") / "store", [i % 3 for i in range(36)])


def test_loo_holds_every_labeled_sample(tmp_path):
    labels = [0, 1, NO_LABEL, 1, 0, NO_LABEL]
    store = make_store(tmp_path / "s", labels, places=[0, 0, 0, 1, 2, 2])
    split = make_split(store, "loo")
    assert split.name == "loo"
    assert split.samples.tolist() == [0, 1, 3, 4]
    assert split.dropped == 2
    assert split.label.tolist() == [0, 1, 1, 0]
    assert split.train.tolist() == split.test.tolist() == [0, 1, 2, 3]


def test_random_split_is_stratified_and_never_cuts_a_place(tmp_path):
    # 20 places of each of three classes, with one to three dates.
    places = np.repeat(np.arange(60), np.arange(60) % 3 + 1)
    store = make_store(tmp_path / "s", (places // 20).tolist(), places=places.tolist())
    split = make_split(store, "random", seed=4)
    assert split.name == "random80-seed4"
    train, test = set(split.place[split.train]), set(split.place[split.test])
    assert not train & test
    assert sorted([*split.train, *split.test]) == list(range(len(places)))
    for value in range(3):
        members = {p for p in test if p // 20 == value}
        assert len(members) == 4
    again, other = make_split(store, "random", seed=4), make_split(store, "random", seed=5)
    np.testing.assert_array_equal(again.test, split.test)
    assert set(other.test) != set(split.test)


@pytest.mark.parametrize(
    ("labels", "places", "reason"),
    [
        ([NO_LABEL] * 4, None, "has no labels"),
        ([1, 1, 1, NO_LABEL], None, "one class only"),
        ([0, 1, 0, 1], [5, 5, 5, 5], "one place only"),
    ],
)
def test_stores_that_cannot_be_split(tmp_path, labels, places, reason):
    store = make_store(tmp_path / "s", labels, places=places)
    with pytest.raises(StoreError, match=reason):
        make_split(store, "loo")


def test_unknown_split_and_task(store):
    with pytest.raises(UsageError, match="Choose from: distance50km, loo, random"):
        make_split(store, "official")
    with pytest.raises(UsageError, match="Choose from: bigearthnet, cashew, eurosat, folder, "):
        get_task("ucmerced")


def test_task_checks_the_classes(store, tmp_path):
    assert class_names(FOLDER, store) == ("class0", "class1", "class2")
    with pytest.raises(StoreError, match=r"is not task 'eurosat'.*class0"):
        class_names(TASKS["eurosat"], store)
    with pytest.raises(ValueError, match="label 2, but there are 2 classes"):
        make_store(tmp_path / "short", [0, 1, 2], class_names=["a", "b"])
    nameless = make_store(tmp_path / "nameless", [0, 1, 2], class_names=[])
    assert class_names(FOLDER, nameless) == ("0", "1", "2")


def test_image_statistics():
    images = torch.randn(3, 5, 8, 8)
    features = ImageStatistics(5)(images)
    np.testing.assert_allclose(features[:, :5], images.mean((2, 3)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(features[:, 5:], images.numpy().std((2, 3)), rtol=1e-5)


def test_random_floor_is_seeded_and_leaves_the_random_state(model):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, again, other = (random_initialization(model, seed=s).encoder for s in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    weight = [encoder.backbone.conv1[0].weight for encoder in (first, again, other)]
    assert torch.equal(weight[0], weight[1])
    assert not torch.equal(weight[0], weight[2])
    assert first.model_hash == "none"
    assert not first.training


def other_encoder(model, **changes):
    options = {"mean": MEAN, "std": STD, "image_size": 32, **changes}
    return Encoder(model.backbone, model_bands=S2_12, name="other", config=model.config, **options)


def entries(*models):
    return deduplicate_names(models, [f"runs/{number}" for number in range(len(models))])


def test_models_of_one_input_share_their_floors(model):
    shared = floors_of(entries(model, other_encoder(model)))
    assert [(floor.title, floor.kind, floor.sizes) for floor in shared] == [
        ("image statistics", "image-statistics", (32,)),
        ("random test_resnet", "random-init", (32,)),
    ]
    assert {floor.input_hash for floor in shared} == {entries(model)[0].input_hash}
    assert [floor.architecture for floor in shared] == ["", "test_resnet"]
    larger = other_encoder(model, image_size=64)
    assert [floor.sizes for floor in floors_of(entries(larger, model))] == [(32, 64)] * 2
    other = other_encoder(model, mean=[m + 0.1 for m in MEAN])
    both = floors_of(entries(model, other))
    assert len({floor.title for floor in both}) == 4
    assert both[2].title == "image statistics (input of other)"
    assert both[2].encoder.name == "image statistics"
    assert both[2].input_hash == entries(other)[0].input_hash != both[0].input_hash


def test_rows_of_models_and_floors(model, store):
    seen = []
    scores = evaluate(
        model, store, FOLDER, split="loo", image_sizes=(16, 32), protocols=KNN(k=(1, 5)),
        on_progress=lambda *a: seen.append(a),
    )  # fmt: skip
    rows = scores.rows
    names = [model.name, "image statistics", "random test_resnet"]
    assert [(r.model, r.image_size, r.k, r.metric) for r in rows] == [
        (name, size, k, metric)
        for name in names
        for size in (16, 32)
        for k in (1, 5)
        for metric in ("accuracy_macro", "accuracy_overall")
    ]
    first = rows[0]
    assert first.model_hash == model.model_hash
    assert len(first.model_hash) == 64
    assert {r.model_hash for r in rows if r.model != model.name} == {"none"}
    kinds = dict.fromkeys((r.model, r.kind) for r in rows)
    assert list(kinds) == list(
        zip(names, ("model", "image-statistics", "random-init"), strict=True)
    )
    assert first.baseline == "moco-r18"
    assert {r.input_hash for r in rows} == {first.input_hash}
    assert (first.architecture, rows[-1].architecture) == ("test_resnet", "test_resnet")
    assert (first.settings, first.chosen, first.origin) == ("", "", "")
    assert first.recipe == "moco_georank@0123456789ab"
    assert (first.task, first.protocol, first.split) == ("folder", "knn", "loo")
    assert (first.n_train, first.n_test, first.store_hash) == (36, 36, store.hash)
    assert first.bands == " ".join(S2_12)
    assert all(0 <= r.ci_low <= r.value <= r.ci_high <= 1 for r in rows)
    assert seen[-1] == (12_000, 12_000, "random test_resnet at 32 px, knn")
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    # Classes differ by brightness: the floor that sees it must be right.
    statistics = [r for r in rows if r.model == "image statistics" and r.k == 1]
    assert all(r.value == 1 for r in statistics)


def test_size_defaults_to_each_models_own_and_floors_can_be_left_out(model, store):
    options = {"split": "random", "protocols": [KNN(k=3)], "floors": False}
    rows = evaluate([model], store, FOLDER, **options).rows
    assert {(r.model, r.image_size) for r in rows} == {(model.name, 32)}
    assert rows[0].n_train + rows[0].n_test == 36
    assert rows[0].split == "random80-seed0"
    again = evaluate([model, model], store.path, "folder", **options).rows
    assert [r.value for r in again] == [r.value for r in rows]


class PlaceMark(nn.Module):
    """Tells samples of one place from all others, and nothing of their class."""

    num_features = 64

    def forward(self, x):
        code = (x[:, 0, 0, 0] * STD[0] + MEAN[0]) * 10_000
        return torch.nn.functional.one_hot(code.round().long() % 64, 64).float()


def test_loo_never_sees_the_own_place(tmp_path, monkeypatch):
    # Three dates per place, with the place in the first pixel: a sample that saw its own place
    # would be right always.
    places = np.repeat(np.arange(30), 3)
    labels = np.random.default_rng(0).integers(0, 3, 30)[places]
    store = make_store(tmp_path / "s", labels.tolist(), places=places.tolist())
    read = store.read

    def marked(indices, bands=None):
        patches = read(indices, bands)
        patches[:, 0, 0, 0] = 6400 + store.place[indices]
        return patches

    monkeypatch.setattr(store, "read", marked)
    model = Encoder(PlaceMark(), model_bands=S2_12, mean=MEAN, std=STD, image_size=16)
    split = make_split(store, "loo")
    options = {"protocols": [KNN(k=(2,))], "floors": False}
    [_, overall] = evaluate([model], store, FOLDER, split=split, **options).rows
    assert overall.value < 0.7
    # The same with only the sample itself left out finds its place, and is always right.
    lax = type(split)(**{**vars(split), "place": np.arange(len(places))})
    [_, overall] = evaluate([model], store, FOLDER, split=lax, **options).rows
    assert overall.value == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"protocols": [KNN(k=(36 + 1,))]}, "k must lie between 1 and the 36"),
        ({"protocols": [KNN(k=())]}, "k must lie"),
        ({"image_sizes": (32, 7)}, "between 8 and 2048 pixels, not 7"),
        ({"image_sizes": 2049}, "between 8 and 2048"),
        ({"protocols": [KNN(temperature=0.0)]}, "temperature"),
        ({"protocols": []}, "No protocol is given"),
        ({"protocols": "knm"}, "Did you mean 'knn'"),
        ({"protocols": MaskKNN()}, "predicts mask, not the class"),
        ({"pretrain_stores": ["stores/a"]}, "is for --min-km"),
        ({"device": "gpu"}, "Unknown device"),
    ],
)
def test_wrong_settings_fail_before_any_feature(model, store, options, reason):
    def progress(*_):
        raise AssertionError("a feature was computed")

    with pytest.raises(UsageError, match=reason):
        evaluate([model], store, FOLDER, split="loo", on_progress=progress, **options)


def test_intervals_count_places_not_dates(model, tmp_path):
    once = make_store(tmp_path / "once", [0, 1] * 5)
    split = make_split(once, "loo")
    # Labels that no image tells, so that some predictions are wrong.
    split = replace(split, label=np.array([0, 0, 0, 1, 1, 1, 0, 1, 1, 0]))
    # Every sample four times, at its place: the same predictions for the same places.
    places = np.tile(np.arange(10), 4)
    often = replace(
        split, samples=places, label=split.label[places], place=places,
        train=np.arange(40), test=np.arange(40),
    )  # fmt: skip
    options = {"protocols": [KNN(k=(1,))], "floors": False}
    widths = [
        [
            row.ci_high - row.ci_low
            for row in evaluate([model], once, FOLDER, split=s, **options).rows
        ]
        for s in (split, often)
    ]
    assert widths[1] == pytest.approx(widths[0])
    assert widths[0][0] > 0


def test_models_of_one_name_are_told_apart(model):
    models = [other_encoder(model) for _ in range(3)]
    models[1].name = "unique"
    found = deduplicate_names(models, ["runs/a", "runs/b", "runs/c"])
    assert [m.title for m in found] == ["other (runs/a)", "unique", "other (runs/c)"]
    assert [m.encoder.name for m in found] == ["other", "unique", "other"]


def test_nothing_to_evaluate(store):
    with pytest.raises(UsageError, match="There is no model to evaluate"):
        evaluate([], store, FOLDER)


def test_a_model_is_left_as_it_was(model, store):
    model.train()
    evaluate(model, store, FOLDER, split="loo", floors=False)
    assert model.training
    model.eval()


def test_evaluation_loads_nothing_of_the_training():
    code = (
        "import sys\n"
        "import georank_zoo.eval.evaluate\n"
        "heavy = ('georank_zoo.training', 'accelerate')\n"
        "loaded = {name for name in sys.modules if name.startswith(heavy)}\n"
        "assert not loaded, sorted(loaded)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_absent_classes(tmp_path):
    store = make_store(tmp_path / "s", [0, 2, 0, 2], class_names=["a", "b", "c"])
    assert make_split(store, "loo").absent(("a", "b", "c")) == ("b",)
