"""What the numbers of a file mean: scale and offset of each band, and who says so.

Those who may say it are the user's options, the file's scale and offset tags (GDAL's, also in
`.aux.xml`), the product's XML (`MTD_MSIL2A.xml`) and the processing baseline in a name. What they
say must agree: a shift of 1000 in all bands is not seen in a picture, but changes every feature.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from georank_zoo import bands as s2
from georank_zoo.data.files import product_xml
from georank_zoo.utils.errors import BadItem, UsageError, plain, unknown_name

Mode = Literal["auto", "options"]
MODES: tuple[Mode, ...] = ("auto", "options")

# Since baseline 04.00 digital numbers are 1000 higher; its first products are of this day
# (ESA, Sentinel-2 processing baseline).
OFFSET_DN = 1000
OFFSET_BASELINE = 400
OFFSET_SINCE = int(datetime(2022, 1, 25, tzinfo=UTC).timestamp())
# BigEarthNet's own baseline, of products from before.
_NO_OFFSET_BASELINE = 9999

# _N0509_ of a product's name; N0450_E0120 and E0120_N0450 are tiles of a grid of degrees.
_BASELINE = re.compile(
    r"(?:^|(?<![EW]\d\d)(?<![EW]\d{3})(?<![EW]\d{4})_)N(0\d{3}|9999)(?=[_.]|$)(?!_[EW]\d)", re.I
)
# The surface reflectance of HLS is its own and never had the offset (HLS 2.0 user guide).
_HARMONIZED = re.compile(r"(?<!UN)HARMONI[SZ]ED|(?:^|[^A-Z])HLS\.[LS]30\.", re.I)
# GDAL takes the colon of `system:id` for the end of the name.
_ID_TAGS = ("system", "system:id", "system_id", "id", "collection")

_WAY_OUT = "Correct them, or pass --radiometry options to count --unit and --offset alone"
# The doubts that a date or a name raises.
UNKNOWN_OFFSET = "products of that date have an offset of 1000, and nothing says if it is in"
EARLY_OFFSET = "before 2022-01-25 only reprocessed products have an offset"
_BUT = ", but "  # between who said it and why to doubt it


@dataclass(frozen=True)
class Radiometry:
    """How the numbers of a file become reflectance: number * scale + offset, band by band.

    Attributes:
        scale: Reflectance per count (bands,), in channel order.
        offset: Reflectance at a number of zero (bands,), in channel order.
        source: What said so, in words, such as `baseline 05.09 in the name`; after ", but " why
            that may be wrong.
    """

    scale: tuple[float, ...]
    offset: tuple[float, ...]
    source: str

    @property
    def doubt(self) -> str:
        """Why this may be wrong; empty if nothing speaks against it."""
        return self.source.partition(_BUT)[2]

    @property
    def gain(self) -> tuple[float, ...]:
        """Digital numbers of a store per count (bands,): 1 for DN, 10000 for reflectance."""
        return tuple(_rounded(value * s2.DN_PER_REFLECTANCE) for value in self.scale)

    @property
    def shift(self) -> tuple[float, ...]:
        """Digital numbers of a store at a number of zero (bands,): -1000 for baseline 04.00."""
        return tuple(_rounded(value * s2.DN_PER_REFLECTANCE) for value in self.offset)

    def of(self, channels: Sequence[int]) -> Radiometry:
        """That of some channels, counted from 0."""
        return Radiometry(
            tuple(self.scale[i] for i in channels),
            tuple(self.offset[i] for i in channels),
            self.source,
        )


def uniform(bands: int, *, offset: float = 0.0, source: str) -> Radiometry:
    """Digital numbers, reflectance = DN / 10000 + offset, in every band."""
    return Radiometry((1 / s2.DN_PER_REFLECTANCE,) * bands, (offset,) * bands, source)


@dataclass(frozen=True)
class Given:
    """The user's options.

    Attributes:
        unit: Unit of the numbers; None for DN unless the file says otherwise.
        offset: DN to subtract; None for none unless the file or its product says otherwise.
        mode: `auto`, where all that says something must agree, or `options`, where unit and offset
            alone count.

    Raises:
        UsageError: If one is invalid.
    """

    unit: s2.Unit | None = None
    offset: int | None = None
    mode: Mode = "auto"

    def __post_init__(self) -> None:
        if self.unit is not None and self.unit not in s2.UNITS:
            raise unknown_name("unit", self.unit, s2.UNITS)
        if self.mode not in MODES:
            raise unknown_name("radiometry", self.mode, MODES)
        if self.offset is not None and self.offset < 0:
            raise UsageError("Offset must be 0 or more.")

    @property
    def spec(self) -> dict[str, Any]:
        """The options as JSON values, for the spec of a store."""
        return {"unit": self.unit, "offset": self.offset, "radiometry": self.mode}


@dataclass(frozen=True)
class Source:
    """What the raster of a band says.

    Attributes:
        path: The file.
        scale: Scale tag, 1 where there is none.
        offset: Offset tag, 0 where there is none.
        harmonized: Whether its tags name a collection of Google Earth Engine whose offset is
            removed already.
    """

    path: Path
    scale: float = 1.0
    offset: float = 0.0
    harmonized: bool = False


def sources_of(dataset: Any, channels: Sequence[int]) -> list[Source]:
    """What an open raster says of channels, counted from 1."""
    path, scales, offsets = Path(dataset.name), dataset.scales, dataset.offsets
    tags = {name.lower(): value for name, value in dataset.tags().items()}
    harmonized = any(_HARMONIZED.search(tags.get(name, "")) for name in _ID_TAGS)
    return [Source(path, scales[c - 1], offsets[c - 1], harmonized) for c in channels]


@dataclass(frozen=True)
class Claim:
    """What one source says of a band, in DN of a store: DN = number * gain + shift.

    Attributes:
        who: The source, in words.
        gain: DN per number; None where it does not say.
        shift: DN at a number of zero; None where it does not say.
    """

    who: str
    gain: float | None = None
    shift: float | None = None


def find_radiometry(
    sources: Sequence[Source],
    bands: Sequence[str],
    *,
    root: Path,
    given: Given | None = None,
    time: int | None = None,
    claims: Sequence[Claim] = (),
    default: str | None = None,
) -> Radiometry:
    """What the numbers of an image mean.

    Args:
        sources: What the raster of each band says, in channel order.
        bands: Names of the bands.
        root: The source folder, or the scene; product files and names are looked for up to it, and
            beyond it up to an enclosing `.SAFE` folder.
        given: The user's options.
        time: Acquisition time as Unix seconds, where it is known.
        claims: What else is known of all bands, such as from a data set's own metadata.
        default: What a data set is known to hold where nothing else says it, such as `DN, L1C`;
            then no date raises a doubt.

    Raises:
        BadItem: If two of them contradict each other, or one cannot be.
    """
    given = given or Given()
    said: dict[str, None] = {}
    scales, offsets, doubts = [], [], []
    folders = {path: _Folder.of(path, root) for path in {s.path.parent for s in sources}}
    for source, band in zip(sources, bands, strict=True):
        folder = folders[source.path.parent]
        heard = [*claims, *_claims(source, band, folder, given)]
        gain = _agreed([(c.who, c.gain) for c in heard], "scale", band)
        gain = 1.0 if gain is None else gain
        name = _by_name(source, folder) if given.mode == "auto" else None
        # A name speaks of the product's numbers, so not of values that were scaled since.
        if name is not None and gain == 1:
            heard.append(name)
        shift = _agreed([(c.who, c.shift) for c in heard], "offset", band)
        who = [c.who for c in heard if c.shift is not None]
        doubts.append(_doubt(shift, who, name, time) if given.mode == "auto" else "")
        said.update(dict.fromkeys(c.who for c in heard))
        scales.append(gain / s2.DN_PER_REFLECTANCE)
        offsets.append((shift or 0.0) / s2.DN_PER_REFLECTANCE)
    text = " and ".join(said) or default or "digital numbers, as nothing says otherwise"
    if default is None and any(doubts):
        text += _BUT + next(filter(None, doubts))
    return Radiometry(tuple(scales), tuple(offsets), text)


def _doubt(shift: float | None, who: Sequence[str], name: Claim | None, time: int | None) -> str:
    """Why an offset, or none, may be wrong by the acquisition date or a name."""
    time = time if time is not None and time > 0 else None
    if shift is None:
        named = name is not None and bool(name.shift)
        return UNKNOWN_OFFSET if named or (time is not None and time >= OFFSET_SINCE) else ""
    alone = shift < 0 and all(text.startswith("--offset") for text in who)
    return EARLY_OFFSET if alone and time is not None and time < OFFSET_SINCE else ""


@dataclass(frozen=True)
class _Folder:
    """What the folder of a file and its parents say: their names, and the product's XML."""

    names: tuple[str, ...]
    product: product_xml.Product | None

    @classmethod
    def of(cls, folder: Path, root: Path) -> _Folder:
        """Up to the source folder, or to an enclosing `.SAFE` folder."""
        folder, top = folder.absolute(), root.absolute()
        if not folder.is_relative_to(top):  # the root is the file
            top = folder
        safe = [p for p in (top, *top.parents) if p.name.upper().endswith(".SAFE")]
        top = safe[-1] if safe else top
        within = [p for p in (folder, *folder.parents) if p.is_relative_to(top)]
        return cls(tuple(p.name for p in within), product_xml.product_of(within))


def _claims(source: Source, band: str, folder: _Folder, given: Given) -> Iterator[Claim]:
    unit, offset = given.unit, given.offset
    if unit is not None:
        yield Claim(f"--unit {unit}", gain=1.0 if unit == "dn" else s2.DN_PER_REFLECTANCE)
    if offset is not None:
        yield Claim(f"--offset {offset}", shift=float(-offset))
    if given.mode == "options":
        return
    if (source.scale, source.offset) != (1, 0):
        yield _by_tags(source)
    if folder.product is not None:
        yield _by_product(folder.product, band)


def _by_tags(source: Source) -> Claim:
    scale, offset = source.scale, source.offset
    if not (np.isfinite(scale) and np.isfinite(offset) and scale > 0):
        raise BadItem(f"wrong scale tag: scale {scale:g}, offset {offset:g}")
    who = f"the file's scale {_rounded(scale):g} and offset {_rounded(offset):g}"
    if scale == 1 and abs(offset) >= 1:
        # No reflectance is shifted by more than 1: an offset in DN.
        return Claim(who, shift=_rounded(offset))
    per = s2.DN_PER_REFLECTANCE
    return Claim(who, gain=_rounded(scale * per), shift=_rounded(offset * per))


def _by_product(product: product_xml.Product, band: str) -> Claim:
    per = s2.DN_PER_REFLECTANCE
    gain = None if product.quantification is None else per / product.quantification
    shift = product.offsets.get(s2.S2_13.index(band)) if band in s2.BY_NAME else None
    who = product.name
    if shift is not None:
        return Claim(who, gain, shift * (gain or 1.0))
    if product.baseline is None:
        return Claim(who, gain)
    who = f"baseline {product.baseline / 100:05.2f} in {product.name}"
    return Claim(who, gain, _shift_of(product.baseline))


def _by_name(source: Source, folder: _Folder) -> Claim | None:
    names = (source.path.name, *folder.names)
    if source.harmonized or any(_HARMONIZED.search(name) for name in names):
        return Claim("HARMONIZED or HLS in a name or tag", shift=0.0)
    # The nearest name that says it: a file's own before a folder's.
    match = next(filter(None, map(_BASELINE.search, names)), None)
    return match and Claim(f"baseline N{match[1]} in a name", shift=_shift_of(int(match[1])))


def _shift_of(baseline: int) -> float:
    """DN at a reflectance of zero, with the sign of a shift."""
    return -float(OFFSET_DN) if OFFSET_BASELINE <= baseline < _NO_OFFSET_BASELINE else 0.0


def _agreed(said: Sequence[tuple[str, float | None]], what: str, band: str) -> float | None:
    """The value that all name who name one.

    Raises:
        BadItem: If two contradict each other.
    """
    found = [(who, value) for who, value in said if value is not None]
    for who, other in found[1:]:
        first, value = found[0]
        if not np.isclose(value, other, rtol=1e-4, atol=0.5 if what == "offset" else 0):
            one, two = (_in_words(number, what) for number in (value, other))
            raise _contradiction(
                f"{what} contradicted: for {band}, {plain(first)} means {one}, and {plain(who)} "
                f"{two}. {_WAY_OUT}"
            )
    return found[0][1] if found else None


def _contradiction(text: str) -> BadItem:
    error = BadItem(text)
    # Of a scene: what the user can correct.
    error.__cause__ = UsageError(text)
    return error


def _in_words(value: float, what: str) -> str:
    if what == "offset":
        return f"that {0 - value:g} DN are to be subtracted"
    return f"a scale of {value / s2.DN_PER_REFLECTANCE:g}"


def _rounded(value: float) -> float:
    """To what was meant: tags are often of float32, and 1e-4 * 10000 is 1."""
    return float(f"{value:.7g}")
