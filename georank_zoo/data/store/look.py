"""A look at the values that come out: what no reader can know, but no one would expect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from georank_zoo import bands as s2
from georank_zoo.data.files.radiometry import OFFSET_DN, Radiometry
from georank_zoo.data.store.describe import counted
from georank_zoo.data.store.mapped_store import MappedStore

# Patches that are looked at, evenly spaced, and pixels of each: a few of every place tell it.
_PATCHES, _PIXELS = 1000, 256

# Land and water have a median of 0.05 to 0.4 in their brightest band; open sea has 0.03.
_DARK = 0.02
# Over half in all bands: a store of snow and cloud alone, or no reflectance.
_BRIGHT = 0.5
# Snow, cloud and glint exceed 1 here and there.
_WHITE, _MAX_WHITE = 1.0, 0.05
# Deep shadow and clear water come out of atmospheric correction at zero here and there.
_MAX_ZERO = 0.2
# The atmosphere absorbs 1375 nm: real scenes have about 0.001, and 0.01 under cirrus.
_BRIGHT_CIRRUS = 0.05
# The darkest values of a surface lie below 0.1 in some band, unless 1000 was added to all.
_DARKEST, _OFFSET = 0.001, OFFSET_DN / s2.DN_PER_REFLECTANCE


def at_store(store: MappedStore) -> tuple[str, ...]:
    """Remarks on the values of a store and on what was applied to them, as sentences."""
    valid = _sample(store)
    # The sample is of all patches, and so are the options: they tell nothing of some.
    doubts = (
        in_doubt(
            one.radiometry,
            counted(one.patches, "patch", "patches"),
            valid if one.patches == len(store) else None,
        )
        for one in store.header.radiometry
        if one.radiometry.doubt
    )
    return (*at_values(valid, store.bands), *doubts)


def in_doubt(radiometry: Radiometry, images: str, valid: npt.NDArray[np.uint16] | None) -> str:
    """A sentence about a radiometry that is in doubt.

    Args:
        radiometry: What was applied.
        images: To what, such as `12 patches`.
        valid: Digital numbers (bands, n) that came out; None where others are among them.
    """
    offset = -min(radiometry.shift)
    done = f"{offset:g} DN were subtracted" if offset else "the values were kept as they are"
    text = f"{images}: {done}, but {radiometry.doubt}."
    if offset:
        return text
    if valid is None:
        return f"{text} Prepare them apart, with --offset 1000 if it is, and --offset 0 if not."
    if valid.size and np.quantile(valid, _DARKEST, axis=1).min() >= OFFSET_DN:
        return f"{text} The darkest values are all above 1000, as if it was: pass --offset 1000."
    return f"{text} Pass --offset 1000 if it is, and --offset 0 if it is not."


def at_values(valid: npt.NDArray[np.uint16], bands: Sequence[str]) -> tuple[str, ...]:
    """Remarks on digital numbers (bands, n), those of no data left out, as sentences."""
    return tuple(_remarks(valid / s2.DN_PER_REFLECTANCE, bands)) if valid.size else ()


def _remarks(values: npt.NDArray[np.float64], bands: Sequence[str]) -> Iterator[str]:
    medians = np.median(values, axis=1)
    if medians.max() < _DARK:
        yield (
            f"The brightest band, {bands[int(medians.argmax())]}, has a median reflectance of "
            f"{medians.max():.4f}: are the values of 8 bit, or in another scale?"
        )
    if (median := float(np.median(values))) > _BRIGHT:
        yield (
            f"Half of the values are above {median:.2f}: is it snow and cloud, or are they "
            "stretched, to 65535 for example?"
        )
    if (white := float((values > _WHITE).mean())) > _MAX_WHITE:
        yield f"{white:.0%} of the values are above 1: are they reflectance in this scale?"
    zero = (values == 0).mean(axis=1)
    if empty := [f"{band} {share:.0%}" for band, share in zip(bands, zero, strict=True)
                 if share > _MAX_ZERO]:  # fmt: skip
        yield (
            f"Many values are zero ({', '.join(empty)}): were they clipped, by an offset for "
            "example?"
        )
    if (
        "B10" in bands
        and (cirrus := float(values[list(bands).index("B10")].mean())) > _BRIGHT_CIRRUS
    ):
        yield (
            f"B10 (cirrus) has a mean reflectance of {cirrus:.3f}, which water vapor in the air "
            "does not let through: the bands are probably named in the wrong order."
        )
    # Cirrus is dark everywhere, whatever was added.
    surface = [i for i, band in enumerate(bands) if band != "B10"]
    if surface and np.quantile(values[surface], _DARKEST, axis=1).min() >= _OFFSET:
        yield (
            f"No band has values below {_OFFSET:g}: is the offset of 1000 of processing baseline "
            "04.00 and later still in (--offset 1000), or are they stretched?"
        )


def _sample(store: MappedStore) -> npt.NDArray[np.uint16]:
    """Valid digital numbers (bands, n) of patches from all over a store."""
    if len(store) == 0:  # a share of bad files
        return np.zeros((len(store.bands), 0), np.uint16)
    rows = np.unique(np.linspace(0, len(store) - 1, min(_PATCHES, len(store))).astype(int))
    step = max(1, int(store.size / np.sqrt(_PIXELS)))
    picked = [
        store.read(np.array([row]))[0][:, ::step, ::step].reshape(len(store.bands), -1)
        for row in rows
    ]
    values = np.concatenate(picked, axis=1)
    return values[:, values.any(axis=0)]
