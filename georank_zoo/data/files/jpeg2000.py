"""What a JPEG 2000 file makes its decoder allocate, from its headers (ISO/IEC 15444-1, annex A).

A decoder takes some hundred bytes for each code block and precinct of a tile, and for each
component of each tile, before it has seen a pixel: a header of 25 kB can ask for 10 GB.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from georank_zoo.utils.errors import BadItem

_SOC, _SOT, _SOD, _SIZ, _COD, _COC, _EOC = 0xFF4F, 0xFF90, 0xFF93, 0xFF51, 0xFF52, 0xFF53, 0xFFD9

# OpenJPEG took 400 bytes a code block. A Sentinel-2 tile has 121 tiles of 1 component and 256
# code blocks; 10980 x 10980 pixels in one tile are 30,000 code blocks of 64 x 64.
_MAX_BLOCKS = 2**20
_MAX_TILE_COMPONENTS = 2**17
_MAX_SEGMENTS = 100_000


def require_sane_header(path: Path) -> None:
    """Refuses a file whose headers ask for more memory than any real one.

    Raises:
        BadItem: If they do, or are damaged.
    """
    try:
        with path.open("rb") as file:
            _check(file, path.stat().st_size)
    except (OSError, struct.error) as error:
        raise BadItem("unreadable or truncated: damaged JPEG 2000 header") from error


def _check(file: BinaryIO, size: int) -> None:
    _seek_codestream(file, size)
    tile, components = (0, 0), 0
    for number, (marker, body) in enumerate(_segments(file)):
        if number > _MAX_SEGMENTS:
            raise BadItem("too large: JPEG 2000 headers without end")
        if marker == _SIZ:
            width, height, left, top, tile_w, tile_h, tile_x, tile_y, components = struct.unpack(
                ">8IH", body[2:36]
            )
            if not tile_w or not tile_h:
                raise BadItem("unreadable or truncated: damaged JPEG 2000 header")
            tiles = -(-(width - tile_x) // tile_w) * -(-(height - tile_y) // tile_h)
            if tiles * components > _MAX_TILE_COMPONENTS:
                raise BadItem(f"too large: {tiles} tiles of {components} components")
            tile = min(tile_w, width - left), min(tile_h, height - top)
        elif marker in (_COD, _COC):
            if marker == _COD:
                precincts, style = body[0] & 1, body[5:]
            else:
                skipped = 1 if components < 257 else 2
                precincts, style = body[skipped] & 1, body[skipped + 1 :]
            blocks = _blocks(tile, style, has_precincts=bool(precincts))
            if blocks * components > _MAX_BLOCKS:
                raise BadItem(f"too large: {blocks * components:.0f} code blocks in a tile")


def _seek_codestream(file: BinaryIO, size: int) -> None:
    """Goes to the codestream: the file itself, or what the first `jp2c` box of it holds."""
    if file.read(2) == b"\xff\x4f":
        file.seek(0)
        return
    at = 0
    while at < size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        if kind == b"jp2c":
            return
        if length < 8:
            break
        at += length
    raise BadItem("unreadable or truncated: JPEG 2000 file without an image")


def _segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Marker segments of the main header and of the headers of all tile parts."""
    tile_part = 0, 0  # where it begins, and its length
    while len(head := file.read(2)) == 2:
        (marker,) = struct.unpack(">H", head)
        if marker == _SOC:
            continue
        if marker == _EOC:
            return
        if marker == _SOD:
            begin, length = tile_part
            if length < 14:  # zero: to the end
                return
            file.seek(begin + length)
            continue
        begin = file.tell() - 2
        (length,) = struct.unpack(">H", file.read(2))
        body = file.read(length - 2) if length >= 2 else b""
        if marker == _SOT:
            tile_part = begin, struct.unpack(">I", body[2:6])[0]
        yield marker, body


def _blocks(tile: tuple[int, int], style: bytes, *, has_precincts: bool) -> float:
    """Code blocks, which no precinct is smaller than, of one component of a tile."""
    levels, wide, high = style[0], (style[1] & 15) + 2, (style[2] & 15) + 2
    if len(style) < 5 + (levels + 1 if has_precincts else 0) or levels > 32:
        raise BadItem("unreadable or truncated: damaged JPEG 2000 header")
    total = 0.0
    for level in range(levels + 1):
        across, down = wide, high
        if has_precincts:
            size = style[5 + level]
            # Those of the higher levels are of three subbands of half the size.
            half = 1 if level else 0
            across = min(across, max(0, (size & 15) - half))
            down = min(down, max(0, (size >> 4) - half))
        area = tile[0] * tile[1] / 4.0 ** (levels - level)
        total += area / 2.0 ** (across + down)
    return total
