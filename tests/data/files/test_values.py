"""Values are judged by their quantiles: per file by what cannot be, per store by what is odd."""

from __future__ import annotations

import numpy as np
import pytest
from rasterio.windows import Window

from georank_zoo.data.files import values
from georank_zoo.data.files.radiometry import UNKNOWN_OFFSET, Radiometry, uniform
from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.readers import open_reader
from georank_zoo.data.store import look
from georank_zoo.embed.tiles import open_scene
from georank_zoo.utils.errors import BadItem, UsageError
from tests.support.trees import write_tif

BANDS = ("B02", "B03", "B04", "B08")
DN = uniform(4, source="DN")
REFLECTANCE = Radiometry((1.0,) * 4, (0.0,) * 4, "reflectance")


def surface(size=(64, 64), seed=0):
    """DN of 300 to 1600: 300 and more in B02, 1500 and more in B08."""
    rng = np.random.default_rng(seed)
    return np.array([300, 500, 800, 1500])[:, None, None] + rng.integers(0, 100, (4, *size))


@pytest.mark.parametrize(
    ("valid", "meaning", "reason"),
    [
        (surface() / 1e4, DN, "pass unit 'reflectance'"),
        (surface() / 100, DN, "per cent"),
        (surface(), REFLECTANCE, "digital numbers: pass unit 'dn'"),
        (surface() / 100, REFLECTANCE, "in per cent: divide it by 100"),
        (surface() / 300, REFLECTANCE, "in per cent"),
        (surface() * 100, DN, "another scale"),
        (np.where(surface() < 340, -9999, surface()), DN, "a no-data value, -9999"),
        ((surface() - 800) / 500, REFLECTANCE, "standardized already"),
        (surface(), uniform(4, offset=-0.1, source="--offset 1000"),
         "offset of 1000, by --offset 1000, is not in these values.*--radiometry options"),
        (surface(), Radiometry((1e-8,) * 4, (0.0,) * 4, "tags"), "another scale"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_cause(valid, meaning, reason):
    with pytest.raises(BadItem, match=f"values contradict unit .*{reason}") as error:
        values.judge(valid.reshape(4, -1), meaning)
    assert isinstance(error.value.__cause__, UsageError)


def test_what_can_be_is_not():
    pixels = surface().reshape(4, -1)
    values.judge(pixels, DN)
    values.judge(pixels + 1000, uniform(4, offset=-0.1, source="name"))
    values.judge(pixels / 1e4, REFLECTANCE)
    values.judge(np.rint((pixels / 1e4 + 0.2) / 2.75e-5),
                 Radiometry((2.75e-5,) * 4, (-0.2,) * 4, "tags"))  # fmt: skip
    values.judge(pixels[:, :0], DN)
    # Dark water of Level-2A: near zero, and a little below once the offset is removed.
    values.judge(np.full((4, 9), 960) + np.arange(4)[:, None] * 20,
                 uniform(4, offset=-0.1, source="name"))  # fmt: skip


def test_an_odd_pixel_costs_nothing(tmp_path):
    pixels = (surface() / 1e4).astype(np.float32)
    pixels[3, 10, 10] = -0.25
    pixels[2, 20, 20] = 9.0  # cannot be, so no data
    write_tif(tmp_path / "f" / "a.tif", pixels, descriptions=BANDS)
    store = prepare_store(tmp_path / "f", tmp_path / "s", unit="reflectance", max_bad=0).store
    (found,) = store.read(np.array([0]))
    expected = surface().astype(np.uint16)
    expected[3, 10, 10] = 0
    expected[:, 20, 20] = 0
    np.testing.assert_array_equal(found, expected)
    with open_scene(tmp_path / "f" / "a.tif", unit="reflectance") as scene:
        np.testing.assert_array_equal(scene.read(Window(0, 0, 64, 64), BANDS)[0], expected)


def test_an_odd_strip_costs_itself_only(tmp_path):
    pixels = surface((128, 64)).astype(np.uint16)
    pixels[:, :20] = np.arange(1, 5)[:, None, None]
    write_tif(tmp_path / "f" / "a.tif", pixels, descriptions=BANDS)
    reader = open_reader("folder", tmp_path / "f", size=32)
    keys = prepare_store(reader, tmp_path / "s", max_bad=0).store.keys
    assert [key for key in keys if key >= "a.tif@32"] == [
        f"a.tif@{row},{col}" for row in (32, 64, 96) for col in (0, 32)
    ]
    with open_scene(tmp_path / "f" / "a.tif") as scene:
        scene.read(Window(0, 0, 64, 32), BANDS)


def test_a_raster_with_little_data_is_judged_too(tmp_path):
    pixels = np.zeros((4, 1024, 1024), np.float32)
    pixels[:, 100:228, 100:228] = surface((128, 128)) / 1e4  # between the windows of a sample
    path = write_tif(tmp_path / "f" / "a.tif", pixels, descriptions=BANDS)
    with open_scene(path) as scene, pytest.raises(BadItem, match="pass unit 'reflectance'"):
        scene.sample(BANDS)
    reader = open_reader("folder", path.parent, size=64)
    (skipped,) = reader.read(reader.items()[0]).left_out
    assert "pass unit 'reflectance'" in skipped.reason
    with open_scene(path, unit="reflectance") as scene:
        assert scene.sample(BANDS).shape[1] >= 500


def test_the_type_of_each_band_of_a_scene_is_looked_at(tmp_path):
    for band, pixels in zip(BANDS, surface(), strict=True):
        dtype = np.uint8 if band == "B03" else np.uint16
        stretched = pixels[None].clip(0, 255 if band == "B03" else None).astype(dtype)
        write_tif(tmp_path / "mixed" / f"T32TQM_20180615T102031_{band}.tif", stretched)
    with open_scene(tmp_path / "mixed") as scene, pytest.raises(BadItem, match="uint8 holds"):
        scene.sample(BANDS)
    flat = np.full((4, 64, 64), 5, np.complex64)
    path = write_tif(tmp_path / "complex.tif", flat, descriptions=BANDS)
    with open_scene(path) as scene, pytest.raises(BadItem, match="complex64 holds"):
        scene.sample(BANDS)


def test_scale_and_offset_reach_the_store_to_the_number(tmp_path):
    import rasterio

    scales, offsets = (1e-4, 2.75e-5, 1e-4, 2e-4), (-0.1, -0.2, 0.0, 0.0)
    expected = surface() // 2 * 2
    raw = np.rint((expected / 1e4 - np.array(offsets)[:, None, None])
                  / np.array(scales)[:, None, None]).astype(np.uint16)  # fmt: skip
    path = write_tif(tmp_path / "f" / "a.tif", raw, descriptions=BANDS)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = scales, offsets
    store = prepare_store(tmp_path / "f", tmp_path / "s").store
    np.testing.assert_array_equal(store.read(np.array([0]))[0], expected)
    with open_scene(path) as scene:
        np.testing.assert_array_equal(scene.read(Window(0, 0, 64, 64), BANDS)[0], expected)
        assert scene.radiometry.scale == pytest.approx(scales)
    # Not for the bands that one has chosen alone.
    store = prepare_store(tmp_path / "f", tmp_path / "t", bands="B03,B02").store
    np.testing.assert_array_equal(store.read(np.array([0]))[0], expected[[1, 0]])


def test_mixed_baselines_by_their_names(tmp_path):
    for baseline, add in (("0214", 0), ("0509", 1000)):
        name = f"S2A_MSIL2A_20230615T102031_N{baseline}_R065_T32TQM.tif"
        write_tif(tmp_path / "f" / name, (surface() + add).astype(np.uint16), descriptions=BANDS)
    report = prepare_store(tmp_path / "f", tmp_path / "s")
    found = report.store.read(np.arange(2))
    np.testing.assert_array_equal(found, [surface(), surface()])
    assert report.warnings == ()


@pytest.mark.parametrize(
    ("dn", "remark"),
    [
        (surface() // 12, "The brightest band, B08, has a median reflectance of 0.01"),
        (surface() * 6.55, "No band has values below 0.1"),
        (surface() + 1000, "No band has values below 0.1"),
        (surface() + 8000, "Half of the values are above 0.8"),
        (surface() + 12_000, "100% of the values are above 1"),
        (surface() * np.array([1, 0, 1, 0])[:, None, None], r"zero \(B03 100%, B08 100%\)"),
        (surface(), None),
    ],
)
def test_remarks(dn, remark):
    found = look.at_values(dn.reshape(4, -1).astype(np.uint16), BANDS)
    if remark is None:
        assert found == ()
        return
    with pytest.raises(AssertionError, match=remark):
        raise AssertionError(found)


def test_cirrus_does_not_hide_an_offset():
    dn = (surface() + 1000).reshape(4, -1).astype(np.uint16)
    dn[0] = 10
    assert look.at_values(dn, ("B10", "B03", "B04", "B08"))


def test_remarks_are_in_the_log_and_in_the_notebook(tmp_path, caplog):
    pixels = (surface() // 12).astype(np.uint16)
    pixels[:, :, :2] = 0  # no data, and no zeros to wonder at
    write_tif(tmp_path / "f" / "a.tif", pixels, descriptions=BANDS)
    report = prepare_store(tmp_path / "f", tmp_path / "s")
    (remark,) = report.warnings
    assert "8 bit" in remark
    assert remark not in str(report)  # said once
    assert remark in report._repr_html_()
    assert remark in caplog.text


def test_an_offset_in_doubt_is_said_once_with_its_count(tmp_path):
    meaning = uniform(4, source=f"nothing, but {UNKNOWN_OFFSET}")
    pixels = (surface() + 1000).astype(np.uint16)
    for day in (1, 2, 3):
        name = f"S2_2023060{day}.tif" if day < 3 else "a.tif"
        write_tif(tmp_path / "f" / name, pixels, left=500_000 + 5000 * day, descriptions=BANDS)
    report = prepare_store(tmp_path / "f", tmp_path / "s")
    (said,) = [text for text in report.warnings if UNKNOWN_OFFSET in text]
    assert said.startswith("2 patches: the values were kept as they are, but")
    assert "Prepare them apart, with --offset 1000 if it is" in said  # one has no date
    (tmp_path / "f" / "a.tif").unlink()
    (said,) = [
        text
        for text in prepare_store(tmp_path / "f", tmp_path / "t").warnings
        if UNKNOWN_OFFSET in text
    ]
    assert "as if it was: pass --offset 1000" in said
    (tmp_path / "f" / "S2_20230602.tif").unlink()
    one = prepare_store(tmp_path / "f", tmp_path / "one")
    assert any(text.startswith("1 patch: ") for text in one.warnings)
    dark = look.in_doubt(meaning, "x", surface().reshape(4, -1).astype(np.uint16))
    assert "--offset 0 if it is not" in dark
