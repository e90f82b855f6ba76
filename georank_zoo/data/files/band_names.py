"""Which band a channel or a file is: the same rules for patches and for scenes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from georank_zoo import bands as s2
from georank_zoo.utils.errors import BadItem, UsageError, plain

_IGNORE = (
    "To take the channels by their order instead, name all with --bands and pass "
    "--ignore-descriptions"
)

# Stands for a description that is no text.
_NO_TEXT = "\N{REPLACEMENT CHARACTER}"

_NUMBERED = re.compile(r"(?<![a-z0-9])b(?:\d{1,2}|0?8a)(?![a-z0-9])")
# Words of a description that do not tell bands apart.
_NOISE = re.compile(
    r"\d+(?:\.\d+)?\s*(?:nm|um|µm|m)(?![a-z])"  # a wavelength or a resolution
    r"|(?<![a-z])(?:band|layer|channel)s?\s*\d+(?!\d)"
    r"|(?<![a-z0-9])(?:band|central|wavelength|reflectance|boa|toa|surface|raw|msi|sentinel[- ]?2"
    r"|s2[abcd]?|l[12][ac]|msil[12][ac]|t\d\d[a-z]{3}|\d{8}t\d{6}|median|mean|medoid)(?![a-z0-9])"
)
_POSITION = re.compile(r"b0*(\d+)")

# The end of the name of a single band's file: *_B02_10m.jp2, B2.tif, HLS....v2.0.B02.tif,
# *_B02_(Raw).tiff (Copernicus Browser)
_BAND_OF_FILE = re.compile(
    r"(?:^|[_.\-\s])(B(?:\d{1,2}|0?8A))(?:[_-]\d+m)?(?:[_\s]\(raw\))?$", re.I
)
# red.tif, *_nir08.tif (Earth Search)
_COMMON_OF_FILE = re.compile(r"(?:^|[_.])([a-z]+[a-z\d]*)(?:[_-]\d+m)?$", re.I)
# Masks in a .SAFE folder, named by band too.
_MASK = re.compile(r"(?:^|_)(?:MSK|QA|QL|DETFOO|CLD)_", re.I)


@dataclass(frozen=True)
class Described:
    """What the descriptions of a file's channels say.

    Attributes:
        names: Name of each channel: canonical where it is one of Sentinel-2's bands, else the
            description, or the channel's number where there is none.
        numbered: Whether a band is named as `B5` is, which Landsat's are too.
    """

    names: tuple[str, ...]
    numbered: bool


def descriptions(dataset: Any) -> tuple[str | None, ...]:
    """Descriptions of a raster's channels; `described` refuses those that are not text."""
    try:
        found: tuple[str | None, ...] = dataset.descriptions
    except UnicodeDecodeError:
        return (_NO_TEXT,) * int(dataset.count)
    return found


def described(texts: Sequence[str | None]) -> Described | None:
    """The bands that a file's descriptions name; None if they name none of Sentinel-2's.

    "Band 1", "1" and `B1`, `B2`, ... counted in file order (without a B8A, which Sentinel-2 has
    in between) say no more than no description.

    Raises:
        BadItem: If a band is named twice, or a description contradicts itself or is no text.
    """
    if _NO_TEXT in texts:
        raise BadItem(f"unreadable band names: not UTF-8. {_IGNORE}")
    if are_positions(texts):
        return None
    lowered = [(text or "").strip().lower() for text in texts]
    # FORCE names B8A the near infrared, and B08 the broad one.
    broad = any(_squeezed(text) in ("broadnir", "nirbroad") for text in lowered)
    names, numbered = [], False
    for i, text in enumerate(lowered, 1):
        band = "B8A" if broad and text == "nir" else _band_of(text, i)
        numbered |= band is not None and bool(_NUMBERED.search(text))
        names.append(band or plain(str(texts[i - 1] or "").strip() or f"channel {i}"))
    if not set(names) & set(s2.BY_NAME):
        return None
    _require_unlike(names, texts)
    return Described(tuple(names), numbered)


def are_positions(texts: Sequence[str | None]) -> bool:
    """Whether names are B1, B2, ... in order, without a B8A: numbers of channels as likely."""
    found = [_POSITION.fullmatch((text or "").strip().lower()) for text in texts]
    return all(match and int(match[1]) == i for i, match in enumerate(found, 1))


def _squeezed(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text)


def _band_of(text: str, channel: int) -> str | None:
    """The band of a description in lower case; None unless it names one and nothing else."""
    if re.search(r"[*/^+=]", text):
        return None  # a calculation: B04^2
    rest = _NOISE.sub(" ", text.replace("_", " "))
    numbers = set(_NUMBERED.findall(rest))
    if len(numbers) > 1:
        return None  # an index: (B08 - B04) / (B08 + B04)
    if not numbers:
        return s2.by_common_name(text) or s2.by_common_name(rest)
    try:
        band = s2.canonical(numbers.pop().replace("08a", "8a"))
    except UsageError:
        return None
    rest = _NUMBERED.sub(" ", rest)
    common = _squeezed(rest)
    # "0_B2" and "B4 665" hold numbers besides.
    bare = common if s2.by_common_name(common) else re.sub(r"\d", "", common)
    if not bare or s2.goes_by(band, bare):
        return band
    if s2.by_common_name(bare) or any(s2.goes_by(name, bare) for name in s2.BY_NAME):
        raise BadItem(
            f"contradicting band names: channel {channel}, {plain(text)!r}, but Sentinel-2's "
            f"{band} is {s2.BY_NAME[band].common_name}. {_IGNORE}"
        )
    return None


def _require_unlike(names: Sequence[str], texts: Sequence[str | None]) -> None:
    channels: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(names, 1):
        if name in s2.BY_NAME:
            channels[name].append(i)
    for name, numbers in channels.items():
        if len(numbers) > 1:
            which = " and ".join(f"{i} ({plain(str(texts[i - 1]))!r})" for i in numbers[:2])
            raise BadItem(
                f"band named twice: {name} is channel {which}. If the file holds several dates, "
                f"split it into one file a date. {_IGNORE}"
            )


def require_described(names: Sequence[str], wanted: Sequence[str]) -> None:
    """Refuses bands that the descriptions do not name.

    Raises:
        BadItem: Naming both.
    """
    if missing := s2.missing(names, wanted):
        raise BadItem(
            f"missing band: no {', '.join(missing)}; the file describes its bands as "
            f"{', '.join(names)}. {_IGNORE}"
        )


def require_order(given: Sequence[str] | None, *, ignore_descriptions: bool) -> None:
    """Refuses to ignore descriptions with nothing in their place."""
    if ignore_descriptions and given is None:
        raise UsageError("--ignore-descriptions needs --bands: all of the bands in file order.")


def of_files(
    texts: Sequence[str | None],
    given: tuple[str, ...] | None,
    *,
    ignore_descriptions: bool = False,
) -> tuple[tuple[str, ...], bool]:
    """Bands to take of a folder's files, and whether `given` is the files' own order.

    Args:
        texts: What most files call their channels.
        given: Bands that the user names.
        ignore_descriptions: Go by `given` alone.

    Returns:
        The bands, in canonical order where the user did not choose them.

    Raises:
        UsageError: If the bands are not known, or the user's are not among them.
    """
    try:
        found = None if ignore_descriptions else described(texts)
        if found is not None and given is not None:
            require_described(found.names, given)
            return given, False
    except BadItem as error:
        raise UsageError(f"The files cannot be read: {error}.") from error
    if found is None:
        if given is None:
            raise _unnamed(texts)
        if len(given) != len(texts):
            raise UsageError(
                f"The files have {len(texts)} bands, and --bands names {len(given)}. Name all of "
                "them in file order."
            )
        return tuple(name for name in s2.S2_13 if name in given), True
    unknown = [name for name in found.names if name not in s2.BY_NAME]
    if unknown:
        raise UsageError(
            f"The files hold band(s) {', '.join(unknown)}, which Sentinel-2 does not have. "
            "Choose those to take with --bands."
        )
    return tuple(name for name in s2.S2_13 if name in found.names), False


def _unnamed(texts: Sequence[str | None]) -> UsageError:
    shown = ", ".join(repr(plain(str(text))) for text in dict.fromkeys(texts))
    what = f"are described as {shown}, not by Sentinel-2's names"
    return UsageError(
        f"The files' {len(texts)} bands {what if any(texts) else 'have no descriptions'}. Name "
        "all of them in file order with --bands, e.g. --bands B02,B03,B04,B08."
    )


def band_of_file(stem: str) -> str | None:
    """The band that the name of a file without its ending says it holds; None for others.

    Masks of a band, and true-color images and classifications beside it, hold none.
    """
    if _MASK.search(stem):
        return None
    if number := number_of_file(stem):
        try:
            return s2.canonical(number.upper().replace("08A", "8A"))
        except UsageError:
            return None
    match = _COMMON_OF_FILE.search(stem)
    return s2.by_common_name(stem) or (s2.by_common_name(match[1]) if match else None)


def number_of_file(stem: str) -> str | None:
    """`B5` in the name of a file that says its band by number, as Landsat's do too."""
    match = _BAND_OF_FILE.search(stem)
    return match[1] if match else None


def natural_order(text: str) -> list[tuple[int, str]]:
    """Key that sorts B2 before B10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)
    ]
