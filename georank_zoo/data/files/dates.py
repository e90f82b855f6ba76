"""When a product was acquired."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from georank_zoo.data.store.patch import NO_TIME

_DATE = re.compile(r"(?<!\d)(20[1-9]\d)(\d\d)(\d\d)(?!\d)")
# Sentinel-2A was launched on this day (ESA).
_FIRST_TIME = int(datetime(2015, 6, 23, tzinfo=UTC).timestamp())


def acquisition_time(path: Path, tags: dict[str, str]) -> int:
    """Acquisition time as Unix seconds, UTC; `NO_TIME` where none is known.

    A tag whose name begins with ACQUISITION counts first, then the first 8-digit date of the
    file's name, then TIFFTAG_DATETIME, which by the TIFF standard is the file's own age. Digits
    of a name are a date only between the launch of Sentinel-2A and tomorrow (clocks differ):
    others number things.
    """
    tagged = [value for name, value in tags.items() if name.upper().startswith("ACQUISITION")]
    tomorrow = int((datetime.now(UTC) + timedelta(days=1)).timestamp())
    times = [parse_time(text) for text in tagged]
    times += [time for time in _times(path.stem) if _FIRST_TIME <= time <= tomorrow]
    times.append(parse_time(tags.get("TIFFTAG_DATETIME", "")))
    return next((time for time in times if time != NO_TIME), NO_TIME)


def parse_time(text: str) -> int:
    """Unix seconds of the first date in a text (ISO, TIFF or 8 digits); `NO_TIME` if none."""
    return next(_times(text), NO_TIME)


def _times(text: str) -> Iterator[int]:
    for form in ("%Y:%m:%d %H:%M:%S", "%Y-%m-%d %H:%M:%S"):
        try:
            yield int(datetime.strptime(text.strip(), form).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    try:
        moment = datetime.fromisoformat(text.strip())
        yield int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except ValueError:
        pass
    # Sensing times in names read 20180615T102031; the day is what matters.
    for year, month, day in _DATE.findall(text):
        try:
            yield int(datetime(int(year), int(month), int(day), tzinfo=UTC).timestamp())
        except ValueError:
            continue
