"""Which band a channel or a file is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window

from georank_zoo.bands import S2_12
from georank_zoo.data.files import band_names, products
from georank_zoo.data.readers import open_reader
from georank_zoo.data.readers.base import Reading
from georank_zoo.embed.tiles import open_scene
from georank_zoo.utils.errors import BadItem, UsageError
from tests.support.trees import noise, write_tif

STAC = "coastal blue green red rededge1 rededge2 rededge3 nir nir08 nir09 swir16 swir22"
FORCE = "BLUE GREEN RED REDEDGE1 REDEDGE2 REDEDGE3 BROADNIR NIR SWIR1 SWIR2"
FORCE_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")


def read(folder: Path, **options: object) -> tuple[tuple[str, ...], Reading]:
    reader = open_reader("folder", folder, **options)
    return reader.bands, reader.read(reader.items()[0])


def scaled(path: Path, meters: float) -> Path:
    with rasterio.open(path, "r+") as dataset:
        dataset.transform = Affine(meters, 0, 500_000, 0, -meters, 5_000_000)
    return path


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("B04", "B04"),
        (" b4 ", "B04"),
        ("B8a", "B8A"),
        ("B04 (red)", "B04"),
        ("red (B04)", "B04"),
        ("B4, central wavelength 665 nm", "B04"),  # GDAL's driver of .SAFE
        ("B05 (Vegetation Red Edge)", "B05"),
        ("B11 SWIR", "B11"),
        ("Band 5 - Red edge 1 (705 nm)", "B05"),
        ("20180615T102031_20180615T102457_T32TQM_B2", "B02"),  # Earth Engine's toBands
        ("B04_median", "B04"),
        ("Red", "B04"),
        ("red_edge_2", "B06"),
        ("rededge078", "B07"),
        ("SWIR 1", "B11"),
        # Other satellites', indices, statistics, and names that several bands go by
        *(
            (text, None)
            for text in (
                "SR_B5", "sur_refl_b01", "(B08 - B04) / (B08 + B04)", "B04_std", "B04^2",
                "B13", "B10 thermal", "rededge", "SWIR", "SCL", "alpha", "4", "Band 4",
            )
        ),
    ],
)  # fmt: skip
def test_one_description(text: str, band: str | None) -> None:
    found = band_names.described(["SCL", text])
    assert (found and found.names[1]) == band


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (STAC.split(), S2_12),
        (FORCE.split(), FORCE_BANDS),
        (["B02", None, "QA60"], ("B02", "channel 2", "QA60")),
        # Numbers in order are positions, unless B8A tells that they are Sentinel-2's.
        (["B1", "B2", "B3", "B4"], None),
        ([f"b{i:02}" for i in range(1, 13)], None),
        (["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9"], S2_12[:10]),
        (["B2", "B3", "B4"], ("B02", "B03", "B04")),
        (["Band 1", "Band 2"], None),
        (["1", "2"], None),
        ([None, None], None),
    ],
)
def test_all_descriptions(texts: list[str | None], names: tuple[str, ...] | None) -> None:
    found = band_names.described(texts)
    assert (found and found.names) == names


def test_a_band_named_twice_is_refused_by_patches_and_scenes_alike(tmp_path: Path) -> None:
    pixels = noise((6, 16, 16))
    path = write_tif(tmp_path / "a.tif", pixels, descriptions=("B02", "B03", "B04") * 2)
    message = r"B02 is channel 1 \('B02'\) and 4 \('B02'\).*one file a date.*--ignore-descriptions"
    with pytest.raises(UsageError, match=message):
        read(tmp_path)
    with pytest.raises(UsageError, match=message), open_scene(path):
        pass
    # One such file among others is left out, and does not cost the rest.
    for n in range(2):
        write_tif(tmp_path / f"b{n}.tif", noise((3, 16, 16)), descriptions=("B02", "B03", "B04"))
    _, reading = read(tmp_path)
    assert [left.reason.partition(":")[0] for left in reading.left_out] == ["band named twice"]


@pytest.mark.parametrize("text", ["B5 (NIR)", "B4 - near infrared", "B6 SWIR1", "B1 blue"])
def test_a_description_that_contradicts_itself(text: str) -> None:
    with pytest.raises(BadItem, match=r"^contradicting band names: channel 2, .*--ignore"):
        band_names.described(["SCL", text])


@pytest.mark.parametrize(
    ("descriptions", "bands", "ignore", "order"),
    [
        (("blue", "green", "red", "nir"), "B04,B03,B02,B08", False, [2, 1, 0, 3]),
        (("blue", "green", "red", "nir"), "B04,B03,B02,B08", True, [0, 1, 2, 3]),
        (("B1", "B2", "B3", "B4"), "B04,B03,B02,B08", False, [0, 1, 2, 3]),
        ((), "B04,B03,B02,B08", False, [0, 1, 2, 3]),
    ],
)
def test_bands_select_where_descriptions_name_them_else_they_are_the_order(
    tmp_path: Path, descriptions: tuple[str, ...], bands: str, ignore: bool, order: list[int]
) -> None:
    pixels = noise((4, 16, 16))
    path = write_tif(tmp_path / "a.tif", pixels, descriptions=descriptions)
    wanted = ("B04", "B03", "B02", "B08")
    expected = dict(zip(wanted, pixels[order], strict=True))
    found, reading = read(tmp_path, bands=bands, ignore_descriptions=ignore)
    for band, channel in zip(found, reading.patches[0].pixels, strict=True):
        np.testing.assert_array_equal(channel, expected[band])
    with open_scene(path, bands=bands, ignore_descriptions=ignore) as scene:
        dn, _ = scene.read(Window(0, 0, 16, 16), wanted)
    np.testing.assert_array_equal(dn, pixels[order])


def test_bands_that_are_not_described_are_refused_with_a_way_out(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", noise((3, 16, 16)), descriptions=("blue", "green", "red"))
    message = r"no B08; .* as B02, B03, B04\. .*--ignore-descriptions"
    with pytest.raises(UsageError, match=message):
        read(tmp_path, bands="B04,B03,B08")
    with pytest.raises(UsageError, match=message), open_scene(path, bands="B04,B03,B08"):
        pass
    with pytest.raises(UsageError, match="3 bands, and --bands names 2"):
        read(tmp_path, bands="B04,B03", ignore_descriptions=True)
    for opened in (read, lambda _, **options: open_scene(path, **options).__enter__()):
        with pytest.raises(UsageError, match="--ignore-descriptions needs --bands"):
            opened(tmp_path, ignore_descriptions=True)


def test_descriptions_that_are_no_text(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", noise((2, 16, 16)), descriptions=("B02", "maskXX"))
    path.write_bytes(path.read_bytes().replace(b"maskXX", b"mask\xe9X"))
    with pytest.raises(UsageError, match="unreadable band names: not UTF-8"):
        read(tmp_path, bands="B02")
    with pytest.raises(UsageError, match="unreadable band names"), open_scene(path):
        pass
    bands, _ = read(tmp_path, bands="B03,B02", ignore_descriptions=True)
    assert bands == ("B02", "B03")


@pytest.mark.parametrize(
    ("name", "tags", "meters", "descriptions", "why"),
    [
        ("LC08_193026_20200615.tif", {}, 30, "B2 B3 B4 B5 B6 B7", "the name holds LC08"),
        ("HLS.L30.T32TQM.2023166T102031.v2.0.tif", {}, 30, "B02 B05", r"HLS\.L30"),
        ("landsat9_clip.tif", {}, 10, "B2 B8A", "holds landsat"),
        ("a.tif", {"SPACECRAFT_ID": "LANDSAT_8"}, 10, "B2 B5", "SPACECRAFT_ID=LANDSAT_8"),
        ("a.tif", {}, 30, "B2 B3 B4 B5", "pixels of 30 m"),
        ("a.tif", {}, 15, "B2 B5 B8", "pixels of 15 m"),
        # Sentinel-2's, and bands that are named in words
        ("a.tif", {}, 30, "B02 B03 B04 B08", None),
        ("a.tif", {}, 30, "B05 B8A", None),
        ("HLS.S30.T32TQM.2023166T102031.v2.0.tif", {"SENSOR": "OLI"}, 30, "B02 B05", None),
        ("LC08_193026_20200615.tif", {}, 30, "blue red nir08", None),
        ("a_olive.tif", {"NOTE": "not Landsat"}, 10, "B02 B05", None),
    ],
)
def test_landsat_under_numbers_is_refused(
    tmp_path: Path, name: str, tags: dict[str, str], meters: float, descriptions: str,
    why: str | None,
) -> None:  # fmt: skip
    texts = descriptions.split()
    path = write_tif(tmp_path / name, noise((len(texts), 16, 16)), descriptions=texts, tags=tags)
    scaled(path, meters)
    bands, reading = read(tmp_path)
    if why is None:
        assert len(reading.patches) == 1
        return
    (left_out,) = reading.left_out
    assert left_out.reason.startswith("bands named as Landsat's: ")
    with pytest.raises(UsageError, match=f"{why}.* B5 is near infrared.*--ignore"):
        open_scene(path).__enter__()
    assert len(read(tmp_path, bands=bands, ignore_descriptions=True)[1].patches) == 1


@pytest.mark.parametrize(
    ("stem", "band"),
    [
        ("T31TCJ_20200101T105441_B02_10m", "B02"),
        ("B2", "B02"),
        ("2023-06-14-00_00_2023-06-14-23_59_Sentinel-2_L2A_B8A_(Raw)", "B8A"),
        ("HLS.S30.T32TQM.2023166T102031.v2.0.B02", "B02"),
        ("SENTINEL2A_20180615-102457-460_L2A_T32TQM_C_V2-2_FRE_B2", "B02"),
        ("red", "B04"),
        ("S2B_32TQM_20180615_0_L2A_nir08", "B8A"),
        ("red_edge_1", "B05"),
        *(
            (stem, None)
            for stem in (
                "MSK_DETFOO_B02", "S2_MSK_CLASSI_B00", "T32TQM_20200101T105441_TCI_10m",
                "T32_SCL_20m", "T32_AOT_10m", "DB04", "B13", "True_color", "B04_mask", "plot-B2C",
            )
        ),
    ],
)  # fmt: skip
def test_the_band_of_a_file(stem: str, band: str | None) -> None:
    assert band_names.band_of_file(stem) == band


@pytest.mark.parametrize(
    ("names", "differs"),
    [
        (["T32TQM_20200615T102031_B02.tif", "T32TQM_20230801T102031_B05.tif"], "day 2020-06-15"),
        (["T32TQM_20200615T102031_B02.tif", "T32TPM_20200615T102031_B05.tif"], "tile 32TQM"),
        (["S2A_20200615_B02.tif", "S2B_20200615_B05.tif"], "satellite S2A"),
        (["x_MSIL1C_1.SAFE/B10.jp2", "x_MSIL2A_1.SAFE/B02.jp2"], "level L1C"),
        (["2020-06-15/B02.tif", "2020-06-20/B05.tif"], "day 2020-06-15"),
        (["R10m/T32TQM_20200615T102031_B02_10m.jp2", "R20m/T32TQM_20200615T102031_B05_20m.jp2",
          "B8A.tif"], None),
    ],
)  # fmt: skip
def test_two_acquisitions_are_not_mixed(names: list[str], differs: str | None) -> None:
    if differs is None:
        products.require_one_acquisition(names, "here")
        return
    with pytest.raises(
        UsageError, match=rf"here holds more.*{names[0]} \({differs}\) and {names[1]}"
    ):
        products.require_one_acquisition(names, "here")


def test_files_of_bands_by_name_and_by_order(tmp_path: Path) -> None:
    pixels = noise((3, 16, 16))
    folder = tmp_path / "x"
    for name, channel in zip(("B1", "B2", "B10"), pixels, strict=True):
        write_tif(folder / f"{name}.tif", channel[None])
    write_tif(tmp_path / "y" / "red.tif", pixels[:1])
    write_tif(tmp_path / "y" / "nir08.tif", pixels[1:2])
    with open_scene(tmp_path / "y") as scene:
        assert scene.bands == ("B04", "B8A")
        assert scene.pixel_m == pytest.approx(10, rel=0.01)
    with open_scene(folder, bands="B08,B03,B02", ignore_descriptions=True) as scene:
        dn, _ = scene.read(Window(0, 0, 16, 16), ("B08", "B03", "B02"))
    np.testing.assert_array_equal(dn, pixels)
    with pytest.raises(UsageError, match=r"3 rasters .* names 2\. .* B1\.tif, B2\.tif, B10\.tif"):
        open_scene(folder, bands="B08,B03", ignore_descriptions=True).__enter__()
    (folder / "B10.tif").unlink()
    with pytest.raises(UsageError, match=r"numbers its files B1, B2, .*--ignore"):
        open_scene(folder).__enter__()
    (folder / "B2.tif").rename(folder / "LC08_L1TP_193026_B5.TIF")
    with pytest.raises(UsageError, match=r"Landsat's: .* LC08"):
        open_scene(folder).__enter__()


def test_landsat_in_degrees_is_as_high_as_its_pixels(tmp_path: Path) -> None:
    side = 30 / 111_195
    write_tif(
        tmp_path / "a.tif", noise((2, 16, 16)), crs="EPSG:4326", descriptions=("B4", "B5"),
        bounds=(10, 60, 10 + 16 * side, 60 + 16 * side),
    )  # fmt: skip
    _, reading = read(tmp_path)
    assert [left.reason.partition(":")[0] for left in reading.left_out] == [
        "bands named as Landsat's"
    ]
