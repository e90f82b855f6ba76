from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from georank_zoo.data.datasets import DATASETS
from georank_zoo.data.readers import open_reader
from georank_zoo.data.readers.base import Reader, Reading
from georank_zoo.data.readers.labels import read_labels
from georank_zoo.data.store.patch import NO_LABEL
from georank_zoo.geo import great_circle_km
from georank_zoo.utils.errors import BadItem, UsageError
from tests.support.trees import ALIEN_CRS, FOLDER_BANDS, noise, truncate, write_tif


def read_all(reader: Reader) -> Reading:
    whole = Reading([])
    for item in reader.items():
        reading = reader.read(item)
        whole.patches.extend(reading.patches)
        whole.left_out.extend(reading.left_out)
    return whole


def day(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def test_registry_is_lazy() -> None:
    code = (
        "import sys, georank_zoo.data.readers as r; print({'rasterio', 'torch'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


@pytest.mark.parametrize("name", DATASETS)
def test_wrong_options_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=f"Reader '{name}' does not take --color. It takes: --bands"
    ):
        open_reader(name, tmp_path, color=1)


@pytest.mark.parametrize("name", ["eurosat", "oscd", "folder"])
def test_empty_and_missing_folders(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no"):
        open_reader(name, tmp_path)
    with pytest.raises(UsageError, match="There is no folder"):
        open_reader(name, tmp_path / "x")


def test_unknown_reader(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'eurosat'"):
        open_reader("eurosta", tmp_path)


class TestEuroSat:
    def test_b8a_is_the_last_band_of_the_file(self, eurosat_tree: Path) -> None:
        reader = open_reader("eurosat", eurosat_tree)
        patch = reader.read(reader.items()[0]).patches[0]
        values = dict(zip(reader.bands, patch.pixels[:, 5, 5].tolist(), strict=True))
        assert values["B08"] == 1007
        assert values["B8A"] == 1012
        assert values["B09"] == 1008
        assert values["B11"] == 1010
        assert "B10" not in values

    def test_labels_keep_the_ten_names(self, eurosat_tree: Path) -> None:
        reader = open_reader("eurosat", eurosat_tree)
        labels = [p.label for p in read_all(reader).patches]
        assert len(reader.class_names) == 10
        assert labels == [0] * 3 + [1] * 3 + [9] * 3

    def test_chosen_bands(self, eurosat_tree: Path) -> None:
        reader = open_reader("eurosat", eurosat_tree, bands="B8A,B10")
        pixels = reader.read(reader.items()[0]).patches[0].pixels
        assert pixels[:, 5, 5].tolist() == [1012, 1009]

    def test_files_come_by_number(self, tmp_path: Path) -> None:
        for n in (10, 2, 1):
            write_tif(tmp_path / "River" / f"River_{n}.tif", noise((13, 64, 64)))
        names = [item.name for item in open_reader("eurosat", tmp_path).items()]
        assert names == ["River/River_1.tif", "River/River_2.tif", "River/River_10.tif"]

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (truncate, "unreadable or truncated"),
            (lambda p: p.write_bytes(b""), "unreadable or truncated"),
            (lambda p: write_tif(p, noise((12, 64, 64))), "wrong band count: 12 instead of 13"),
            (lambda p: write_tif(p, noise((13, 64, 64)), crs=None), "no CRS"),
            (lambda p: write_tif(p, noise((13, 64, 64)), crs=ALIEN_CRS[1]), "no CRS: .*Moon"),
            (lambda p: write_tif(p, np.zeros((13, 64, 64), np.uint16)), "all zero"),
            (lambda p: write_tif(p, noise((13, 60, 64))), "mixed sizes: 60 x 64"),
            (lambda p: write_tif(p, noise((13, 64, 64)) / np.float32(1e4)), "wrong data type"),
        ],
    )
    def test_bad_files(
        self, eurosat_tree: Path, damage: Callable[[Path], object], reason: str
    ) -> None:
        file = eurosat_tree / "AnnualCrop" / "AnnualCrop_1.tif"
        damage(file)
        reader = open_reader("eurosat", eurosat_tree)
        with pytest.raises(BadItem, match=reason):
            reader.read(reader.items()[0])

    def test_real_positions_lie_within_10_m(self, real_data: Path) -> None:
        with (real_data / "eurosat_ms.csv").open() as file:
            table = {row["filename"]: row for row in csv.DictReader(file)}
        reader = open_reader("eurosat", real_data / "eurosat_ms")
        patches = read_all(reader).patches
        assert len(patches) == len(table) == 202
        for patch in patches:
            row = table[patch.key]
            a = torch.tensor([[patch.lat, patch.lon]], dtype=torch.float64)
            b = torch.tensor([[float(row["lat"]), float(row["lon"])]], dtype=torch.float64)
            assert float(great_circle_km(a, b)) < 0.010, patch.key
            assert reader.class_names[patch.label] == row["label"]


class TestOscd:
    def test_two_dates_of_a_window_are_one_place(self, oscd_tree: Path) -> None:
        reader = open_reader("oscd", oscd_tree, size=32)
        assert [item.name for item in reader.items()] == ["pisa", "rio"]
        reading = reader.read(reader.items()[0])
        places = {p.place for p in reading.patches}
        # 90 x 120 pixels give 2 x 3 windows of 32.
        assert places == {"0,0", "0,32", "0,64", "32,0", "32,32", "32,64"}
        for place in places:
            one, other = (p for p in reading.patches if p.place == place)
            assert (one.time, other.time) == (day("2015-07-11"), day("2017-10-18"))
            assert (one.lat, one.lon) == (other.lat, other.lon)

    def test_positions_are_the_windows_centers(self, oscd_tree: Path) -> None:
        reader = open_reader("oscd", oscd_tree, size=32)
        patch = next(p for p in reader.read(reader.items()[0]).patches if p.place == "32,64")
        # 120 pixels over 0.012 degrees, 90 over 0.009: 0.0001 degrees a pixel.
        assert patch.lon == pytest.approx(10.0 + 0.0001 * (64 + 16), abs=1e-9)
        assert patch.lat == pytest.approx(43.009 - 0.0001 * (32 + 16), abs=1e-9)

    def test_all_bands_and_dates_come_on_one_grid(self, oscd_tree: Path) -> None:
        """The same ramp was written at 10, 20 and 60 m and, at the second date, two pixels short.

        Were one of them shifted by half a 20 m pixel, it would be off by 10 DN a pixel.
        """
        reader = open_reader("oscd", oscd_tree, size=32)
        for patch in reader.read(reader.items()[0]).patches:
            if patch.place != "0,32":  # away from the border, where nothing is extrapolated
                continue
            ramp = 1000 + 1200 * (np.arange(32, 64) + 0.5) / 120
            error = np.abs(patch.pixels - ramp[None, None])
            assert error.max() < 3, (patch.key, error.max(axis=(1, 2)))

    def test_windows_without_data_are_left_out(self, oscd_tree: Path) -> None:
        for file in (oscd_tree / "pisa" / "imgs_2").glob("*.tif"):
            with rasterio.open(file, "r+") as dataset:
                pixels = dataset.read()
                pixels[:, :, : pixels.shape[2] // 8] = 0  # 15 of 120 columns
                dataset.write(pixels)
        reader = open_reader("oscd", oscd_tree, size=32)
        reading = reader.read(reader.items()[0])
        assert [s.item for s in reading.left_out] == ["pisa/imgs_2@0,0", "pisa/imgs_2@32,0"]
        assert all(s.reason.startswith("window without data: ") for s in reading.left_out)
        assert len(reading.patches) == 10

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (Path.unlink, "missing band: B05 of imgs_2"),
            (truncate, "unreadable or truncated"),
            (lambda p: write_tif(p, noise((1, 45, 60))), "mixed footprints: B05"),
            (
                lambda p: write_tif(
                    p, noise((1, 90, 120)), crs="EPSG:4326", bounds=(10, 43, 10.012, 43.009)
                ),
                "mixed sizes: B05",
            ),
        ],
    )
    def test_bad_city(self, oscd_tree: Path, damage: Callable[[Path], object], reason: str) -> None:
        damage(next((oscd_tree / "pisa" / "imgs_2").glob("*_B05.tif")))
        reader = open_reader("oscd", oscd_tree, size=32)
        with pytest.raises(BadItem, match=reason):
            reader.read(reader.items()[0])

    def test_city_smaller_than_a_patch(self, oscd_tree: Path) -> None:
        reader = open_reader("oscd", oscd_tree, size=128)
        with pytest.raises(BadItem, match="smaller than a patch"):
            reader.read(reader.items()[0])

    def test_real_city(self, real_data: Path) -> None:
        root = real_data / "oscd_s2_l1c"
        reader = open_reader("oscd", root)
        assert len(reader.items()) == 24
        # Abu Dhabi's dates differ in size: 799 x 785 and 795 x 782.
        patches = reader.read(reader.items()[0]).patches
        assert len(patches) == 2 * (799 // 64) * (785 // 64)
        first = patches[0]
        with rasterio.open(next((root / "abudhabi" / "imgs_1").glob("*_B02.tif"))) as dataset:
            np.testing.assert_array_equal(
                first.pixels[reader.bands.index("B02")], dataset.read(1)[:64, :64]
            )


class TestFolder:
    def test_footprints_are_places_and_dates_come_from_names(self, folder_tree: Path) -> None:
        reader = open_reader("folder", folder_tree, labels="parent")
        assert reader.bands == FOLDER_BANDS
        assert reader.size == 32
        assert reader.class_names == ("crop", "forest")
        patches = [p for item in reader.items()[:2] for p in reader.read(item).patches]
        np.testing.assert_array_equal(patches[0].footprint, patches[1].footprint)
        assert [p.time for p in patches] == [day("2018-01-15"), day("2018-07-15")]
        assert [p.label for p in patches] == [0, 0]
        np.testing.assert_array_equal(patches[1].pixels, noise((4, 32, 32), 1))

    def test_bands_go_by_description(self, tmp_path: Path) -> None:
        pixels = noise((3, 16, 16))
        write_tif(tmp_path / "a.TIFF", pixels, descriptions=("B8A", "b2", "B08"))
        reader = open_reader("folder", tmp_path)
        assert reader.bands == ("B02", "B08", "B8A")
        found = reader.read(reader.items()[0]).patches[0].pixels
        np.testing.assert_array_equal(found, pixels[[1, 2, 0]])
        chosen = open_reader("folder", tmp_path, bands="B08")
        np.testing.assert_array_equal(chosen.read(chosen.items()[0]).patches[0].pixels, pixels[[2]])

    def test_bands_named_in_file_order(self, tmp_path: Path) -> None:
        pixels = noise((3, 16, 16))
        write_tif(tmp_path / "a.tif", pixels)
        with pytest.raises(UsageError, match="3 bands have no descriptions"):
            open_reader("folder", tmp_path)
        reader = open_reader("folder", tmp_path, bands="B12,B02,B03")
        assert reader.bands == ("B02", "B03", "B12")
        found = reader.read(reader.items()[0]).patches[0].pixels
        np.testing.assert_array_equal(found, pixels[[1, 2, 0]])

    def test_unknown_bands_are_named(self, tmp_path: Path) -> None:
        write_tif(tmp_path / "a.tif", noise((3, 16, 16)), descriptions=("B02", "SCL", "NDVI"))
        with pytest.raises(UsageError, match="SCL, NDVI"):
            open_reader("folder", tmp_path)
        with pytest.raises(UsageError, match=r"no B03; .* B02, SCL, NDVI.*--ignore"):
            open_reader("folder", tmp_path, bands="B02,B03")
        assert open_reader("folder", tmp_path, bands="B02").bands == ("B02",)

    @pytest.mark.parametrize("described", [("1", "2", "3"), ("Band 1", "Band 2", "Band 3")])
    def test_numbered_bands_are_named_in_file_order(
        self, tmp_path: Path, described: tuple[str, ...]
    ) -> None:
        pixels = noise((3, 16, 16))
        write_tif(tmp_path / "a.tif", pixels, descriptions=described)
        with pytest.raises(UsageError, match=f"described as '{described[0]}', .*--bands"):
            open_reader("folder", tmp_path)
        reader = open_reader("folder", tmp_path, bands="B04,B03,B02")
        assert reader.bands == ("B02", "B03", "B04")
        found = reader.read(reader.items()[0]).patches[0].pixels
        np.testing.assert_array_equal(found, pixels[::-1])

    @pytest.mark.parametrize("described", [(), ("1", "2", "3", "4"), ("SCL", "a", "b", "c")])
    @pytest.mark.parametrize("bands", [None, "B08,B04,B03,B02"])
    def test_an_undescribed_file_among_described_ones_is_bad(
        self, folder_tree: Path, described: tuple[str, ...], bands: str | None
    ) -> None:
        """`--bands` are the bands wanted here; nothing says in which order that file has them."""
        file = folder_tree / "crop" / "p0_20180115.tif"
        write_tif(file, noise((4, 32, 32)), descriptions=described)
        reading = read_all(open_reader("folder", folder_tree, bands=bands))
        assert [s.reason.partition(":")[0] for s in reading.left_out] == ["no band names"]
        assert len(reading.patches) == 11

    def test_some_files_tell_what_is_usual(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not all: to open each would take as long as half of the preparation."""
        monkeypatch.setattr("georank_zoo.data.readers.folder._SAMPLE", 4)
        for n in range(11):  # 0, 2, 5 and 8 are looked at
            side = 8 if n in (1, 5, 6, 7) else 16
            write_tif(
                tmp_path / f"{n:02}.tif", noise((2, side, side)),
                descriptions=("B02", "B03"), left=500_000 + 1_000 * n,
            )  # fmt: skip
        (tmp_path / "00.tif").write_bytes(b"")
        calls: list[tuple[int, int]] = []
        reader = open_reader("folder", tmp_path, on_progress=lambda *call: calls.append(call))
        assert calls == [(n, 4) for n in range(1, 5)]
        assert (reader.size, reader.bands) == (16, ("B02", "B03"))
        reasons = {s.item: s.reason.partition(":")[0] for s in read_all(reader).left_out}
        assert reasons.pop("00.tif") == "unreadable or truncated"
        assert reasons == {f"0{n}.tif": "mixed sizes" for n in (1, 5, 6, 7)}

    def test_large_rasters_are_cut(self, tmp_path: Path) -> None:
        pixels = noise((1, 40, 70))
        write_tif(tmp_path / "a.tif", pixels, descriptions=("B02",))
        reader = open_reader("folder", tmp_path, size=32)
        patches = reader.read(reader.items()[0]).patches
        assert [p.key for p in patches] == ["a.tif@0,0", "a.tif@0,32"]
        np.testing.assert_array_equal(patches[1].pixels, pixels[:, :32, 32:64])
        # 320 m further east, at the same northing.
        assert patches[1].lon > patches[0].lon
        a, b = (torch.tensor([[p.lat, p.lon]], dtype=torch.float64) for p in patches)
        assert float(great_circle_km(a, b)) == pytest.approx(0.320, abs=0.002)

    def test_scenes_need_a_size(self, tmp_path: Path) -> None:
        write_tif(tmp_path / "a.tif", noise((1, 600, 600)), descriptions=("B02",))
        with pytest.raises(UsageError, match="--size"):
            open_reader("folder", tmp_path)

    def test_offset_is_subtracted_and_clipped(self, tmp_path: Path) -> None:
        pixels = np.full((1, 16, 16), 3000, np.uint16)
        pixels[0, 0, :2] = (1000, 900)
        write_tif(tmp_path / "a.tif", pixels, descriptions=("B02",))
        reader = open_reader("folder", tmp_path, offset=1000)
        found = reader.read(reader.items()[0]).patches[0].pixels
        assert found[0, 0, :3].tolist() == [0, 0, 2000]

    def test_reflectance_becomes_dn(self, tmp_path: Path) -> None:
        pixels = np.full((2, 16, 16), 0.12346, np.float32)
        pixels[:, 0, 0] = -0.01
        write_tif(tmp_path / "a.tif", pixels, descriptions=("B02", "B03"))
        reader = open_reader("folder", tmp_path, unit="reflectance")
        found = reader.read(reader.items()[0]).patches[0].pixels
        assert found[0, 0, :2].tolist() == [0, 1235]

    @pytest.mark.parametrize(
        ("pixels", "unit", "reason"),
        [
            (
                noise((1, 16, 16)),
                "reflectance",
                "values contradict unit 'reflectance'.*pass unit 'dn'",
            ),
            (np.full((1, 16, 16), 0.3, np.float32), "dn", "pass unit 'reflectance'"),
            (np.full((1, 16, 16), 9, np.uint8), "dn", "wrong data type: uint8"),
            (np.full((1, 16, 16), 90_000, np.int32), "dn", "range 90000 to 90000.*another scale"),
            (np.full((1, 16, 16), -5000, np.int16), "dn", "range -5000"),
            (np.full((1, 16, 16), np.nan, np.float32), "dn", "no data"),
            (np.zeros((1, 16, 16), np.uint16), "dn", "no data"),
            (noise((1, 8, 16)), "dn", "mixed sizes: 8 x 16, smaller than 16"),
        ],
    )
    def test_bad_values(self, tmp_path: Path, pixels: np.ndarray, unit: str, reason: str) -> None:
        write_tif(tmp_path / "a.tif", pixels, descriptions=("B02",))
        reader = open_reader("folder", tmp_path, unit=unit, size=16)
        (left_out,) = reader.read(reader.items()[0]).left_out
        assert left_out.item == "a.tif"
        with pytest.raises(AssertionError, match=reason):
            raise AssertionError(left_out.reason)

    @pytest.mark.parametrize("nodata", [None, 0, 65535])
    def test_partly_empty_windows_are_left_out(self, tmp_path: Path, nodata: int | None) -> None:
        pixels = noise((2, 32, 64))
        pixels[:, :, :16] = nodata or 0
        write_tif(tmp_path / "a.tif", pixels, descriptions=("B02", "B03"), nodata=nodata)
        reader = open_reader("folder", tmp_path, size=32)
        reading = reader.read(reader.items()[0])
        assert [p.key for p in reading.patches] == ["a.tif@0,32"]
        assert [s.reason for s in reading.left_out] == ["window without data: 50% of its pixels"]

    @pytest.mark.parametrize("crs", ALIEN_CRS)
    def test_a_crs_that_does_not_lead_to_earth(self, folder_tree: Path, crs: str) -> None:
        write_tif(
            folder_tree / "crop" / "alien.tif", noise((4, 32, 32)), descriptions=FOLDER_BANDS,
            crs=crs,
        )  # fmt: skip
        reading = read_all(open_reader("folder", folder_tree))
        (left_out,) = reading.left_out
        assert left_out.item == "crop/alien.tif"
        assert left_out.reason.startswith("no CRS: ")
        assert len(left_out.reason) < 120
        assert len(reading.patches) == 12

    def test_a_bad_file_does_not_cost_its_place(self, folder_tree: Path) -> None:
        bad = folder_tree / "crop" / "p0_20180115.tif"
        content = bytearray(bad.read_bytes())
        bad.write_bytes(content[: len(content) // 3])
        reading = read_all(open_reader("folder", folder_tree, labels="parent"))
        assert [s.item for s in reading.left_out] == ["crop/p0_20180115.tif"]
        assert len(reading.patches) == 11

    def test_real_folder_equals_the_eurosat_reader(self, real_data: Path, tmp_path: Path) -> None:
        root = tmp_path / "few"
        for name in ("Forest", "River"):
            shutil.copytree(real_data / "eurosat_ms" / name, root / name)
        order = "B01,B02,B03,B04,B05,B06,B07,B08,B09,B10,B11,B12,B8A"
        folder = open_reader("folder", root, bands=order, labels=str(real_data / "eurosat_ms.csv"))
        mine = {p.key: p for p in read_all(folder).patches}
        eurosat = open_reader("eurosat", root, bands=folder.bands)
        for patch in read_all(eurosat).patches:
            np.testing.assert_array_equal(mine[patch.key].pixels, patch.pixels)
            assert (mine[patch.key].lat, mine[patch.key].lon) == (patch.lat, patch.lon)
            label = folder.class_names[mine[patch.key].label]
            assert label == eurosat.class_names[patch.label]


class TestLabels:
    def csv(self, path: Path, *rows: str) -> str:
        path.write_text("\n".join(rows) + "\n")
        return str(path)

    def test_csv(self, folder_tree: Path, tmp_path: Path) -> None:
        table = self.csv(
            tmp_path / "l.csv", "filename,label",
            "p0_20180115.tif,wheat", "forest/p1_20180115.tif,oak",
        )  # fmt: skip
        reader = open_reader("folder", folder_tree, labels=table)
        labels = {p.key: p.label for p in read_all(reader).patches}
        assert reader.class_names == ("oak", "wheat")
        assert labels["crop/p0_20180115.tif"] == 1
        assert labels["forest/p1_20180115.tif"] == 0
        assert labels["crop/p2_20180115.tif"] == NO_LABEL

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            (("name,label", "p0_20180115.tif,a"), "needed are filename and label"),
            (("filename,label", "x.tif,a"), "names no file"),
            (("filename,label", "p0_20180115.tif,a", "p0_20180115.tif,b"), "two labels"),
            (("filename,label,lat,lon", "p0_20180115.tif,a,95,3"), "positions are invalid"),
            (("filename,label,lat,lon", "p0_20180115.tif,a,nan,3"), "positions are invalid"),
            (("filename,label,lat,lon", "p0_20180115.tif,a,,3"), "positions are invalid"),
            (("filename,label,lat,lon", "p0_20180115.tif,a,4x,3"), "'4x' is not a position"),
            (("filename,label,lat,lon", "p0_20180115.tif,a,121.5,31.2"), "look swapped"),
            # In range either way, but the files themselves say lat 45.2, lon 3.
            (("filename,label,lat,lon", "p0_20180115.tif,a,3.0,45.15"), "look swapped"),
        ],
    )
    def test_csv_refused(
        self, folder_tree: Path, tmp_path: Path, rows: tuple[str, ...], message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            open_reader("folder", folder_tree, labels=self.csv(tmp_path / "l.csv", *rows))

    def test_positions_count_with_a_local_crs(self, tmp_path: Path) -> None:
        write_tif(tmp_path / "a.tif", noise((1, 16, 16)), crs=ALIEN_CRS[0], descriptions=("B02",))
        table = self.csv(tmp_path / "l.csv", "filename,label,lat,lon", "a.tif,x,-7,8")
        (patch,) = read_all(open_reader("folder", tmp_path, labels=table)).patches
        assert (patch.lat, patch.lon) == (-7, 8)

    def test_positions_count_only_without_crs(self, tmp_path: Path) -> None:
        write_tif(tmp_path / "a.tif", noise((1, 16, 16)), crs=None, descriptions=("B02",))
        write_tif(tmp_path / "b.tif", noise((1, 16, 16)), descriptions=("B02",))
        table = self.csv(
            tmp_path / "l.csv", "filename,label,lat,lon", "a.tif,x,-7,8", "b.tif,x,45,3"
        )
        patches = read_all(open_reader("folder", tmp_path, labels=table)).patches
        assert (patches[0].lat, patches[0].lon) == (-7, 8)
        assert patches[1].lat == pytest.approx(45.15, abs=0.05)
        assert patches[1].lat != 45
        (left_out, *_) = read_all(open_reader("folder", tmp_path)).left_out
        assert left_out.reason.startswith("no CRS")

    @pytest.mark.parametrize("crs", ALIEN_CRS)
    def test_points_and_an_unusable_crs(self, tmp_path: Path, crs: str) -> None:
        write_tif(tmp_path / "a.tif", noise((1, 16, 16)), descriptions=("B02",), crs=crs)
        write_tif(tmp_path / "b.tif", noise((1, 16, 16)), descriptions=("B02",))
        labels = self.geojson(tmp_path / "l.geojson", self.point(3.0, 45.15, "x"))
        reading = read_all(open_reader("folder", tmp_path, labels=labels))
        assert [s.reason[:8] for s in reading.left_out] == ["no CRS: "]
        with rasterio.open(tmp_path / "a.tif") as dataset, pytest.raises(BadItem, match="no CRS: "):
            read_labels(labels, tmp_path, ["a.tif"]).points.on(dataset)

    def test_ambiguous_names(self, tmp_path: Path) -> None:
        for name in ("a/x.tif", "b/x.tif"):
            write_tif(tmp_path / name, noise((1, 16, 16)), descriptions=("B02",))
        with pytest.raises(UsageError, match="stands for 2 files"):
            open_reader(
                "folder", tmp_path, labels=self.csv(tmp_path / "l.csv", "filename,label", "x.tif,a")
            )

    @pytest.mark.parametrize("spec", ["none.csv", "l.xlsx"])
    def test_unusable_files(self, folder_tree: Path, spec: str) -> None:
        with pytest.raises(UsageError, match="Valid: 'parent'"):
            open_reader("folder", folder_tree, labels=spec)

    def geojson(self, path: Path, *features: dict[str, object]) -> str:
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        return str(path)

    def point(self, lon: float, lat: float, label: str) -> dict[str, object]:
        return {
            "type": "Feature",
            "properties": {"label": label},
            "geometry": {"type": "Point", "coordinates": [lon, lat]},
        }

    def test_points_label_the_window_around_them(self, tmp_path: Path) -> None:
        # One pixel is 0.0001 degrees; the raster reaches from lon 10 to 10.0064, lat 43 to 43.0032.
        write_tif(
            tmp_path / "a.tif", noise((1, 32, 64)), descriptions=("B02",), crs="EPSG:4326",
            bounds=(10, 43, 10.0064, 43.0032),
        )  # fmt: skip
        labels = self.geojson(
            tmp_path / "l.geojson",
            self.point(10.0005, 43.0016, "far"),
            self.point(10.0017, 43.0016, "near"),
            self.point(10.0065, 43.0016, "outside"),
        )
        reader = open_reader("folder", tmp_path, labels=labels, size=32)
        assert reader.class_names == ("far", "near", "outside")
        assert [p.label for p in read_all(reader).patches] == [1, NO_LABEL]

    def test_features_with_filenames(self, folder_tree: Path, tmp_path: Path) -> None:
        feature = {"properties": {"label": "oak", "filename": "p1_20180115.tif"}, "geometry": None}
        labels = self.geojson(tmp_path / "l.geojson", feature)
        patches = read_all(open_reader("folder", folder_tree, labels=labels)).patches
        assert {p.key for p in patches if p.label == 0} == {"forest/p1_20180115.tif"}

    @pytest.mark.parametrize(
        ("feature", "message"),
        [
            ({"properties": {}, "geometry": None}, "have no 'label'"),
            ({"properties": {"label": "a"}, "geometry": {"type": "Polygon"}}, "Polygon"),
            (
                {
                    "properties": {"label": "a"},
                    "geometry": {"type": "Point", "coordinates": [31, 121]},
                },
                "look swapped",
            ),
        ],
    )
    def test_geojson_refused(
        self, folder_tree: Path, tmp_path: Path, feature: dict[str, object], message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            open_reader("folder", folder_tree, labels=self.geojson(tmp_path / "l.geojson", feature))
