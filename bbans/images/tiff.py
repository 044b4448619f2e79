"""Where a TIFF has its samples: strips or tiles. Strips without compression, one after another, are rows (`locate`).

::

    II 2A 00 | offset of the first directory | { count | entries of 12 bytes | offset of the next } | strips        or MM 00 2A

A BigTIFF, II 2B 00 or MM 00 2B, has counts and offsets of 8 bytes, and entries of 20.

Samples are what the file has: 0 may be white, and those of a palette are indices. Other pages, tags and thumbnails are around them.

Source: Adobe, TIFF Revision 6.0, sections 2, 3, 8; BigTIFF design, libtiff.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from bbans.errors import UnsupportedImageError
from bbans.images.raster import LITTLE_ENDIAN, Raster

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BIG = b"+\0", b"\0+"

_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
COMPRESSION, OFFSETS, SIZES, ROWS, PREDICTOR = 259, 273, 279, 278, 317
"""Tags of strips."""
TILE_WIDTH, TILE_ROWS, TILE_OFFSETS, TILE_SIZES = 322, 323, 324, 325
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _FILL_ORDER, _CHANNELS, _PLANAR, _SAMPLE_FORMAT = 256, 257, 258, 262, 266, 277, 284, 339
_DEFAULTS = {tag: (1,) for tag in (_BITS, COMPRESSION, _FILL_ORDER, _CHANNELS, _PLANAR, _SAMPLE_FORMAT, PREDICTOR)}
_PHOTOMETRICS = (0, 1, 2, 3, 5, 8)
"""Gray from white or from black, RGB, palette, CMYK, Lab. Of YCbCr there may be fewer samples of colour."""


@dataclass(frozen=True)
class Page:
    """The first page of a TIFF."""

    tags: dict[int, tuple[int, ...]]
    little_endian: bool
    places: dict[int, tuple[int, str]]
    """Of each tag, where its values are, and how `struct` spells them."""

    @property
    def tiled(self) -> bool:
        """Whether there are tiles in the place of strips."""
        return TILE_WIDTH in self.tags

    def one(self, tag: int) -> int:
        """The value of a tag, the same for all samples. Raises: UnsupportedImageError: there is none, or there are others."""
        values = self.tags.get(tag) or _DEFAULTS.get(tag)
        if not values or any(value != values[0] for value in values):
            raise UnsupportedImageError(f"TIFF with this tag {tag} is not supported")
        return values[0]


def is_plain(data: bytes) -> bool:
    """Whether a TIFF has strips without compression. Raises: UnsupportedImageError: broken."""
    page = parse(data)
    return not page.tiled and page.one(COMPRESSION) == 1


def locate(data: bytes) -> Raster:
    """The raster of a TIFF's first page."""
    page = parse(data)
    if page.one(COMPRESSION) != 1:
        raise UnsupportedImageError(f"TIFF with the compression {page.one(COMPRESSION)} is not supported")
    raster, offsets, sizes = layout(page)
    if page.tiled or sum(sizes) != raster.height * raster.row_bytes:
        raise UnsupportedImageError("TIFF with strips that are not its picture is not supported")
    if any(start + size != following for start, size, following in zip(offsets, sizes, offsets[1:], strict=False)):
        raise UnsupportedImageError("TIFF with strips that do not follow one another is not supported")
    return raster


def layout(page: Page) -> tuple[Raster, tuple[int, ...], tuple[int, ...]]:
    """The raster that a page's samples make, if strips follow one another; and where its strips or tiles are, and their sizes.

    Raises: UnsupportedImageError: samples of another kind, or no strips.
    """
    height, width, channels, bit_depth = (page.one(tag) for tag in (_HEIGHT, _WIDTH, _CHANNELS, _BITS))
    if (
        bit_depth not in (1, 2, 4, 8, 16)
        or not 1 <= channels <= 4
        or page.one(_PHOTOMETRIC) not in _PHOTOMETRICS
        or (page.one(_FILL_ORDER), page.one(_PLANAR), page.one(_SAMPLE_FORMAT)) != (1, 1, 1)
    ):
        raise UnsupportedImageError("TIFF of this kind is not supported")
    places = (TILE_OFFSETS, TILE_SIZES) if page.tiled else (OFFSETS, SIZES)
    offsets, sizes = (page.tags.get(tag, ()) for tag in places)
    if not offsets or len(offsets) != len(sizes):
        raise UnsupportedImageError("TIFF without strips is not supported")
    order = LITTLE_ENDIAN * (page.little_endian and bit_depth == 16)
    return Raster(height, width, channels, bit_depth, offsets[0], order), offsets, sizes


def parse(data: bytes) -> Page:
    """The first page of a TIFF. Raises: UnsupportedImageError: broken, or its tags are of unknown types."""
    if data[:4] not in SIGNATURES:
        raise UnsupportedImageError("not a TIFF: its signature is missing")
    end = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in _BIG
    offset, counter, word = ("Q", "Q", 8) if big else ("I", "H", 4)
    try:
        if big and struct.unpack_from(end + "HH", data, 4) != (8, 0):
            raise UnsupportedImageError("the TIFF is broken: a BigTIFF with offsets that are not of 8 bytes")
        (start,) = struct.unpack_from(end + offset, data, word)
        (count,) = struct.unpack_from(end + counter, data, start)
        start += struct.calcsize(counter)
        tags: dict[int, tuple[int, ...]] = {}
        places: dict[int, tuple[int, str]] = {}
        for at in range(start, start + (4 + 2 * word) * count, 4 + 2 * word):
            tag, kind, number = struct.unpack_from(f"{end}HH{offset}", data, at)
            code = _TYPES.get(kind)
            if code is None or tag in tags:
                continue
            spelling = f"{end}{number}{code}" if number <= len(data) else "error"
            place = at + 4 + word
            if struct.calcsize(spelling) > word:
                (place,) = struct.unpack_from(end + offset, data, place)
            tags[tag], places[tag] = struct.unpack_from(spelling, data, place), (place, spelling)
    except (struct.error, OverflowError) as error:
        raise UnsupportedImageError(f"the TIFF is broken: its directory cannot be read ({error})") from error
    return Page(tags, end == "<", places)
