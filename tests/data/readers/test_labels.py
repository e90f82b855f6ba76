"""Labels as spreadsheets, GIS programs and people write them."""

from __future__ import annotations

import json
import logging
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from rasterio.transform import Affine
from rasterio.warp import transform as transform_points

from georank_zoo.data.files import raster
from georank_zoo.data.readers.labels import Labels, read_labels
from georank_zoo.data.readers.labels.values import class_of, class_order
from georank_zoo.utils.errors import UsageError
from tests.support.trees import noise, write_tif

FILES = ("p0.tif", "p1.tif", "p2.tif", "p3.tif")


def read(tmp_path: Path, text: str, files: tuple[str, ...] = FILES, name: str = "l.csv") -> Labels:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_labels(str(tmp_path / name), tmp_path, files)


def classes(labels: Labels) -> dict[str, str]:
    return {file: labels.class_names[label] for file, label in labels.by_file.items()}


@pytest.mark.parametrize(
    "text",
    [
        "filename,label\np0.tif,A\np1.tif,B\n",
        "Filename;LABEL\np0.tif;A\np1.tif;B\n",
        "file\tclass\np0.tif\tA\np1.tif\tB\n",
        "sep=;\npath;label\np0.tif;A\np1.tif;B\n",
        "sep=,\r\nfilename,label\r\np0.tif,A\r\np1.tif,B\r\n",
        '"Filename" , "Label"\n"p0.tif","A"\n"p1.tif" ,"B"\n',
        ",label,filename\n0,A,p0.tif\n1,B,p1.tif\n",
        "filename,label\n./p0.tif,A\n\nP1.TIF,B\n",
        "filename,label\n{root}/p0.tif,A\n.\\p1.tif,B\n",
    ],
)
def test_tables_that_say_the_same(tmp_path: Path, text: str) -> None:
    labels = read(tmp_path, text.replace("{root}", str(tmp_path)))
    assert classes(labels) == {"p0.tif": "A", "p1.tif": "B"}


@pytest.mark.parametrize(
    "text",
    [
        "filename,label,latitude,longitude\np0.tif,A,48.7,9.5\np1.tif,A,,\n",
        "filename;label;lat;lon\np0.tif;A;48,7;9,5\np1.tif;A;;\n",
        'filename,label,LAT,LON\np0.tif,A,"48,7","9,5"\n',
    ],
)
def test_positions(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).positions == {"p0.tif": (48.7, 9.5)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("filename,label\n", "holds no row"),
        ("filename\np0.tif\n", "has columns 'filename'; needed are filename and label"),
        ("filename,label,Label\np0.tif,A,X\n", "2 columns of one meaning: 'label', 'Label'"),
        ("filename,label,lat,latitude,lon\np0.tif,A,1,2,3\n", "of one meaning: 'lat', 'latitude'"),
        ("filename,label,lat\np0.tif,A,48\n", "has a column lat, but not the other coordinate"),
        ("filename,label\np0.tif,A\n\np0.tif,B\n", "two labels: A in line 2 and B in line 4"),
        ("filename,label\np0.tif,A\n./p0.tif,B\n", "gives p0.tif two labels"),
        (
            "filename,label,lat,lon\np0.tif,A,1,2\np0.tif,A,3,4\n",
            r"two positions: \(1.0, 2.0\) in line 2 and \(3.0, 4.0\) in line 3",
        ),
        ("filename,label\np0.tif,Crop, wheat\n", "line 2 has 3 cells, and there are 2 columns"),
        ('filename,label\n"p0.tif,A\np1.tif,B\n', "quotation mark"),
        ("filename,label\n,A\n", "line 2: label 'A' has no filename"),
    ],
)
def test_tables_that_contradict_themselves(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        *((word, None) for word in ("", " ", "nan", "NaN", "None", "NA", "N/A", "<NA>", "null")),
        ("1.0", "1"),
        ("+1", "+1"),
        ("-0.0", "0"),
        ("2.000000000000000000e+00", "2"),
        ("1.200000000000000000e+01", "12"),
        ("1.5", "1.5"),
        ("1.10", "1.10"),  # a code of a legend
        ("007", "007"),
        (unicodedata.normalize("NFD", "Forêt"), "Forêt"),
        ("\ufeffWald ", "Wald"),
    ],
)
def test_what_a_cell_names(cell: str, name: str | None) -> None:
    assert class_of(cell) == name


def test_numbers_are_ordered_as_numbers_and_before_names() -> None:
    assert class_order(["10", "9", "-1", "b", "2", "a", "9", "1.5"]) == (
        "-1", "1.5", "2", "9", "10", "a", "b",
    )  # fmt: skip


def test_missing_words_are_counted_and_numbers_are_one_class(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = read(tmp_path, "filename,label\np0.tif,1\np1.tif,1.0\np2.tif,nan\np3.tif,None\n")
    assert classes(labels) == {"p0.tif": "1", "p1.tif": "1"}
    assert "2 of 4 labels are missing (1 of 'nan', 1 of 'None')" in caplog.text


def test_a_table_without_any_label_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read(tmp_path, "filename,label\np0.tif,A\np1.tif,\n")
    assert not caplog.text
    assert classes(read(tmp_path, "filename,label\np0.tif,\np1.tif,\n")) == {}
    assert "2 of 2 labels are missing" in caplog.text


def test_class_folders_are_names(tmp_path: Path) -> None:
    twice = {form: unicodedata.normalize(form, "Forêt") for form in ("NFC", "NFD")}
    files = (f"{twice['NFC']}/0.tif", f"{twice['NFD']}/1.tif", "NA/2.tif", "top.tif")
    labels = read_labels("parent", tmp_path, files)
    assert labels.class_names == ("Forêt", "NA")  # Namibia
    assert list(labels.by_file.values()) == [0, 0, 1]


def test_names_match_in_any_unicode_form(tmp_path: Path) -> None:
    files = (unicodedata.normalize("NFC", "Forêt_0.tif"),)
    labels = read(tmp_path, f"filename,label\n{unicodedata.normalize('NFD', files[0])},A\n", files)
    assert classes(labels) == {files[0]: "A"}


def test_look_alikes_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    read(tmp_path, "filename,label\np0.tif,Crop\np1.tif,crop\np2.tif,Forest\n")
    assert "'Crop', 'crop' are 2 classes, though they look alike" in caplog.text


def collection(*features: dict[str, Any], **members: Any) -> str:
    whole = {"type": "FeatureCollection", "features": list(features), **members}
    return json.dumps(whole)


def feature(label: Any, geometry: Any = None, **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature", "properties": {"label": label, **properties}, "geometry": geometry,
    }  # fmt: skip


def point(*coordinates: float) -> dict[str, Any]:
    return {"type": "Point", "coordinates": list(coordinates)}


def test_geojson_of_files(tmp_path: Path) -> None:
    text = "\ufeff" + collection(
        feature(1, filename="p0.tif"), feature(1.0, filename="p1.tif"),
        feature(None, filename="p2.tif"), feature(10, filename="p3.tif"),
    )  # fmt: skip
    labels = read(tmp_path, text, name="l.geojson")
    assert classes(labels) == {"p0.tif": "1", "p1.tif": "1", "p3.tif": "10"}


def test_geojson_of_another_system(tmp_path: Path) -> None:
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    text = collection(feature("A", point(500_000, 5_400_000, 12.5)), crs=crs)
    labels = read(tmp_path, text, name="l.geojson")
    assert labels.points.latlon[0] == pytest.approx((48.7530, 9.0), abs=1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (collection(feature("A", point())), r"feature 1: a point's coordinates are .*, not \[\]"),
        (collection(feature("A", point(float("nan"), 1))), "feature 1: a point's coordinates"),
        (
            collection(feature("A", point(1, 2)), feature("B")),
            "feature 2 has no geometry",
        ),
        (
            collection(feature("A", {"type": "Polygon", "coordinates": [[[0, 0]]]})),
            "feature 1 is 'Polygon'. Features without a 'filename' must be points",
        ),
        (collection(feature([1], point(1, 2))), "label must be one text or number"),
        (collection(), "holds 0 features"),
        (json.dumps(feature("A", point(1, 2))), "its type is 'Feature'"),
        ("[1, 2]", "is not a GeoJSON FeatureCollection"),
        (
            collection(feature("A", point(1, 2)), feature("B", point(1, 2))),
            "one point two labels: A in feature 1 and B in feature 2",
        ),
    ],
)
def test_odd_geojson_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(tmp_path, text, name="l.geojson")


SIDE = 32
UTM = Affine(10, 0, 500_000, 0, -10, 5_000_000)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32631", UTM),
        ("EPSG:32631", Affine(10, 0, 500_000, 0, 10, 5_000_000)),  # south up
        ("EPSG:4326", Affine(1e-4, 0, 3, 0, 1e-4, 45)),
        ("EPSG:32631", UTM @ Affine.rotation(30)),
        ("EPSG:4326", Affine(0.05, 0, 179, 0, -0.05, -16)),  # to 180.6
        ("EPSG:4326", Affine(1e-4, 0, 181.2, 0, -1e-4, -16)),
        ("EPSG:3857", Affine(10, 0, 20_137_508, 0, -10, -1_800_000)),
        ("EPSG:3031", Affine(10, 0, -160, 0, -10, 160)),  # the pole is in it
    ],
)
def test_a_point_lies_in_its_window(tmp_path: Path, crs: str, transform: Affine) -> None:
    path = write_tif(tmp_path / "a.tif", noise((1, SIDE, SIDE)), crs=crs)
    with raster.rasterio.open(path, "r+") as dataset:
        dataset.transform = transform
    x, y = transform @ (20.5, 4.5)  # column, row: the upper right window
    (lon,), (lat,) = transform_points(crs, "EPSG:4326", [x], [y])
    text = collection(feature("A", point((lon + 180) % 360 - 180, lat)))
    labels = read(tmp_path, text, ("a.tif",), "l.geojson")
    corners = [(0, 0), (0, 16), (16, 0), (16, 16)]
    with raster.opened(path) as dataset:
        rows, cols, _ = labels.points.on(dataset)
        assert (rows[0], cols[0]) == pytest.approx((4.5, 20.5), abs=1e-3)
        assert labels.of_windows("a.tif", dataset, corners, 16) == [-1, 0, -1, -1]
