"""Which pixels hold data, by every mechanism: the same for patches and for scenes."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from georank_zoo.data.files import validity
from georank_zoo.data.files.radiometry import Radiometry, uniform
from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.readers import open_reader
from georank_zoo.embed.tiles import open_scene
from tests.support.trees import noise, write_tif

BANDS = ("B02", "B03", "B04", "B08")
DN = uniform(4, source="DN")


def halves(fill=None, channels=slice(None), dtype=np.uint16):
    """64 px whose right half holds a fill in some channels."""
    pixels = noise((4, 64, 64)).astype(dtype)
    if fill is not None:
        pixels[channels, :, 32:] = fill
    return pixels


def written(path, pixels, **more):
    return write_tif(path, pixels, descriptions=BANDS, **more)


def by_mask(path, *, beside):
    written(path, halves(3000))
    mask = np.full((64, 64), 255, np.uint8)
    mask[:, 32:] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=not beside), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)


def by_alpha(path, *, kind, nodata=None):
    alpha = np.full((1, 64, 64), 65535, np.uint16)
    alpha[:, :, 32:] = 0
    both = np.concatenate([halves(3000), alpha])
    write_tif(path, both, descriptions=(*BANDS, "alpha" if not kind else "opacity"), nodata=nodata)
    if kind:
        with rasterio.open(path, "r+") as dataset:
            dataset.colorinterp = [ColorInterp.gray, *[ColorInterp.undefined] * 3,
                                   ColorInterp.alpha]  # fmt: skip


def by_sidecar(path):
    written(path, halves(9999, 2))
    path.with_name(path.name + ".aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="3"><NoDataValue>9999</NoDataValue></PAMRasterBand>'
        "</PAMDataset>"
    )


HALF = {
    "zero in all bands": lambda p: written(p, halves(0)),
    "one in all bands": lambda p: written(p, halves(1)),
    "65535 in all bands": lambda p: written(p, halves(65535)),
    "65535 in one band": lambda p: written(p, halves(65535, 1)),
    "32767 in all bands": lambda p: written(p, halves(32767, dtype=np.int16)),
    "-1000 in all bands": lambda p: written(p, halves(-1000, dtype=np.int16)),
    "-9999 in all bands": lambda p: written(p, halves(-9999, dtype=np.int16)),
    "no-data value in one band": lambda p: written(p, halves(7777, 1), nodata=7777),
    "no-data value in float": lambda p: written(p, halves(-3.4e38, 1, np.float32), nodata=-3.4e38),
    "NaN in one band": lambda p: written(p, halves(np.nan, 2, np.float32)),
    "infinity in one band": lambda p: written(p, halves(np.inf, 2, np.float32)),
    "declared zero in some bands": lambda p: written(p, halves(0, slice(2)), nodata=0),
    "mask in the file": lambda p: by_mask(p, beside=False),
    "mask beside it": lambda p: by_mask(p, beside=True),
    "alpha by its kind": lambda p: by_alpha(p, kind=True),
    "alpha by its kind, and nodata": lambda p: by_alpha(p, kind=True, nodata=0),
    "alpha by its name": lambda p: by_alpha(p, kind=False),
    "no-data value of one band": by_sidecar,
}


@pytest.mark.parametrize("how", HALF)
def test_half_without_data(tmp_path, how):
    (tmp_path / "f").mkdir()
    HALF[how](tmp_path / "f" / "a.tif")
    kept = noise((4, 64, 64))[:, :, :32]
    reader = open_reader("folder", tmp_path / "f", size=32, bands=",".join(BANDS))
    store = prepare_store(reader, tmp_path / "s", max_bad=0).store
    assert store.keys == ["a.tif@0,0", "a.tif@32,0"]
    np.testing.assert_array_equal(store.read(np.arange(2)), [kept[:, :32], kept[:, 32:]])
    with open_scene(tmp_path / "f" / "a.tif") as scene:
        dn, missing = scene.read(Window(0, 0, 64, 64), BANDS)
    np.testing.assert_array_equal(missing, np.broadcast_to(np.arange(64) >= 32, (64, 64)))
    np.testing.assert_array_equal(dn[:, :, :32], kept)
    assert not dn[:, :, 32:].any()


def test_reflectance_fills_that_went_through_an_offset(tmp_path):
    pixels = (halves() / 1e4).astype(np.float32)
    pixels[:, :, 32:] = -0.1
    written(tmp_path / "a.tif", pixels)
    with open_scene(tmp_path / "a.tif", unit="reflectance") as scene:
        _, missing = scene.read(Window(0, 0, 64, 64), BANDS)
    np.testing.assert_array_equal(missing, np.broadcast_to(np.arange(64) >= 32, (64, 64)))


def missing_of(pixels, nodata=None, meaning=DN, path=None):
    write_tif(path, pixels, descriptions=BANDS, nodata=nodata)
    with rasterio.open(path) as dataset:
        window = Window(0, 0, *pixels.shape[:0:-1])
        return validity.read([(dataset, c) for c in (1, 2, 3, 4)], window, meaning)[1]


@pytest.mark.parametrize("nodata", [None, 0])
def test_dark_water_stays(tmp_path, nodata):
    pixels = noise((4, 64, 64))
    pixels[1, 5, 5] = pixels[2, 40, 10:30] = 0  # isolated, and one pixel wide
    lake = np.hypot(*np.mgrid[-32:32, -32:32]) / 20
    pixels[3] = np.where(lake < 1.5, np.clip(300 * (lake - 0.8), 0, None), pixels[3])
    assert (pixels[3] == 0).sum() > 500
    assert not missing_of(pixels, nodata, path=tmp_path / "a.tif").any()


def test_the_same_dark_number_depends_on_what_it_means(tmp_path):
    pixels = noise((4, 8, 8)) + 1000
    pixels[:, 0] = 1000
    path = tmp_path / "a.tif"
    assert not missing_of(pixels, path=path).any()
    offset = uniform(4, offset=-0.1, source="offset")
    assert missing_of(pixels, meaning=offset, path=path)[0].all()
    other = Radiometry((2.75e-5,) * 4, (-0.2,) * 4, "tags")
    pixels[:, 0] = 7000  # reflectance -0.0075
    assert missing_of(pixels, meaning=other, path=path)[0].all()


def test_a_single_band_may_hold_any_dark_number(tmp_path):
    path = write_tif(tmp_path / "a.tif", np.ones((1, 8, 8), np.uint16))
    with rasterio.open(path) as dataset:
        _, missing = validity.read([(dataset, 1)], Window(0, 0, 8, 8), uniform(1, source=""))
    assert not missing.any()


def folder_of_bands(root, *, fill, nodata):
    """B02 at 10 m, whole; B05 at 20 m, whose right half is a fill."""
    bounds = (500_000, 0, 500_640, 640)
    write_tif(root / "T31_20200101_B02.tif", noise((1, 64, 64)), bounds=bounds)
    coarse = np.full((1, 32, 32), 2000, np.uint16)
    coarse[:, :, 16:] = fill
    write_tif(root / "T31_20200101_B05.tif", coarse, bounds=bounds, nodata=nodata)


@pytest.mark.parametrize(("fill", "nodata"), [(65535, 65535), (0, 0), (7, 7)])
def test_a_coarser_band_brings_its_own_mask(tmp_path, fill, nodata):
    folder_of_bands(tmp_path, fill=fill, nodata=nodata)
    with open_scene(tmp_path) as scene:
        dn, missing = scene.read(Window(0, 0, 64, 64), ("B02", "B05"))
        part = scene.read(Window(20, 10, 30, 40), ("B02", "B05"))[1]
    # Two pixels of 10 m are mixed from valid and invalid ones of 20 m at most.
    assert missing[:, 32:].all()
    assert not missing[:, :31].any()
    assert set(dn[1][~missing].tolist()) == {2000}
    np.testing.assert_array_equal(part, missing[10:50, 20:50])


def test_zeros_beyond_the_swath_are_not_mixed_into_a_coarser_band(tmp_path):
    folder_of_bands(tmp_path, fill=0, nodata=None)
    grid = noise((1, 64, 64))
    grid[:, :, 32:] = 0
    write_tif(tmp_path / "T31_20200101_B02.tif", grid, bounds=(500_000, 0, 500_640, 640))
    with open_scene(tmp_path) as scene:
        dn, missing = scene.read(Window(0, 0, 64, 64), ("B02", "B05"))
    assert missing[:, 32:].all()
    assert set(dn[1][~missing].tolist()) == {2000}
