"""Dates in tags and in names: of sensing, not of processing or of the file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from georank_zoo.data.files.dates import acquisition_time, parse_time
from georank_zoo.data.store.patch import NO_TIME

WRITTEN = {"TIFFTAG_DATETIME": "2024:05:01 12:00:00"}


def seconds(text: str | None) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) if text else NO_TIME


@pytest.mark.parametrize(
    "name",
    [
        "patch_20180615.tif",
        "S2_2018-06-15_a.tif",
        "b_2018_06_15.tif",
        "c.2018.06.15.tif",
        "d_20180615102031.tif",
        "2018-06-15-00_00_2018-06-15-23_59_Sentinel-2_L2A_B02_(Raw).tiff",
        # A span of days: its first.
        "2018-06-15-00_00_2018-06-30-23_59_Sentinel-2_L2A_B02_(Raw).tiff",
        "HLS.S30.T32TQM.2018166T102031.v2.0.B02.tif",
        "p_2018166.tif",
        "p_2018-166_1.tif",
        "T32TQM_20180615T102031_B02_10m.jp2",
        "S2A_MSIL2A_20180615T102031_N0500_R065_T32TQM_20230801T000000.tif",
        "S2A_32TQM_20180615_0_L2A.tif",
        "20180615T102031_20180615T102457_T32TQM.tif",
        "SENTINEL2A_20180615-102457-460_L2A_T32TQM_C_V2-2_FRE_B2.tif",
        # The date of a product counts, whatever stands before it.
        "export_20230901_S2A_MSIL2A_20180615T102031_N0500_R065_T32TQM_20230801T000000.tif",
        "S2A_OPER_PRD_MSIL1C_PDMC_20180801T120000_R065_V20180615T102031_20180615T102031.tif",
        # In a folder too, and before dates of the file's name.
        "S2A_MSIL2A_20180615T102031_N0500_R065_T32TQM_20230801T000000.SAFE/clip_20230901.tif",
        # A day of the year is a number before it is a date.
        "2016123_20180615.tif",
        # Dates of something else: there was no Sentinel-2 then.
        "h_20101231_20180615.tif",
        "10000101_20180615.tif",
    ],
)
def test_the_day_of_sensing_in_a_name(name: str) -> None:
    assert acquisition_time(Path("set") / name, WRITTEN) == seconds("2018-06-15")


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        ("a.tif", {"ACQUISITION_DATE": "2019-03-04", **WRITTEN}, "2019-03-04"),
        ("a_20180615.tif", {"SENSING_TIME": "2018-06-16T10:20:31Z"}, "2018-06-16T10:20:31"),
        ("2018-01-15T10:20:31.tif", WRITTEN, "2018-01-15T10:20:31"),
        ("f_20150623.tif", {}, "2015-06-23"),
        # No date is in these: the file's own age, or none.
        ("c_20201332.tif", WRITTEN, "2024-05-01T12:00"),
        ("e_20150622.tif", WRITTEN, "2024-05-01T12:00"),
        ("g_20990101.tif", {}, None),
        ("p_2018367.tif", {}, None),
        ("p_2018000.tif", {}, None),
        ("10000101.tif", {}, None),
        ("d.tif", {}, None),
        # What lies in a folder of some date may be of another.
        ("20230801/d.tif", {}, None),
    ],
)
def test_tags_and_numbers(name: str, tags: dict[str, str], expected: str | None) -> None:
    assert acquisition_time(Path("set") / name, tags) == seconds(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20150711", "2015-07-11"),
        (" 20150711", "2015-07-11"),
        ("2018-06-15T10:20:30Z", "2018-06-15T10:20:30"),
        ("2018:06:15 10:20:30", "2018-06-15T10:20:30"),
        ("S2A_MSIL2A_20170613T101031_x", "2017-06-13"),
        ("patch_123456789", None),
        ("20191301", None),
        ("9999-12-31T23:59:59-10:00", None),  # in UTC of the year 10000
        ("", None),
    ],
)
def test_parse_time(text: str, expected: str | None) -> None:
    assert parse_time(text) == seconds(expected)
