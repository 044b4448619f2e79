"""Pictures that were luma and chroma before they were RGB: what is coded then is what they were.

Most RGB that people have was made from 8-bit luma and chroma, as those of a JPEG, a WebP, a video or a scanned PhotoCD. The
conversion gives only a part of all RGB values: of four that of JFIF gives one, of eight that of PhotoCD. Who knows which may save
two bits a pixel and more, and the chroma, often of half the resolution, is smoother than R and B can be.

::

    pixels  -find, pack->  luma and chroma, body of a section  -convert->  pixels

Luma and chroma are kept as a pixel of three bytes: in the place of G the luma Y, in those of R and B the luma plus the chroma of
red and of blue, each less its middle. That looks like a paler picture, of which a model of RGB knows as much as of RGB. Rounding
and clipping are those of the programs that everybody uses, to the bit. Pixels that come of nothing, as of something drawn over a
photo, are exceptions, listed in the section. FORMAT.md, section 4.2, specifies it.

Other things are coded in the place of pixels, too, and their sections converted here: see `bbans.images.gaps` and
`bbans.images.channels`.

Sources: JPEG File Interchange Format 1.02, with libjpeg's rounding; libwebp's conversion of BT.601 in video range; Kodak Photo CD's
PhotoYCC with 8-bit output.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from bbans._core.conversion import CHROMA, ConversionTables, find_sources
from bbans._core.conversion import convert as convert_sources
from bbans.errors import CorruptDataError
from bbans.formats.container import ConversionNumber
from bbans.formats.wire import ByteReader, newer, pack_varint
from bbans.images import channels, gaps
from bbans.images.rows import Samples

Bytes = npt.NDArray[np.uint8]

_MOST_EXCEPTIONS = 20  # one of so many pixels
_SAMPLE_ROWS, _SAMPLE_COLUMNS = 16, 512
_FEWEST_COLOURS = 24
"""Colours that are no grays, by which a conversion is recognised. By chance they are all of one with a probability of 1/4**24."""


@dataclass(frozen=True)
class Conversion:
    """A way to make RGB of luma and chroma: R = (luma[Y] + red[Cr]) >> shift, clipped to a byte, and so on.

    Attributes:
        luma: of Y in 0 .. 255.
        red, green_red, green_blue, blue: of chroma less its middle, -255 .. 255.
    """

    number: ConversionNumber
    shift: int
    luma: Callable[[int], int]
    red: Callable[[int], int]
    green_red: Callable[[int], int]
    green_blue: Callable[[int], int]
    blue: Callable[[int], int]

    def tables(self) -> ConversionTables:
        """For the core."""
        chroma = range(-(CHROMA // 2), CHROMA // 2 + 1)
        luma = [self.luma(y) for y in range(256)]
        by_chroma = {name: [getattr(self, name)(c) for c in chroma] for name in ("red", "green_red", "green_blue", "blue")}
        return ConversionTables(
            luma=np.array(luma, np.int32),
            **{name: np.array(table, np.int32) for name, table in by_chroma.items()},
            inverse=np.array(_luma_of_rgb(luma, by_chroma, self.shift), np.int64),
            shift=self.shift,
        )


def _luma_of_rgb(luma: list[int], chroma: dict[str, list[int]], shift: int) -> list[int]:
    """Shares of R, G and B in the luma, and what to add, all times 2**16, by tables taken as straight lines."""

    def slope(table: list[int]) -> Fraction:
        return Fraction(table[-1] - table[0], len(table) - 1)

    lines = {name: slope(table) for name, table in chroma.items()}
    shares = [-lines["green_red"] / lines["red"], Fraction(1), -lines["green_blue"] / lines["blue"]]
    scale = (1 << shift) / (slope(luma) * sum(shares))
    middle = CHROMA // 2
    at_zero = [chroma["red"][middle], chroma["green_red"][middle] + chroma["green_blue"][middle], chroma["blue"][middle]]
    shares = [share * scale for share in shares]
    rest = sum(share * (Fraction(1, 2) - Fraction(luma[0] + zero, 1 << shift)) for share, zero in zip(shares, at_zero, strict=True))
    return [round(65536 * value) for value in (*shares, rest + Fraction(1, 2))]


def _up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


_HALF = 1 << 15
JFIF = Conversion(
    number=ConversionNumber.JFIF,
    shift=16,
    luma=lambda y: (y << 16) + _HALF,
    red=lambda c: 91881 * c,
    green_red=lambda c: -46802 * c,
    green_blue=lambda c: -22554 * c,
    blue=lambda c: 116130 * c,
)
WEBP = Conversion(
    number=ConversionNumber.WEBP,
    shift=6,
    luma=lambda y: 19077 * y >> 8,
    red=lambda c: (26149 * (c + 128) >> 8) - 14234,
    green_red=lambda c: 8708 - (13320 * (c + 128) >> 8),
    green_blue=lambda c: -(6419 * (c + 128) >> 8),
    blue=lambda c: (33050 * (c + 128) >> 8) - 17685,
)
# R and B that are whole numbers stay, G that is one falls to the number below: so rounded who made the Kodak set.
PHOTO_CD = Conversion(
    number=ConversionNumber.PHOTO_CD,
    shift=20,
    luma=lambda y: _up(13584 * y << 20, 10000),
    red=lambda c: _up(18215 * c << 20, 10000),
    green_red=lambda c: (-509 * (18215 * c // 10000) << 20) // 1000 - 4,
    green_blue=lambda c: (-194 * (22179 * c // 10000) << 20) // 1000,
    blue=lambda c: _up(22179 * c << 20, 10000),
)
CONVERSIONS: dict[int, Conversion] = {conversion.number: conversion for conversion in (JFIF, WEBP, PHOTO_CD)}


@functools.lru_cache(maxsize=len(CONVERSIONS))
def _tables(number: int) -> ConversionTables:
    return CONVERSIONS[number].tables()


@dataclass(frozen=True)
class Sources:
    """What pixels (H, W, 3) were converted from.

    Attributes:
        samples: luma and chroma (H, W, 3).
        exceptions: the pixels that come of nothing, (N, 4) of number in reading order, R, G and B.
    """

    conversion: Conversion
    samples: Bytes
    exceptions: npt.NDArray[np.int64]

    def pack(self) -> bytes:
        """The body of a section. Of each colour of exceptions: its three bytes, how many there are, and how many pixels lie before
        each since the last. Inverse: in `convert`."""
        by_colour: dict[bytes, list[int]] = {}
        for place, *colour in self.exceptions.tolist():
            by_colour.setdefault(bytes(colour), []).append(place)
        packed = [bytes([self.conversion.number])]
        for colour, places in by_colour.items():
            gaps = [place - before - 1 for before, place in zip([-1, *places], places, strict=False)]
            packed += [colour, pack_varint(len(places)), *map(pack_varint, gaps)]
        return b"".join(packed)


def find(pixels: Bytes) -> Sources | gaps.WithoutGaps | None:
    """What pixels (H, W, C) were converted from, or are without gaps between their values. Inverse: `convert`."""
    return _find_sources(pixels) or gaps.find(pixels)


def _find_sources(pixels: Bytes) -> Sources | None:
    """What pixels (H, W, C) were converted from, if they are RGB and that is known."""
    if pixels.shape[2] != 3:
        return None
    sample = _sample(pixels)
    if len(_colours(sample)) < _FEWEST_COLOURS:
        return None
    for number, conversion in CONVERSIONS.items():
        if find_sources(sample, _tables(number), _most(sample)) is None:
            continue
        found = find_sources(np.ascontiguousarray(pixels), _tables(number), _most(pixels))
        if found is not None:
            samples, places = found
            return Sources(conversion, samples, np.column_stack([places, pixels.reshape(-1, 3)[places]]))
    return None


def samples_of(pixels: Bytes) -> Bytes:
    """What a model codes of pixels (H, W, C): what they were converted from, or are without gaps."""
    found = find(pixels)
    return pixels if found is None else found.samples


def convert(samples: Bytes, body: bytes) -> Samples:
    """The pixels (H, W, C) of samples, by the body of their section. They are written over where they can be.

    Inverse: `find`, `Sources.pack`.

    Raises: UnsupportedVersionError: a conversion of a newer version. CorruptDataError: exceptions outside the picture, luma and
    chroma of what is no RGB, or maps or tables that are none.
    """
    reader = ByteReader(body, "conversion")
    number = reader.byte()
    if number == ConversionNumber.GAPS:
        return gaps.restore(samples, body[1:])
    if number == ConversionNumber.CHANNELS:
        return channels.restore(samples, body)
    if number not in CONVERSIONS:
        raise newer("conversion", number)
    if samples.shape[2] != 3:
        raise CorruptDataError("conversion: of a picture that is not RGB")
    pixels: Bytes = np.require(samples, requirements=["C", "W"])  # large pictures are not in memory twice
    convert_sources(pixels, _tables(number))
    flat = pixels.reshape(-1, 3)  # a view
    while reader.position < len(body):
        colour, place = list(reader.take(3)), -1
        for _ in range(reader.varint()):
            place += reader.varint() + 1
            if place >= len(flat):
                raise CorruptDataError("conversion: an exception outside the picture")
            flat[place] = colour
    return pixels


def _sample(pixels: Bytes) -> Bytes:
    """Some rows of a picture, of large ones the middle of each."""
    rows = np.linspace(0, len(pixels) - 1, min(_SAMPLE_ROWS, len(pixels))).astype(int)
    left = max(0, (pixels.shape[1] - _SAMPLE_COLUMNS) // 2)
    sample: Bytes = np.ascontiguousarray(pixels[rows, left : left + _SAMPLE_COLUMNS])
    return sample


def _colours(pixels: Bytes) -> Bytes:
    """The colours (N, 3) in a picture that are no grays."""
    colours: Bytes = np.unique(pixels.reshape(-1, 3), axis=0)
    coloured: Bytes = colours[(colours != colours[:, :1]).any(axis=1)]
    return coloured


def _most(pixels: Bytes) -> int:
    height, width, _ = pixels.shape
    return int(height * width) // _MOST_EXCEPTIONS
