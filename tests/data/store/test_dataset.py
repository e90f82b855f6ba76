"""The store as a torch data set that shows itself."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from torch.utils.data import DataLoader, Subset, random_split

from georank_zoo.bands import to_reflectance
from georank_zoo.data.store.figure import stretch
from georank_zoo.data.store.patch import NO_LABEL, NO_POSITION, NO_TIME, UNKNOWN, Patch, Target
from georank_zoo.data.store.patch_store import PatchStore, open_store
from georank_zoo.data.store.writer import StoreWriter
from georank_zoo.utils.errors import StoreError
from tests.support.trees import noise

RGB = ("B02", "B03", "B04")
CLASSES = tuple(f"class {n}" for n in range(11))


def write(
    path: Path,
    target: Target = "class",
    *,
    bands: Sequence[str] = RGB,
    count: int = 24,
    size: int = 8,
    located: bool = True,
) -> PatchStore:
    """One place a patch, each third one unlabeled and without a date."""
    names = CLASSES if located else ()
    writer = StoreWriter(path, bands=bands, size=size, spec={}, target=target, class_names=names)
    for n in range(count):
        known = n % 3 != 2 and bool(names)
        mask = np.full((size, size), UNKNOWN, np.uint8)
        if known:
            mask[: size // 2] = n % len(CLASSES)
        writer.add([
            Patch(
                noise((len(bands), size, size), n), key=f"f{n}.tif", place="a",
                lat=n / 2 if located else NO_POSITION, lon=-n if located else NO_POSITION,
                time=86_400 * n if n % 3 != 2 else NO_TIME,
                label=n % len(CLASSES) if known and target == "class" else NO_LABEL,
                labels=np.arange(len(CLASSES), dtype=np.uint8) % 2
                if known and target == "labels" else None,
                mask=mask if target == "mask" else None,
            )
        ])  # fmt: skip
    return writer.finish(reader="test")


@pytest.fixture
def store(tmp_path: Path) -> PatchStore:
    return write(tmp_path / "s")


def test_an_item_is_reflectance_and_what_is_known(store: PatchStore) -> None:
    item = store[4]
    assert item.keys() == {"image", "latlon", "place", "time", "key", "label"}
    assert item["image"].dtype == torch.float32
    expected = to_reflectance(torch.from_numpy(noise((3, 8, 8), 4)), "dn")
    assert torch.equal(item["image"], expected)
    assert item["latlon"].dtype == torch.float64
    assert item["latlon"].tolist() == [2, -4]
    assert (item["place"], item["time"], item["key"]) == (4, 4 * 86_400, "f4.tif")
    assert (int(item["label"]), int(store[5]["label"])) == (4, NO_LABEL)
    item["latlon"][:] = 0
    assert store.latlon[4].tolist() == [2, -4]


def test_items_of_other_targets(tmp_path: Path) -> None:
    labels = write(tmp_path / "labels", "labels")
    assert "label" not in labels[0]
    assert labels[0]["labels"].tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert labels[2]["labels"].tolist() == [UNKNOWN] * 11
    masks = write(tmp_path / "mask", "mask")
    assert "label" not in masks[0]
    np.testing.assert_array_equal(masks[1]["mask"], masks.masks(np.array([1]))[0])
    assert masks[1]["mask"].dtype == torch.int64
    unlabeled = write(tmp_path / "none", located=False)
    assert not unlabeled[0].keys() & {"label", "labels", "mask"}
    assert unlabeled[0]["latlon"].isnan().all()


def test_positions_count_from_both_ends(store: PatchStore) -> None:
    assert store[-1]["key"] == store[np.int64(23)]["key"] == "f23.tif"
    assert [item["key"] for item in store] == store.keys
    for index in (24, -25):
        with pytest.raises(IndexError, match=f"No patch {index}: .* has 24 patches"):
            store[index]
    with pytest.raises(TypeError):
        store["f4.tif"]  # type: ignore[index]


def test_an_item_does_not_read_its_shard(tmp_path: Path) -> None:
    store = write(tmp_path / "s", size=256, count=16)
    assert len(store.header.shards) == 1
    _ = store[0]
    tracemalloc.start()
    _ = store[9]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * store[9]["image"].nbytes < store.nbytes


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_joins_items(store: PatchStore, workers: int) -> None:
    loader = DataLoader(store, batch_size=10, num_workers=workers)
    batches = list(loader)
    assert [len(batch["key"]) for batch in batches] == [10, 10, 4]
    images = torch.cat([batch["image"] for batch in batches])
    np.testing.assert_array_equal(images[17], store[17]["image"])
    assert torch.cat([batch["place"] for batch in batches]).tolist() == store.place.tolist()
    assert torch.cat([batch["time"] for batch in batches]).tolist() == store.time.tolist()


def test_subsets(store: PatchStore) -> None:
    assert [item["key"] for item in Subset(store, [3, 1])] == ["f3.tif", "f1.tif"]
    train, test = random_split(store, [0.75, 0.25])
    assert sorted(item["place"] for part in (train, test) for item in part) == list(range(24))


def test_a_store_shows_what_it_is(store: PatchStore) -> None:
    assert repr(store) == (
        f"PatchStore({str(store.path)!r}: 24 patches of 8 px, 24 places, 3 bands, 11 classes)"
    )
    html = store._repr_html_()
    for text in ("24 of 8 px", "B02, B03, B04", "11: class 0, class 1", "0.0000 to 11.5000"):
        assert text in html
    assert repr(open_store(store.path)) == repr(store)


def shown(figure: object, axis: int = 0) -> np.ndarray:
    return np.asarray(figure.axes[axis].images[0].get_array())  # type: ignore[attr-defined]


def test_a_patch_is_drawn_in_true_color(store: PatchStore) -> None:
    figure = store.plot(4)
    pixels = store.read(np.array([4]), ("B04", "B03", "B02"))[0] / 10_000
    np.testing.assert_array_equal(shown(figure), stretch(pixels).transpose(1, 2, 0))
    assert figure.get_suptitle() == "Patch 4: class 4\nplace 4 · 1970-01-05 · 2°N 4°W"
    assert store.plot(-1).get_suptitle() == "Patch 23: unlabeled\nplace 23 · 11.5°N 23°W"
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_other_bands_are_drawn_in_gray(tmp_path: Path) -> None:
    figure = write(tmp_path / "s", bands=("B8A", "B02"), located=False).plot(0)
    assert shown(figure).shape == (8, 8)
    assert figure.axes[0].get_title() == "B8A"
    assert figure.get_suptitle() == "Patch 0\nplace 0 · 1970-01-01"


def test_dark_patches_do_not_become_noise() -> None:
    calm = 0.02 + np.random.default_rng(0).normal(0, 0.0005, (3, 32, 32))
    assert stretch(calm).max() < 0.3
    bright = stretch(np.random.default_rng(0).uniform(0.05, 0.3, (3, 32, 32)))
    assert bright.min() < 0.1
    assert bright.max() == 1


def test_masks_and_several_labels_are_drawn(tmp_path: Path) -> None:
    figure = write(tmp_path / "mask", "mask").plot(1)
    image = shown(figure, 1)
    legend = figure.axes[1].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["class 1", "unknown"]
    for row, handle in zip((0, 7), legend.legend_handles, strict=True):
        assert to_hex(image[row, 0]) == to_hex(handle.get_facecolor())
    title = write(tmp_path / "labels", "labels").plot(0).get_suptitle()
    assert title.startswith("Patch 0: class 1, class 3 and 3 more\n")


def test_the_map_has_one_dot_a_place(world_store: PatchStore) -> None:
    figure = world_store.plot_map()
    (dots,) = figure.axes[0].collections
    assert len(dots.get_offsets()) == 96
    np.testing.assert_array_equal(
        np.sort(np.asarray(dots.get_offsets())[:, 1]), np.sort(world_store.latlon[::2, 0])
    )
    texts = [text.get_text().rpartition(" ")[0] for text in figure.legends[0].get_texts()]
    assert texts == list(world_store.class_names)


def test_the_legend_of_many_classes_is_bounded(tmp_path: Path) -> None:
    store = write(tmp_path / "s", count=40)
    figure = store.plot_map()
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(texts) == 8 + 2
    assert texts[-1] == "unlabeled (13)"
    assert sum(int(text.rpartition("(")[2][:-1]) for text in texts) == 40


def test_a_map_needs_positions(tmp_path: Path) -> None:
    store = write(tmp_path / "s", located=False)
    with pytest.raises(StoreError, match=r"no positions to map .*test files hold none"):
        store.plot_map()
