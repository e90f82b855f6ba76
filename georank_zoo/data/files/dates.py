"""When a product was acquired."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from georank_zoo.data.store.patch import NO_TIME

# 20180615, 2018-06-15, 2018_06_15, 20180615T102031, 20180615102031
_DATE = re.compile(r"(?<!\d)(20[1-9]\d)([-_.:]?)(\d\d)\2(\d\d)(?=(?:\d{6})?(?!\d))")
# Day of the year: 2018166, 2018-166, 2018166T102031 (HLS)
_ORDINAL = re.compile(r"(?<!\d)(20[1-9]\d)-?([0-3]\d\d)(?!\d)")
# Where the names of products hold the day of sensing; later days in them are of processing.
_SENSING = re.compile(
    r"S2[A-D]_MSIL\d[A-C]_(\d{8})T"  # S2A_MSIL2A_20180615T102031_N0500_R065_T32TQM_20230801T000000
    r"|S2[A-D]_(?:OPER|USER)_PRD_.*_V(\d{8})T"  # the format until 2016: processing comes first
    r"|S2[A-D]_\d\d[A-Z]{3}_(\d{8})_"  # S2A_32TQM_20180615_0_L2A of the Earth Search
    r"|SENTINEL2[A-D]_(\d{8})-"  # Theia
    r"|(\d{8})T\d{6}_\d{8}T\d{6}_T\d\d[A-Z]{3}"  # Earth Engine
    r"|HLS[._][SL]30[._]T\d\d[A-Z]{3}[._](\d{7})T"
)
# Sentinel-2A was launched on this day (ESA).
_FIRST_TIME = int(datetime(2015, 6, 23, tzinfo=UTC).timestamp())


def acquisition_time(path: Path, tags: dict[str, str]) -> int:
    """Acquisition time as Unix seconds, UTC; `NO_TIME` where none is known.

    The first that there is of:

    1. a tag of acquisition or sensing,
    2. the day of sensing in the name of a product, of the file or of a folder that it is in,
    3. the first date in the file's name (of a span of days, its first), or, without one, the
       first day of a year (`2018166`),
    4. TIFFTAG_DATETIME, which by the TIFF standard is the file's own age.

    Digits of a name are a date only between the launch of Sentinel-2A and tomorrow (clocks
    differ): others number things.
    """
    tagged = [v for k, v in tags.items() if re.search("ACQUISITION|SENSING", k, re.I)]
    times = [parse_time(text) for text in tagged]
    times += _plausible(t for part in reversed(path.parts) for t in _product_times(part))
    times += _plausible(_times(path.stem))
    times.append(parse_time(tags.get("TIFFTAG_DATETIME", "")))
    return next((time for time in times if time != NO_TIME), NO_TIME)


def parse_time(text: str) -> int:
    """Unix seconds of the first date in a text (ISO, TIFF, digits); `NO_TIME` if none."""
    return next(_times(text), NO_TIME)


def day_of_name(name: str) -> str | None:
    """Day of acquisition (`2018-06-15`) in the name of a file or folder."""
    times = _plausible([*_product_times(name), *_times(name)])
    return datetime.fromtimestamp(times[0], UTC).date().isoformat() if times else None


def _plausible(times: Iterator[int] | list[int]) -> list[int]:
    tomorrow = int((datetime.now(UTC) + timedelta(days=1)).timestamp())
    return [time for time in times if _FIRST_TIME <= time <= tomorrow]


def _product_times(name: str) -> Iterator[int]:
    for match in _SENSING.finditer(name):
        yield from _times(next(filter(None, match.groups())))


def _times(text: str) -> Iterator[int]:
    text = text.strip()
    for form in ("%Y:%m:%d %H:%M:%S", "%Y-%m-%d %H:%M:%S"):
        try:
            yield int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        yield int(moment.timestamp())
    except (ValueError, OverflowError):  # a zone may lead beyond the year 9999
        pass
    # Of a time in the middle of a name the day is what matters.
    for year, _, month, day in _DATE.findall(text):
        try:
            yield int(datetime(int(year), int(month), int(day), tzinfo=UTC).timestamp())
        except ValueError:
            continue
    for year, day in _ORDINAL.findall(text):
        moment = datetime(int(year), 1, 1, tzinfo=UTC) + timedelta(days=int(day) - 1)
        if moment.year == int(year):
            yield int(moment.timestamp())
