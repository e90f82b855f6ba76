"""Scale and offset by whoever names them, and an error where two contradict."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio

from georank_zoo import bands as s2
from georank_zoo.data.files.radiometry import (
    EARLY_OFFSET,
    UNKNOWN_OFFSET,
    Claim,
    Given,
    Source,
    find_radiometry,
    sources_of,
)
from georank_zoo.utils.errors import BadItem, UsageError
from tests.support.trees import noise, write_tif

BANDS = ("B02", "B8A")
PRODUCT = "S2A_MSIL2A_20230615T102031_N{}_R065_T32TQM_20230615T162031"
YEAR_2023 = int(datetime(2023, 6, 15, tzinfo=UTC).timestamp())
YEAR_2020 = int(datetime(2020, 6, 15, tzinfo=UTC).timestamp())


def found(root: Path, file: str = "a.tif", *, scale=1.0, offset=0.0, harmonized=False, **more):
    sources = [Source(root / file, scale, offset, harmonized)] * len(BANDS)
    return find_radiometry(sources, BANDS, root=root, **more)


def xml(folder: Path, offsets="", quantification="10000", baseline="05.09", level="2A") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    kind = "BOA" if level == "2A" else "RADIO"
    values = "".join(f'<{kind}_ADD_OFFSET band_id="{i}">{o}</{kind}_ADD_OFFSET>'
                     for i, o in enumerate(offsets))  # fmt: skip
    path = folder / f"MTD_MSIL{level}.xml"
    path.write_text(
        f"<n1:Product><!-- <BOA_ADD_OFFSET>7</BOA_ADD_OFFSET> --><PROCESSING_BASELINE>{baseline}"
        f"</PROCESSING_BASELINE><{'BOA_' * (level == '2A')}QUANTIFICATION_VALUE unit='none'>"
        f"{quantification}</{'BOA_' * (level == '2A')}QUANTIFICATION_VALUE>{values}</n1:Product>"
    )
    return path


@pytest.mark.parametrize(
    ("name", "shift"),
    [
        (f"{PRODUCT.format('0400')}.tif", -1000),
        (f"{PRODUCT.format('0511')}_B02.tif", -1000),
        (f"{PRODUCT.format('0301')}.tif", 0),
        (f"{PRODUCT.format('9999')}_26_57.tif", 0),
        (f"{PRODUCT.format('0509')}/x/a.tif", -1000),
        (f"{PRODUCT.format('0214')}.SAFE/GRANULE/a.tif", 0),
        (f"{PRODUCT.format('0509')}.SAFE/{PRODUCT.format('0214')}.tif", 0),  # the nearest
        (f"S2_SR_HARMONIZED_{PRODUCT.format('0509')}.tif", 0),
        ("tile_N0450_E0120.tif", 0),  # degrees of a grid
        ("tile_E0120_N0450.tif", 0),
        ("W010_N0450.tif", 0),
        ("N0500x.tif", 0),
        ("a.tif", 0),
    ],
)
def test_a_baseline_in_a_name(tmp_path, name, shift):
    # The name of this test is no part of the source.
    assert found(tmp_path / "root", name).shift == (shift, shift)


def test_the_name_of_the_root_counts_and_of_what_is_above_it_does_not(tmp_path):
    root = tmp_path / PRODUCT.format("0509")
    assert found(root).shift == (-1000, -1000)
    assert found(root / "cut").shift == (0, 0)
    safe = tmp_path / f"{PRODUCT.format('0509')}.SAFE"
    assert found(safe / "GRANULE" / "R10m").shift == (-1000, -1000)


@pytest.mark.parametrize(
    ("scale", "offset", "gain", "shift"),
    [
        (1e-4, -0.1, 1, -1000),
        (np.float32(1e-4), np.float32(-0.1), 1, -1000),  # as many writers have it
        (1e-4, 0, 1, 0),
        (2.75e-5, -0.2, 0.275, -2000),
        (0.01, 0, 100, 0),
        (1, -1000, 1, -1000),  # an offset in DN
        (1, -0.1, 10_000, -1000),  # one in reflectance
    ],
)
def test_tags(tmp_path, scale, offset, gain, shift):
    meaning = found(tmp_path, scale=float(scale), offset=float(offset))
    assert meaning.gain == (gain, gain)
    assert meaning.shift == (shift, shift)
    assert "the file's scale" in meaning.source


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_tags_that_cannot_be(tmp_path, scale):
    with pytest.raises(BadItem, match="wrong scale tag"):
        found(tmp_path, scale=scale)


def test_tags_are_read_per_band_from_the_file_and_beside_it(tmp_path):
    path = write_tif(tmp_path / "a.tif", noise((3, 8, 8)), tags={"system:id": "S2_SR_HARMONIZED/x"})
    (tmp_path / "a.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="3"><Offset>-0.1</Offset><Scale>0.0001</Scale>'
        "</PAMRasterBand></PAMDataset>"
    )
    with rasterio.open(path) as dataset:
        told = sources_of(dataset, [1, 3])
    assert [(s.scale, s.offset) for s in told] == [(1, 0), (1e-4, -0.1)]
    assert all(s.harmonized for s in told)


@pytest.mark.parametrize("level", ["1C", "2A"])
def test_the_product_says_it_band_by_band(tmp_path, level):
    xml(tmp_path / "x.SAFE", range(-1000, -1013, -1), level=level)
    meaning = found(tmp_path, "x.SAFE/GRANULE/IMG_DATA/R10m/b.jp2")
    assert meaning.shift == (-1001, -1008)  # B02 is band 1, B8A band 8
    assert found(tmp_path / "x.SAFE" / "GRANULE").shift == (-1001, -1008)


def test_a_product_without_offsets_says_its_baseline_and_its_scale(tmp_path):
    assert found(xml(tmp_path / "a", baseline="02.14").parent).shift == (0, 0)
    assert found(xml(tmp_path / "b", baseline="04.00").parent).shift == (-1000, -1000)
    other = found(xml(tmp_path / "c", [-1000] * 13, quantification="1000").parent)
    assert (other.gain, other.shift) == ((10, 10), (-10_000, -10_000))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "DOCTYPE"),
        ("<a><b></a>", "damaged product XML"),
        ("<a><BOA_ADD_OFFSET band_id='0'>much</BOA_ADD_OFFSET></a>", "'much' for a number"),
        ("<a><BOA_QUANTIFICATION_VALUE>0</BOA_QUANTIFICATION_VALUE></a>", "quantification"),
        ("<a>" + " " * 9_000_000 + "</a>", "bytes"),
    ],
)
def test_a_product_that_cannot_be_read(tmp_path, text, reason):
    (tmp_path / "MTD_MSIL2A.xml").write_text(text)
    with pytest.raises(BadItem, match=reason):
        found(tmp_path)


def test_a_product_is_read_again_when_it_changes(tmp_path):
    assert found(xml(tmp_path, baseline="02.14").parent).shift == (0, 0)
    assert found(xml(tmp_path, [-1000] * 13).parent).shift == (-1000, -1000)


@pytest.mark.parametrize(
    ("options", "tags", "name", "said"),
    [
        ({"offset": 0}, {}, f"{PRODUCT.format('0509')}.tif", ["--offset 0", "baseline N0509"]),
        ({"offset": 1000}, {}, f"{PRODUCT.format('0214')}.tif", ["--offset 1000", "N0214"]),
        ({"offset": 0}, {"scale": 1e-4, "offset": -0.1}, "a.tif", ["--offset 0", "offset -0.1"]),
        ({"unit": "reflectance"}, {"scale": 1e-4}, "a.tif", ["--unit reflectance", "scale 0.0001"]),
        ({}, {"scale": 1e-4}, f"{PRODUCT.format('0509')}.tif", ["scale 0.0001", "N0509"]),
    ],
)
def test_a_contradiction_names_both_and_the_way_out(tmp_path, options, tags, name, said):
    with pytest.raises(BadItem, match="--radiometry options") as error:
        found(tmp_path, name, given=Given(**options), **tags)
    assert all(text in str(error.value) for text in said)
    assert str(error.value).partition(":")[0] in ("offset contradicted", "scale contradicted")
    # And the way out is one.
    meaning = found(tmp_path, name, given=Given(**options, mode="options"), **tags)
    assert meaning.shift[0] == -options.get("offset", 0)
    assert meaning.gain[0] == (10_000 if "unit" in options else 1)


def test_the_product_contradicts_an_option(tmp_path):
    xml(tmp_path, [-1000] * 13)
    with pytest.raises(BadItem, match=r"--offset 0 means that 0 DN.* MTD_MSIL2A.xml that 1000 DN"):
        found(tmp_path, given=Given(offset=0))


def test_those_who_agree_are_all_named(tmp_path):
    given = Given(unit="dn", offset=1000)
    meaning = found(tmp_path, f"{PRODUCT.format('0509')}.tif", scale=1e-4, offset=-0.1, given=given)
    assert meaning.shift == (-1000, -1000)
    assert meaning.source == (
        "--unit dn and --offset 1000 and the file's scale 0.0001 and offset -0.1 and baseline "
        "N0509 in a name"
    )


@pytest.mark.parametrize(
    ("options", "name", "time", "doubt"),
    [
        ({}, "a.tif", YEAR_2023, UNKNOWN_OFFSET),
        ({}, "a.tif", YEAR_2020, ""),
        ({}, "a.tif", None, ""),
        ({"offset": 0}, "a.tif", YEAR_2023, ""),
        ({"offset": 1000}, "a.tif", YEAR_2023, ""),
        ({"offset": 1000}, "a.tif", YEAR_2020, EARLY_OFFSET),
        ({"offset": 1000}, f"{PRODUCT.format('0500')}.tif", YEAR_2020, ""),
        ({}, "HARMONIZED_a.tif", YEAR_2023, ""),
        ({}, "HLS.S30.T32TQM.2023166T102031.v2.0.tif", YEAR_2023, ""),
        # A name speaks of DN; whether reflectance still has the offset, it does not say.
        ({"unit": "reflectance"}, f"{PRODUCT.format('0509')}.tif", None, UNKNOWN_OFFSET),
    ],
)
def test_doubts(tmp_path, options, name, time, doubt):
    assert found(tmp_path, name, given=Given(**options), time=time).doubt == doubt


def test_a_known_data_set_raises_no_doubt_but_its_tags_count(tmp_path):
    meaning = found(tmp_path, time=YEAR_2023, default="known")
    assert (meaning.source, meaning.doubt) == ("known", "")
    said = [Claim("its metadata", shift=-1000)]
    assert found(tmp_path, default="known", claims=said).shift == (-1000, -1000)
    assert found(tmp_path, scale=1e-4, offset=-0.1, default="known").shift == (-1000, -1000)


def test_options_that_cannot_be():
    for wrong in ({"unit": "DN"}, {"mode": "file"}, {"offset": -1}):
        with pytest.raises(UsageError):
            Given(**wrong)
    assert s2.UNITS == ("reflectance", "dn")
