from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import torch
from torchgeo.datasets import BigEarthNet, BigEarthNetV2

from georank_zoo.data.datasets.bigearthnet import BIGEARTHNET, CORINE, DROPPED
from georank_zoo.data.files import band_files
from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.readers import open_reader
from georank_zoo.data.readers.base import Reader, Reading
from georank_zoo.data.store.patch import ROLES, Patch
from georank_zoo.eval.splits.make import make_split
from georank_zoo.eval.tasks import TASKS, class_names
from georank_zoo.utils.errors import StoreError, UsageError
from tests.support import bigearthnet_tree as tree
from tests.support.command_line import run
from tests.support.trees import noise, truncate, write_tif


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 2, to be read only."""
    return tree.version_2(tmp_path_factory.mktemp("ben"))


@pytest.fixture
def second(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "v2"))


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return tree.version_1(tmp_path / "v1")


def read_all(reader: Reader) -> Reading:
    readings = [reader.read(item) for item in reader.items()]
    return Reading(
        [patch for reading in readings for patch in reading.patches],
        [skipped for reading in readings for skipped in reading.left_out],
    )


def by_name(reader: Reader) -> dict[str, Patch]:
    return {patch.key.rpartition("/")[2]: patch for patch in read_all(reader).patches}


def names_of(labels: np.ndarray) -> list[str]:
    return [BIGEARTHNET.classes[n] for n in np.flatnonzero(labels)]


def test_classes_are_torchgeos() -> None:
    assert list(BIGEARTHNET.classes) == BigEarthNet.class_sets[19]
    published = BigEarthNet.class_sets[43]
    converter = {
        published[k]: BIGEARTHNET.classes[v] for k, v in BigEarthNet.label_converter.items()
    }
    assert {corine: name for name, group in CORINE.items() for corine in group} == converter
    assert set(DROPPED) == set(published) - set(converter)


def test_version_2_is_what_torchgeo_reads(second: Path) -> None:
    tree.for_torchgeo(second)
    patches = by_name(open_reader("bigearthnet", second))
    seen = 0
    for part, role in (("train", "train"), ("val", "validation"), ("test", "test")):
        theirs = BigEarthNetV2(second, split=part, bands="s2")
        for n, name in enumerate(theirs.metadata_df["patch_id"]):
            sample, ours = theirs[n], patches[name]
            np.testing.assert_array_equal(ours.pixels, sample["image"].numpy())
            np.testing.assert_array_equal(ours.labels, sample["label"].numpy())
            assert ours.roles == {"official": role}
            seen += 1
    assert seen == len(patches) == 4


def test_version_1_is_what_torchgeo_reads(first: Path) -> None:
    tree.for_torchgeo(first)
    patches = by_name(open_reader("bigearthnet", first))
    seen = 0
    for part in ("train", "val", "test"):
        theirs = BigEarthNet(first, split=part, bands="s2")
        for n, folder in enumerate(theirs.folders):
            sample, ours = theirs[n], patches[Path(folder["s2"]).name]
            np.testing.assert_array_equal(ours.pixels, sample["image"].numpy())
            np.testing.assert_array_equal(ours.labels, sample["label"].numpy())
            assert ours.roles == {}
            seen += 1
    assert seen == len(patches) == 4


def test_bands_of_20_and_60_m_are_enlarged_bilinearly(published: Path) -> None:
    reader = open_reader("bigearthnet", published, bands="B02,B05,B09")
    folder = published / "BigEarthNet-S2" / tree.EARLY / f"{tree.EARLY}_27_55"
    pixels = by_name(reader)[folder.name].pixels
    for channel, band in enumerate(reader.bands):
        with rasterio.open(folder / f"{folder.name}_{band}.tif") as file:
            native = torch.from_numpy(file.read().astype(np.float64))[None]
        expected = torch.nn.functional.interpolate(native, (120, 120), mode="bilinear")[0, 0]
        assert np.abs(pixels[channel] - expected.numpy()).max() <= 0.5 + 1e-9


def test_dates_of_a_place_are_one_item(published: Path) -> None:
    items = open_reader("bigearthnet", published).items()
    assert [len(item.files) for item in items if item.units] == [2, 1, 1]
    reading = open_reader("bigearthnet", published).read(
        items[[len(i.files) for i in items].index(2)]
    )
    assert len({patch.place for patch in reading.patches}) == 1
    days = [np.datetime64(patch.time, "s").astype("datetime64[D]") for patch in reading.patches]
    assert days == [np.datetime64("2017-06-13"), np.datetime64("2017-08-08")]
    # A slice of the items is what preparing goes on with.
    assert [item.name for item in items[2:]] == [item.name for item in list(items)[2:]]
    assert len(items[2:]) == len(items) - 2
    with pytest.raises(IndexError):
        items[len(items)]


def test_the_same_column_and_row_of_another_tile_is_another_place(second: Path) -> None:
    other = f"{tree.EARLY[:-6]}T34VER_26_57"
    tree.write_patch(second / "BigEarthNet-S2" / other[:-6] / other, 9)
    rows = [*tree.ROWS, (other, ["Pastures"], "test", "S2A_MSIL2A_20170613T101031_26_57b")]
    tree.write_metadata(second / "metadata.parquet", rows)
    items = open_reader("bigearthnet", second).items()
    assert [len(item.files) for item in items if item.units] == [2, 1, 1, 1]


def test_dates_of_a_place_of_version_1_are_found_by_their_footprint(first: Path) -> None:
    seen: list[tuple[int, int]] = []
    reader = open_reader("bigearthnet", first, on_progress=lambda *done: seen.append(done))
    assert sorted(len(item.files) for item in reader.items()) == [1, 1, 2]
    assert seen[-1] == (4, 4)


def test_position_is_the_center(published: Path) -> None:
    patch = by_name(open_reader("bigearthnet", published))[f"{tree.EARLY}_26_57"]
    # UTM 33N 331800 E, 5331000 N, by the inverse series of Snyder (1987).
    assert (patch.lat, patch.lon) == pytest.approx((48.110035, 12.740300), abs=1e-5)


def test_patches_that_are_not_recommended_are_left_out_and_not_bad(second: Path) -> None:
    tree.write_metadata(second / "metadata_for_patches_with_snow_cloud_or_shadow.parquet",
                        [tree.SNOWY], snow=True)  # fmt: skip
    report = prepare_store(open_reader("bigearthnet", second), second / "store", max_bad=0)
    reasons = {s.item.rpartition("/")[2]: s.reason for s in report.skipped}
    assert reasons == {
        tree.SNOWY[0]: "not recommended: seasonal snow",
        tree.UNKNOWN_PATCH: "not recommended: not in the metadata",
    }
    assert (report.bad, report.units) == (0, 4)


def test_flags_in_the_metadata_itself_count(second: Path) -> None:
    tree.write_metadata(second / "metadata.parquet", [*tree.ROWS, tree.SNOWY], snow=True)
    reading = read_all(open_reader("bigearthnet", second))
    assert reading.patches == []
    assert {s.reason for s in reading.left_out} == {
        "not recommended: seasonal snow", "not recommended: not in the metadata",
    }  # fmt: skip


def test_version_1_with_metadata_has_its_labels_and_split(first: Path) -> None:
    tree.write_metadata(first / "other.parquet", tree.ROWS[1:])
    reader = open_reader("bigearthnet", first, metadata=first / "other.parquet")
    patches = by_name(reader)
    assert set(patches) == {row[3] for row in tree.ROWS[1:]}
    for _, labels, role, name in tree.ROWS[1:]:
        assert patches[name].roles == {"official": role}
        assert set(names_of(patches[name].labels)) == set(labels)


def test_store_task_and_split(published: Path, tmp_path: Path) -> None:
    store = prepare_store(open_reader("bigearthnet", published), tmp_path / "s").store
    assert class_names(TASKS["bigearthnet"], store) == BIGEARTHNET.classes
    assert store.header.places == 3
    split = make_split(store, "official")
    # The two dates of the training place, and one patch of each other part.
    assert split.validation is not None
    assert (len(split.train), len(split.validation), len(split.test)) == (2, 1, 1)
    assert names_of(split.label[split.test[0]]) == ["Urban fabric", "Pastures"]
    roles = store.roles["official"]
    assert [ROLES[role] for role in roles] == [
        next(row[2] for row in tree.ROWS if key.endswith(row[0])) for key in store.keys
    ]


def test_missing_bands(published: Path) -> None:
    with pytest.raises(UsageError, match=r"Missing band\(s\) B10"):
        open_reader("bigearthnet", published, bands="s2-13")


def _edit(column: str, change: Callable[[list[object]], list[object]]) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        table = pq.read_table(root / "metadata.parquet").to_pydict()
        table[column] = change(table[column])
        rows = list(
            zip(*(table[c] for c in ("patch_id", "labels", "split", "s2v1_name")), strict=True)
        )
        tree.write_metadata(root / "metadata.parquet", rows)  # type: ignore[arg-type]

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: (r / "metadata.parquet").unlink(), "Give the file .* with --metadata"),
        (lambda r: truncate(r / "metadata.parquet"), "not a readable parquet"),
        (lambda r: (r / "metadata.parquet").write_text("x"), "not a readable parquet"),
        (_edit("labels", lambda c: [["Lava"], *c[1:]]), "unknown label 'Lava'. Valid: Urban"),
        (_edit("split", lambda c: ["val", *c[1:]]), "unknown split 'val'. Valid: train;"),
        (_edit("patch_id", lambda c: [c[1], *c[1:]]), "1 patches more than once.*splits overlap"),
        (_edit("patch_id", lambda c: [f"x{i}" for i in range(4)]), "knows none of the 6 patches"),
    ],
)  # fmt: skip
def test_bad_metadata(second: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(second)
    with pytest.raises(UsageError, match=message):
        open_reader("bigearthnet", second)


def test_missing_columns_are_named(second: Path) -> None:
    table = pq.read_table(second / "metadata.parquet").drop(["split", "labels"])
    pq.write_table(table, second / "metadata.parquet")
    with pytest.raises(UsageError, match=r"has no column\(s\) labels, split"):
        open_reader("bigearthnet", second)


def _tif(band: str, pixels: np.ndarray, **keywords: object) -> Callable[[Path], object]:
    bounds = (332_400, 5_332_800, 333_600, 5_334_000)  # column 27, row 55
    given = {"crs": "EPSG:32633", "bounds": bounds, **keywords}
    return lambda folder: write_tif(folder / f"{folder.name}_{band}.tif", pixels, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: truncate(f / f"{f.name}_B05.tif"), "unreadable or truncated"),
        (lambda f: (f / f"{f.name}_B05.tif").write_bytes(b""), "unreadable or truncated"),
        (lambda f: (f / f"{f.name}_B05.tif").unlink(), "missing band: B05"),
        (lambda f: (f / f"{f.name}_B02.tif").unlink(), "missing band: B02"),
        (_tif("B05", noise((1, 120, 120))), "mixed sizes: B05 is 120 x 120, not 60 x 60"),
        (_tif("B05", noise((2, 60, 60))), "wrong band count"),
        (_tif("B05", noise((1, 60, 60)).astype(np.float32)), "wrong data type"),
        (_tif("B05", noise((1, 60, 60)), crs="EPSG:32634"), "mixed footprints: B05"),
        (_tif("B05", noise((1, 60, 60)), bounds=(0, 0, 1200, 1200)), "mixed footprints: B05"),
        (_tif("B02", noise((1, 120, 120)), crs=None), "no CRS"),
    ],
)
def test_a_bad_file_costs_its_patch_only(
    second: Path, damage: Callable[[Path], object], reason: str
) -> None:
    damage(second / "BigEarthNet-S2" / tree.EARLY / f"{tree.EARLY}_27_55")
    reading = read_all(open_reader("bigearthnet", second))
    (bad,) = [s for s in reading.left_out if not s.reason.startswith("not recommended")]
    assert bad.item == f"{tree.EARLY}/{tree.EARLY}_27_55"
    assert bad.reason.startswith(reason)
    assert len(reading.patches) == 3


def test_values_that_are_no_digital_numbers(second: Path) -> None:
    folder = second / "BigEarthNet-S2" / tree.EARLY / f"{tree.EARLY}_27_55"
    for file in folder.iterdir():
        with rasterio.open(file, "r+") as dataset:
            dataset.write(noise((1, *dataset.shape)) // 1000 + 1)
    reading = read_all(open_reader("bigearthnet", second))
    assert any("values contradict unit 'dn'" in s.reason for s in reading.left_out)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"labels": ["Lava"]}', "labels out of range: Lava"),
        ('{"labels": ["Airports"]}', "none of the 19 labels"),
        ('{"labels": "Pastures"}', "damaged labels"),
        ('{"label": []}', "damaged labels"),
        ('{"lab', "damaged labels"),
        (None, "no labels: neither a JSON file nor metadata.parquet"),
    ],
)
def test_bad_labels_of_version_1(first: Path, text: str | None, reason: str) -> None:
    name = tree.ROWS[2][3]
    file = first / "BigEarthNet-v1.0" / name / f"{name}_labels_metadata.json"
    file.unlink() if text is None else file.write_text(text)
    (bad,) = read_all(open_reader("bigearthnet", first)).left_out
    assert (bad.item, bad.reason.startswith(reason)) == (name, True), bad.reason


def test_too_many_bad_patches_leave_nothing(
    second: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truncate(
        second
        / "BigEarthNet-S2"
        / tree.EARLY
        / f"{tree.EARLY}_27_55"
        / f"{tree.EARLY}_27_55_B03.tif"
    )
    assert run("data", "prepare", "bigearthnet", second, "--out", second / "s") == 1
    shown = capsys.readouterr().err
    assert "1 of 4 already" in shown
    assert "unreadable or truncated" in shown
    assert not (second / "s").exists()
    assert not (second / "s.partial").exists()


def test_both_versions_in_one_folder(second: Path, first: Path) -> None:
    (first / "BigEarthNet-v1.0").rename(second / "BigEarthNet-v1.0")
    with pytest.raises(UsageError, match="holds both versions"):
        open_reader("bigearthnet", second)
    for name in ("BigEarthNet-S2", "BigEarthNet-v1.0"):
        assert len(read_all(open_reader("bigearthnet", second / name)).patches) == 4


def test_an_interrupted_preparation_goes_on(published: Path, tmp_path: Path) -> None:
    whole = prepare_store(
        open_reader("bigearthnet", published), tmp_path / "a", shard_bytes=1
    ).store

    def interrupt(done: int, total: int | None, note: str) -> None:
        if note == "2 patches":
            raise KeyboardInterrupt

    with pytest.raises(Exception, match="Interrupted at item"):
        prepare_store(open_reader("bigearthnet", published), tmp_path / "b", shard_bytes=1,
                on_progress=interrupt)  # fmt: skip
    report = prepare_store(open_reader("bigearthnet", published), tmp_path / "b", shard_bytes=1)
    assert report.resumed_at > 0
    assert report.store.hash == whole.hash
    assert report.skipped == whole.header.skipped


def test_nothing_recommended(second: Path) -> None:
    tree.write_metadata(second / "metadata.parquet", [*tree.ROWS, tree.SNOWY], snow=True)
    with pytest.raises(StoreError, match="Nothing to store"):
        prepare_store(open_reader("bigearthnet", second), second / "s")


@pytest.mark.parametrize(
    ("version", "folder", "kept"), [("v2", "BigEarthNet-S2", 19), ("v1", "BigEarthNet-v1.0", 42)]
)
def test_real_patches(real_data: Path, version: str, folder: str, kept: int) -> None:
    with (real_data / "bigearthnet_samples.csv").open() as file:
        rows = {r["patch"]: r for r in csv.DictReader(file) if r["version"] == version}
    root = real_data / "bigearthnet_samples" / folder
    metadata = real_data / "metadata" / "bigearthnet_v2_metadata.parquet"
    reader = open_reader("bigearthnet", root, metadata=metadata)
    reading = read_all(reader)
    assert len(reading.patches) == kept
    assert {s.reason for s in reading.left_out} <= {
        "not recommended: seasonal snow", "not recommended: cloud or shadow",
    }  # fmt: skip
    names = [p.key for p in reading.patches] + [s.item for s in reading.left_out]
    assert sorted(name.rpartition("/")[2] for name in names) == sorted(rows)
    for patch in reading.patches:
        row = rows[patch.key.rpartition("/")[2]]
        assert set(names_of(patch.labels)) == set(row["labels_19"].split("|"))
        assert patch.roles == {"official": row["split_v2"]}
        position = (float(row["lat"]), float(row["lon"]))
        assert (patch.lat, patch.lon) == pytest.approx(position, abs=1e-5)
    # Those that are left out are whole all the same: all 68 patches can be read.
    for skipped in reading.left_out:
        path = root / skipped.item
        files = band_files.find(path, {b: f"{path.name}_{b}.tif" for b in reader.bands})
        assert band_files.read_bands(
            files, reader.bands, side=120, size=120, root=root, default="BigEarthNet"
        )[0].any()
