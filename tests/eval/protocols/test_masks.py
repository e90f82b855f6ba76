"""Protocols of masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from scipy.spatial.distance import cdist

from georank_cli.main import _run
from georank_zoo.data.store.patch import UNKNOWN, Patch
from georank_zoo.data.store.writer import StoreWriter
from georank_zoo.embed.extract import read_images
from georank_zoo.eval.evaluate import evaluate
from georank_zoo.eval.floors import image_statistics
from georank_zoo.eval.metrics.counts import MIOU, absent_from_masks, confusion
from georank_zoo.eval.protocols.base import EvalPlan
from georank_zoo.eval.protocols.feature_maps import channels, extract_maps, feature_maps
from georank_zoo.eval.protocols.mask_heads import PixelLinear, UPerNet
from georank_zoo.eval.protocols.mask_knn import GRID, MaskKNN, coarse_masks
from georank_zoo.eval.protocols.mask_trained import (
    MaskFinetune,
    MaskLinear,
    MaskNetwork,
    MaskUPerNet,
    _turned,
    pixel_loss,
)
from georank_zoo.eval.protocols.registry import make_protocols
from georank_zoo.eval.results import predictions
from georank_zoo.eval.results import table as results
from georank_zoo.eval.results.settings import settings_from_json
from georank_zoo.eval.splits.make import hold_out_validation, make_split
from georank_zoo.models.encoder import create_model
from georank_zoo.utils.errors import UsageError
from tests.support.models import make_export

BANDS = ("B02", "B03", "B04")
SIZE = 64


def mask_store(path, count=24, *, shuffled=False, seed=0, dates=1):
    """Patches of two halves, dark (class 0) and bright (class 1), with a frame of unknown pixels.

    Class 2 is in no mask. `shuffled` gives each patch the mask of another; so many `dates` in
    succession are of one place.
    """
    rng = np.random.default_rng(seed)
    writer = StoreWriter(
        path, bands=BANDS, size=SIZE, spec={}, target="mask", splits=("official",),
        class_names=("dark", "bright", "absent"),
    )  # fmt: skip
    masks, patches = [], []
    for _ in range(count):
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[:, SIZE // 2 :] = 1
        masks.append(np.rot90(mask, rng.integers(0, 4)).copy())
    for number, mask in enumerate(masks):
        pixels = 500 + 3000 * mask[None].astype(int) + rng.integers(0, 200, (3, SIZE, SIZE))
        shown = masks[rng.integers(0, count)].copy() if shuffled else mask.copy()
        shown[:4] = UNKNOWN
        role = ("train", "train", "validation", "test")[number % 4]
        patches.append(
            Patch(pixels.astype(np.uint16), 10 + number, 20, key=str(number), place="0",
                  mask=shown, roles={"official": role})
        )  # fmt: skip
    for start in range(0, count, dates):
        writer.add(patches[start : start + dates])
    return writer.finish(reader="test")


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", in_chans=3, num_classes=0)
    return make_export(
        tmp_path_factory.mktemp("m") / "model", network, "resnet10t", georank={"name": "moco"},
        image_size=SIZE, bands=BANDS, mean=[0.2] * 3, std=[0.15] * 3,
    )  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return mask_store(tmp_path_factory.mktemp("s") / "s")


def context(export, store, **changes):
    split = make_split(store, "official")
    plan = EvalPlan(
        store=store, split=split, num_classes=3, image_sizes=(SIZE,), batch_size=5,
        seed=changes.pop("seed", 0),
    )  # fmt: skip
    return plan.context(create_model(export), SIZE, **changes)


def test_confusion_counts_known_pixels():
    masks = np.array([[[0, 1], [UNKNOWN, 1]], [[2, 2], [2, UNKNOWN]]], np.uint8)
    predicted = np.array([[[0, 0], [1, 1]], [[2, 0], [2, 2]]])
    found = confusion(masks, predicted, 3)
    assert found.tolist() == [
        [[1, 0, 0], [1, 1, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0], [1, 0, 2]],
    ]  # fmt: skip


def test_maps_are_the_network_s(export, store):
    encoder = create_model(export)
    samples = np.arange(7)
    maps = extract_maps(encoder, store, samples=samples, image_size=SIZE, batch_size=3)
    z = read_images(encoder, store, samples, SIZE, "cpu")
    with torch.inference_mode():
        expected = encoder.backbone.forward_features(z).numpy()
    np.testing.assert_allclose(maps, expected, atol=1e-5)
    assert channels(encoder, 4) == [m.shape[1] for m in feature_maps(encoder, z, 4)]
    # The floor: each cell of 32 pixels by the statistics of its bands.
    statistics = image_statistics(encoder).encoder
    floor = extract_maps(statistics, store, samples=samples, image_size=SIZE)
    cell = z[2, :, :32, 32:].numpy()
    np.testing.assert_allclose(floor[2, :3, 0, 1], cell.mean(axis=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(floor[2, 3:, 0, 1], cell.std(axis=(1, 2)), atol=1e-3)


def test_knn_equals_brute_force(export, store):
    one = context(export, store)
    (three, seven) = MaskKNN(k=(3, 7)).predict(one)
    split = one.split
    grid = torch.nn.functional.interpolate(
        torch.from_numpy(one.maps), size=(GRID, GRID), mode="bilinear", align_corners=False
    ).numpy()
    masks = coarse_masks(one, np.arange(len(split.samples)))
    assert (masks == UNKNOWN).any()
    bank = np.concatenate([grid[i].reshape(len(grid[i]), -1).T for i in split.train])
    label = np.concatenate([masks[i].ravel() for i in split.train])
    bank, label = bank[label != UNKNOWN].astype(np.float64), label[label != UNKNOWN]
    for prediction, k in ((three, 3), (seven, 7)):
        assert prediction.k == k
        for row, i in enumerate(split.test):
            cells = grid[i].reshape(len(grid[i]), -1).T.astype(np.float64)
            distance = cdist(cells, bank)
            nearest = label[np.argsort(distance, axis=1, kind="stable")[:, :k]]
            votes = np.array([np.bincount(v, minlength=3).argmax() for v in nearest])
            expected = confusion(masks[i][None], votes.reshape(1, GRID, GRID), 3)[0]
            # Equally near cells may be taken in another order.
            assert np.abs(prediction.predicted[row] - expected).sum() <= 2


@pytest.mark.parametrize(
    "protocol",
    [
        MaskKNN(k=(5,)),
        MaskLinear(epochs=30, lr=0.05),
        MaskUPerNet(epochs=4, train_batch_size=4),
        MaskFinetune(epochs=4, train_batch_size=4),
    ],
    ids=lambda protocol: protocol.name,
)
def test_learns_what_is_there_and_nothing_else(protocol, export, store, tmp_path):
    def miou(of):
        one = context(export, of)
        before = {name: value.clone() for name, value in one.encoder.state_dict().items()}
        protocol.check(one)
        (prediction,) = protocol.predict(one)
        assert prediction.predicted.shape == (len(one.split.test), 3, 3)
        # The context's own network is for the next protocol too.
        for name, value in one.encoder.state_dict().items():
            torch.testing.assert_close(value, before[name], rtol=0, atol=0)
        return MIOU.value(prediction.predicted, one.split.label[one.split.test], 3)

    assert miou(store) > 0.8
    assert miou(mask_store(tmp_path / "s", shuffled=True)) < 0.75


def test_upernet_takes_an_odd_number_of_samples_by_twos(export, tmp_path):
    one = context(export, mask_store(tmp_path / "s", count=9))
    protocol = MaskUPerNet(epochs=1, train_batch_size=2)
    fitted, _ = hold_out_validation(one.split)
    assert len(fitted) % 2 == 1
    protocol.check(one)
    (prediction,) = protocol.predict(one)
    assert prediction.predicted.sum() > 0
    few = make_split(mask_store(tmp_path / "few", count=4), "random")
    few = replace(few, train=few.train[:1], validation=few.train[1:])
    with pytest.raises(UsageError, match="upernet needs two training samples"):
        protocol.check(replace(one, split=few))


def test_upernet_leaves_the_backbone_and_finetune_does_not(export, store):
    one = context(export, store)
    for frozen in (True, False):
        network = MaskNetwork(one, frozen=frozen).train()
        assert network.encoder.training != frozen
        z = read_images(network.encoder, store, np.arange(4), SIZE, "cpu")
        network(z).sum().backward()
        gradients = [p.grad is not None for p in network.encoder.parameters()]
        assert any(gradients) != frozen
        assert all(p.grad is not None for p in network.head.classifier.parameters())


def test_masks_turn_with_their_images():
    masks = torch.arange(5 * 6 * 6).view(5, 6, 6)
    z = masks[:, None].float().repeat(1, 2, 1, 1)
    turned, turned_masks = _turned(z, masks, np.random.default_rng(1))
    assert (turned == turned_masks[:, None]).all()
    corners = turned_masks[:, 0, 0] % 36
    assert len(set(corners.tolist())) > 1


def test_loss_is_of_known_pixels_at_the_masks_size():
    logits = torch.randn(2, 3, 4, 4)
    masks = torch.randint(0, 3, (2, 8, 8))
    masks[0] = UNKNOWN
    full = torch.nn.functional.interpolate(logits, size=(8, 8), mode="bilinear")[1]
    expected = torch.nn.functional.cross_entropy(full[None], masks[1:])
    torch.testing.assert_close(pixel_loss(logits, masks), expected)
    assert pixel_loss(logits, torch.full((2, 8, 8), UNKNOWN)) == 0


def test_heads():
    maps = [torch.randn(2, c, s, s) for c, s in ((8, 16), (16, 8), (32, 4), (64, 2))]
    assert PixelLinear([64], 5)([maps[-1]]).shape == (2, 5, 2, 2)
    assert UPerNet([8, 16, 32, 64], 5)(maps).shape == (2, 5, 16, 16)


def test_absent_classes_are_those_of_no_test_pixel(store):
    assert absent_from_masks(store, make_split(store, "official"), store.class_names) == ("absent",)


def test_what_does_not_fit_is_refused(store):
    with pytest.raises(UsageError, match="Unknown protocol of masks 'linear-sgd'"):
        make_protocols(["linear-sgd"], target="mask")
    with pytest.raises(UsageError, match="protocol of classes and labels 'upernet'"):
        make_protocols(["upernet"], target="class")
    with pytest.raises(UsageError, match="temperature is not a setting of protocol knn"):
        make_protocols(["knn"], target="mask", temperature=0.5)
    with pytest.raises(UsageError, match="trains on every sample"):
        MaskKNN().check(EvalPlan(store=store, split=make_split(store, "loo"), num_classes=3))


def test_floors_and_progress_of_each_protocol(export, store):
    """A floor whose network stays frozen is no network trained from scratch."""
    names = ["knn", "linear", "upernet", "finetune"]
    protocols = make_protocols(names, target="mask", epochs=1)
    seen = []
    rows = evaluate(
        export, store, "folder", split="official", protocols=protocols,
        on_progress=lambda *told: seen.append(told),
    ).rows  # fmt: skip
    models = {name: {row.model for row in rows if row.protocol == name} for name in names}
    frozen = {"moco", "image statistics", "random resnet10t"}
    assert models == {
        "knn": frozen, "linear": frozen, "upernet": frozen - {"image statistics"},
        "finetune": {"moco", "resnet10t from scratch"},
    }  # fmt: skip
    assert {tuple(settings_from_json(r.chosen)) for r in rows if r.protocol == "upernet"} == {
        ("epoch",)
    }
    chosen = {r.kind: settings_from_json(r.chosen) for r in rows if r.protocol == "finetune"}
    assert chosen == {"model": {"epoch": 1}, "scratch": {"epoch": 1, "backbone_lr": 0.001}}
    # Five pieces of the model, three and four of the frozen floors, one of the other: each told.
    assert seen[-1][:2] == (13_000, 13_000)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    told = {what.rpartition(", ")[2] for _, _, what in seen}
    assert told >= set(names)


def test_a_published_split_through_places_is_told(export, tmp_path, capsys):
    """GEO-Bench gives dates of one chip to training and test set."""
    for dates, told in ((1, False), (4, True)):
        store = mask_store(tmp_path / str(dates), count=16, dates=dates)
        arguments = ["eval", str(export), "--task", "folder", "--data", str(store.path)]
        arguments += ["--split", "official", "--no-floors", "--k", "1", "--size", "32"]
        assert _run(arguments, False) == 0
        shown = capsys.readouterr().out
        assert ("4 of the test samples are of a place that training" in shown) == told
        assert "Validation: the 4 samples" in shown
    drawn = make_split(store, "random")
    assert drawn.n_shared_places == 0
    assert len(drawn.test) == 4


def test_command(export, store, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["eval", str(export), "--task", "folder", "--data", str(store.path)]
    arguments += ["--split", "official", "--results", "r.csv", "--epochs", "1"]
    protocols = ["--protocol", "knn", "--protocol", "linear", "--protocol", "finetune"]
    assert _run([*arguments, *protocols], False) == 0
    shown = capsys.readouterr().out
    assert "miou" in shown
    assert "Not in the test set, so not in the macro averages: absent" in shown
    rows = results.read_rows(tmp_path / "r.csv")
    frozen = {"moco", "image statistics", "random resnet10t"}
    evaluated = {p: {row.model for row in rows if row.protocol == p} for p in ("knn", "linear")}
    assert evaluated == {"knn": frozen, "linear": frozen}
    trained = {row.model for row in rows if row.protocol == "finetune"}
    assert trained == {"moco", "resnet10t from scratch"}
    assert {row.metric for row in rows} == {"miou", "pixel_accuracy"}
    kept = predictions.read_predictions(tmp_path / "r.csv", rows[0])
    assert kept is not None
    assert kept.predicted.shape == (6, 3, 3)
    compare = ["compare", "r.csv", "--pair", "moco=random resnet10t", "--out", "c"]
    assert _run(compare, False) == 0
    line = (tmp_path / "c" / "differences.csv").read_text().splitlines()[1]
    assert "miou" in line
    assert line.split(",")[-3] != ""
