"""A scene to a raster of embeddings: the right numbers at the right places."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import Affine
from rasterio.warp import transform as transform_points
from rasterio.windows import Window

from georank_zoo.bands import S2_12
from georank_zoo.data.files import georeference
from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.readers import open_reader
from georank_zoo.embed.extract import extract, resize
from georank_zoo.embed.raster import embed_scene
from georank_zoo.embed.tiles import TileGrid, open_scene
from georank_zoo.models.encoder import create_model
from georank_zoo.utils.errors import GeorankError, UsageError
from tests.support.models import make_export
from tests.support.trees import UTM31, noise, write_tif

BOUNDS = (2.0, 48.0, 2.008, 48.006)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return make_export(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def model(model_folder):
    return create_model(model_folder)


@pytest.fixture
def scene(tmp_path):
    return write_tif(tmp_path / "scene.tif", noise((12, 90, 117)), descriptions=S2_12)


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read(), dataset.profile


def features_of(model_folder, pixels, **arguments):
    model = create_model(model_folder, unit="dn", **arguments)
    with torch.inference_mode():
        return model(torch.from_numpy(pixels)[None].float())[0].numpy()


@pytest.mark.parametrize(("stride", "batch_size"), [(32, 256), (16, 3), (40, 2), (7, 5)])
def test_each_pixel_is_the_embedding_of_its_tile(
    tmp_path, scene, model, model_folder, stride, batch_size
):
    seen = []
    report = embed_scene(
        model, scene, tmp_path / "e.tif", stride=stride, max_nodata=0, batch_size=batch_size,
        on_progress=lambda *a: seen.append(a[:2]),
    )  # fmt: skip
    found, profile = read(tmp_path / "e.tif")
    rows, cols = (90 - 32) // stride + 1, (117 - 32) // stride + 1
    assert found.shape == (96, rows, cols) == (96, report.grid.rows, report.grid.cols)
    assert report.empty == 0
    assert seen[-1] == (rows * cols, rows * cols)
    assert profile["dtype"] == "float32"
    with rasterio.open(scene) as source:
        for row in range(rows):
            for col in range(cols):
                pixels = source.read(window=Window(col * stride, row * stride, 32, 32))
                expected = features_of(model_folder, pixels)
                np.testing.assert_allclose(found[:, row, col], expected, rtol=1e-3, atol=1e-4)
    # Neighbors differ by far more than that tolerance.
    assert np.abs(np.diff(found, axis=2)).max() > 0.01


@pytest.mark.parametrize("stride", [32, 16, 40])
@pytest.mark.parametrize("kind", ["utm", "degrees", "rotated"])
def test_each_pixel_lies_on_the_center_of_its_tile(tmp_path, model, stride, kind):
    scene = tmp_path / "scene.tif"
    if kind == "degrees":
        write_tif(scene, noise((12, 90, 117)), crs="EPSG:4326", bounds=BOUNDS, descriptions=S2_12)
    else:
        write_tif(scene, noise((12, 90, 117)), descriptions=S2_12)
    if kind == "rotated":
        with rasterio.open(scene, "r+") as dataset:
            dataset.transform = Affine(8, 6, 500_000, 6, -8, 5_000_000)
    embed_scene(model, scene, tmp_path / "e.tif", stride=stride, max_nodata=0)
    with rasterio.open(scene) as source, rasterio.open(tmp_path / "e.tif") as output:
        assert output.crs == source.crs
        corners = [(r * stride, c * stride) for r in range(output.height)
                   for c in range(output.width)]  # fmt: skip
        expected = georeference.centers(source, corners, (32, 32))
        rows, cols = np.divmod(np.arange(len(corners)), output.width)
        x, y = rasterio.transform.xy(output.transform, rows, cols)
        lon, lat = transform_points(output.crs, "EPSG:4326", x, y)
        np.testing.assert_allclose(np.stack((lat, lon), 1), expected, rtol=0, atol=1e-9)
        area = abs(output.transform.determinant) / abs(source.transform.determinant)
        assert area == pytest.approx(stride**2)


def test_a_path_does_as_well_and_nothing_is_printed(
    tmp_path, scene, model_folder, model, capsys, monkeypatch
):
    monkeypatch.setattr("georank_zoo.utils.progress.BAR_DELAY_S", 1000)
    one = embed_scene(model_folder, scene, tmp_path / "a.tif", stride=16)
    two = embed_scene(model.train(), scene, tmp_path / "b.tif", stride=16, progress=False)
    np.testing.assert_array_equal(read(one.path)[0], read(two.path)[0])
    assert all(module.training for module in model.modules())
    model.eval()
    tiles = f"{one.grid.rows} x {one.grid.cols}"
    assert str(one) == f"{tiles} tiles of 32 px, 16 px apart; 96 bands: {one.path}"
    assert capsys.readouterr() == ("", "")


def test_the_file_says_what_it_is(tmp_path, scene, model):
    embed_scene(model, scene, tmp_path / "new" / "e.tif", stride=16)
    _, profile = read(tmp_path / "new" / "e.tif")
    assert np.isnan(profile["nodata"])
    assert profile["compress"] == "deflate"
    assert profile["tiled"]
    with rasterio.open(tmp_path / "new" / "e.tif") as opened:
        assert opened.descriptions[:2] == ("feature_0", "feature_1")
        facts = json.loads(opened.tags()["GEORANK"])
    assert facts["model_hash"] == model.model_hash
    assert (facts["tile"], facts["stride"]) == (32, 16)
    assert facts["radiometry"] == {
        "scale": [1e-4] * 12, "offset": [0] * 12,
        "source": "digital numbers, as nothing says otherwise",
    }  # fmt: skip
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["e.tif"]


def test_tiles_equal_the_patches_of_a_store_of_the_same_file(tmp_path, scene, model):
    embed_scene(model, scene, tmp_path / "e.tif", offset=1000)
    (tmp_path / "files").mkdir()
    scene.rename(tmp_path / "files" / "scene.tif")
    reader = open_reader("folder", tmp_path / "files", size=32, offset=1000)
    store = prepare_store(reader, tmp_path / "store").store
    found, _ = read(tmp_path / "e.tif")
    expected = extract(model, store)
    np.testing.assert_allclose(found.reshape(96, -1).T[: len(expected)], expected, atol=1e-5)
    assert len(expected) == found[0].size


def test_a_tile_of_another_size_is_resized(tmp_path, scene, model):
    embed_scene(model, scene, tmp_path / "e.tif", tile=48, image_size=32)
    found, _ = read(tmp_path / "e.tif")
    with rasterio.open(scene) as source, torch.inference_mode():
        pixels = torch.from_numpy(source.read(window=Window(48, 0, 48, 48)))[None]
        z = resize(model.standardize(pixels, S2_12, "dn"), 32)
        expected = model.embed(z)[0].numpy()
    np.testing.assert_allclose(found[:, 0, 1], expected, atol=1e-5)


def test_bands_are_found_by_name_and_others_ignored(tmp_path, model, model_folder, caplog):
    pixels = noise((4, 32, 32))
    scene = write_tif(tmp_path / "s.tif", pixels, descriptions=("SCL", "B8A", "B2", "B12"))
    with caplog.at_level(logging.WARNING):
        embed_scene(model, scene, tmp_path / "e.tif")
    assert "has no B01, B03" in caplog.text
    found, _ = read(tmp_path / "e.tif")
    expected = features_of(model_folder, pixels[1:], bands=["B8A", "B02", "B12"])
    np.testing.assert_allclose(found[:, 0, 0], expected, atol=1e-5)

    nameless = write_tif(tmp_path / "n.tif", pixels[1:])
    with pytest.raises(UsageError, match=r"3 bands without .* --bands must name them"):
        embed_scene(model, nameless, tmp_path / "n_e.tif")
    with pytest.raises(UsageError, match="--bands names 2"):
        embed_scene(model, nameless, tmp_path / "n_e.tif", bands="B8A,B02")
    embed_scene(model, nameless, tmp_path / "n_e.tif", bands="B8A,B02,B12")
    np.testing.assert_array_equal(read(tmp_path / "n_e.tif")[0], found)


def test_reflectance_equals_dn(tmp_path, scene, model):
    with rasterio.open(scene) as source:
        pixels = (source.read() / 10_000).astype(np.float32)
    other = write_tif(tmp_path / "r.tif", pixels, descriptions=S2_12)
    embed_scene(model, scene, tmp_path / "a.tif")
    embed_scene(model, other, tmp_path / "b.tif", unit="reflectance")
    np.testing.assert_array_equal(read(tmp_path / "a.tif")[0], read(tmp_path / "b.tif")[0])


def test_tiles_without_data_are_nan_and_holes_are_fed_at_the_mean(tmp_path, model):
    pixels = noise((12, 64, 96))
    pixels[:, :32, :32] = 0  # tile (0, 0): nothing
    pixels[:, :32, 32:35] = 0  # tile (0, 1): 9.4 %
    pixels[:, 32:, 40:41] = 0  # tile (1, 1): 3.1 %
    scene = write_tif(tmp_path / "s.tif", pixels, descriptions=S2_12)
    report = embed_scene(model, scene, tmp_path / "e.tif")
    found, _ = read(tmp_path / "e.tif")
    empty = np.array([[True, True, False], [False, False, False]])
    np.testing.assert_array_equal(np.isnan(found), np.broadcast_to(empty, found.shape))
    assert report.empty == 2
    z = model.standardize(torch.from_numpy(pixels[None, :, 32:, 32:64]), S2_12, "dn")
    z[..., 8] = 0
    with torch.inference_mode():
        np.testing.assert_allclose(found[:, 1, 1], model.embed(z)[0].numpy(), atol=1e-5)
    more = embed_scene(model, scene, tmp_path / "m.tif", max_nodata=0.1)
    assert more.empty == 1
    assert not np.isnan(read(tmp_path / "m.tif")[0][:, 0, 1]).any()


def test_declared_no_data_and_masks_count(tmp_path, model):
    pixels = noise((12, 32, 64))
    pixels[3, :, :32] = 7777
    scene = write_tif(tmp_path / "s.tif", pixels, descriptions=S2_12, nodata=7777)
    assert embed_scene(model, scene, tmp_path / "e.tif").empty == 1
    pixels = noise((12, 32, 64))
    masked = write_tif(tmp_path / "masked.tif", pixels, descriptions=S2_12)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(masked, "r+") as dataset:
        dataset.write_mask(np.arange(64)[None].repeat(32, 0) >= 32)
    embed_scene(model, masked, tmp_path / "f.tif")
    found, _ = read(tmp_path / "f.tif")
    assert np.isnan(found[:, 0, 0]).all()
    assert not np.isnan(found[:, 0, 1]).any()


@pytest.mark.parametrize(
    ("side", "max_nodata", "count"), [(90, 0, 2), (90, 0.19, 3), (95, 0.05, 3), (31, 0.05, 1)]
)
def test_tiles_hang_over_the_edge_as_far_as_no_data_is_accepted(side, max_nodata, count):
    grid = TileGrid((side, 64), 32, 32, max_nodata)
    assert (grid.rows, grid.cols) == (count, 2)


def test_what_lies_beyond_the_edge_is_fed_at_the_mean(tmp_path, model):
    pixels = noise((12, 32, 48))
    scene = write_tif(tmp_path / "s.tif", pixels, descriptions=S2_12)
    embed_scene(model, scene, tmp_path / "e.tif", max_nodata=0.5)
    found, _ = read(tmp_path / "e.tif")
    assert found.shape == (96, 1, 2)
    z = torch.zeros(1, 12, 32, 32)
    z[..., :16] = model.standardize(torch.from_numpy(pixels[None, :, :, 32:]), S2_12, "dn")
    with torch.inference_mode():
        np.testing.assert_allclose(found[:, 0, 1], model.embed(z)[0].numpy(), atol=1e-5)


def refuse(kind, match, path, model, scene, **settings):
    with pytest.raises(kind, match=match):
        embed_scene(model, scene, path, **settings)
    assert not [p for p in path.parent.iterdir() if p.name.startswith(("e.tif", ".e.tif"))]


def test_what_cannot_be_is_refused_and_nothing_is_left(tmp_path, scene, model):
    out = tmp_path / "e.tif"
    refuse(UsageError, "looks like digital numbers", out, model, scene, unit="reflectance")
    floats = write_tif(tmp_path / "r.tif", np.full((1, 32, 32), 0.2, "f4"), descriptions=["B02"])
    refuse(UsageError, "looks like reflectance", out, model, floats)
    refuse(UsageError, "smaller --tile", out, model, scene, tile=128)
    refuse(UsageError, "must be 1 or more", out, model, scene, stride=0)
    refuse(UsageError, r"must end in \.tif", tmp_path / "e.tif.parquet", model, scene)
    refuse(UsageError, "Unknown unit", out, model, scene, unit="DN")
    refuse(UsageError, "There is no", out, model, tmp_path / "none.tif")
    nowhere = write_tif(tmp_path / "nocrs.tif", noise((12, 32, 32)), crs=None, descriptions=S2_12)
    refuse(GeorankError, "no CRS", out, model, nowhere)
    black = write_tif(tmp_path / "black.tif", np.zeros((12, 32, 32), "u2"), descriptions=S2_12)
    refuse(GeorankError, "Every tile", out, model, black)
    cirrus = write_tif(tmp_path / "b10.tif", noise((1, 32, 32)), descriptions=["B10"])
    refuse(UsageError, "no band in common", out, model, cirrus)
    scene.write_bytes(scene.read_bytes()[:150_000])
    refuse(GeorankError, "unreadable or truncated", out, model, scene)


def test_an_existing_file_stays_until_the_new_one_is_whole(tmp_path, scene, model):
    out = tmp_path / "e.tif"
    out.write_text("old")
    with pytest.raises(UsageError, match="--overwrite"):
        embed_scene(model, scene, out)

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_scene(model, scene, out, overwrite=True, on_progress=stop)
    assert out.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.tif", "scene.tif"]
    embed_scene(model, scene, out, overwrite=True)
    assert read(out)[0].shape == (96, 2, 3)


def test_a_file_that_cannot_be_written_whole_is_an_error(tmp_path, scene, model_folder):
    out = tmp_path / "e.tif"
    code = (
        "import resource, signal, sys; from georank_cli.main import main; "
        # As on a full disk, a write fails half-way; on a full disk the signal does not come.
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); "
        f"main(['features', {str(model_folder)!r}, {str(scene)!r}, '--out', {str(out)!r}, "
        "'--stride', '4'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["scene.tif"]


def test_memory_grows_neither_with_the_height_nor_with_the_width(tmp_path, model):
    peaks = []
    for shape in ((64, 128), (64, 2048), (1024, 128)):
        scene = write_tif(tmp_path / "s.tif", noise((12, *shape)), descriptions=S2_12)
        embed_scene(model, scene, tmp_path / "warm.tif", batch_size=4, overwrite=True)
        tracemalloc.start()
        embed_scene(model, scene, tmp_path / "e.tif", batch_size=4, overwrite=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The larger ones have 3.1 MB of pixels, twice the peak of the smallest.
    assert max(peaks) < peaks[0] + 400_000, peaks


def test_a_folder_of_bands_lies_on_its_finest_grid(tmp_path, oscd_tree, model):
    with open_scene(oscd_tree / "pisa" / "imgs_1") as scene:
        assert scene.shape == (90, 120)
        assert scene.bands == (*S2_12[:10], "B10", *S2_12[10:])
        dn, missing = scene.read(Window(0, 0, 120, 90), S2_12)
    assert not missing.any()
    # A ramp from west to east, sampled at 10, 20 and 60 m.
    ramp = 1000 + 1200 * (np.arange(120) + 0.5) / 120
    np.testing.assert_allclose(dn[:, :, 4:-4], np.broadcast_to(ramp, dn.shape)[:, :, 4:-4], atol=2)
    report = embed_scene(model, oscd_tree / "pisa" / "imgs_1", tmp_path / "e.tif")
    assert (report.grid.rows, report.grid.cols) == (2, 3)
    with pytest.raises(UsageError, match="B01 twice"), open_scene(oscd_tree / "pisa"):
        pass
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="rasters of single"), open_scene(tmp_path / "none"):
        pass


def test_a_safe_folder_gives_its_finest_bands_and_no_masks(tmp_path):
    granule = tmp_path / "S2.SAFE" / "GRANULE" / "L2A_T31"
    for step, band in ((1, "B02"), (2, "B02"), (2, "B05")):
        pixels = np.full((1, 120 // step, 120 // step), 1000 + step, np.uint16)
        path = granule / "IMG_DATA" / f"R{step}0m" / f"T31_20200101_{band}_{step}0m.tif"
        write_tif(path, pixels, bounds=(500_000, 0, 501_200, 1200), crs=UTM31)
    write_tif(granule / "QI_DATA" / "MSK_DETFOO_B02.tif", noise((1, 120, 120)))
    with open_scene(tmp_path / "S2.SAFE") as scene:
        dn, _ = scene.read(Window(0, 0, 120, 120), ("B02", "B05"))
    assert dn.shape == (2, 120, 120)
    assert set(dn[0].flat) == {1001}
    assert set(dn[1].flat) == {1002}


def test_a_real_city_equals_what_the_store_holds(tmp_path, real_data, model):
    cities = tmp_path / "cities"
    cities.mkdir()
    (cities / "paris").symlink_to(real_data / "oscd_s2_l1c" / "paris")
    store = prepare_store(open_reader("oscd", cities, size=64), tmp_path / "store").store
    city = real_data / "oscd_s2_l1c" / "paris" / "imgs_1"
    embed_scene(model, city, tmp_path / "e.tif", tile=64, image_size=64, max_nodata=0)
    found, _ = read(tmp_path / "e.tif")
    first = [i for i, key in enumerate(store.keys) if "/imgs_1@" in key]
    expected = extract(model, store, samples=np.array(first), image_size=64)
    assert found[0].size == len(first) == 36
    # The coarse bands are resampled in windows here and as a whole there.
    ours = found.reshape(96, -1).T
    cosine = (ours * expected).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(
        expected, axis=1
    )  # fmt: skip
    assert cosine.min() > 0.9995
    with rasterio.open(tmp_path / "e.tif") as output:
        x, y = rasterio.transform.xy(output.transform, *np.divmod(np.arange(36), output.width))
        np.testing.assert_allclose(np.stack((y, x), 1), store.latlon[first], rtol=0, atol=1e-9)
