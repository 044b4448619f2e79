"""PNG: its chunks, checked, and 8-bit gray and RGB pictures as pixels and metadata.

::

    signature | IHDR | before: any chunks, PLTE too | IDAT+ | after: any chunks | IEND | trailing bytes
                       ~~~~~~~~~~~~~~~~~~~~~~~~~~~~           ~~~~~~~~~~~~~~~~~
                       metadata: its bytes and order are kept (`bbans.images.chunks`), its meaning does not matter

Pillow decodes the pixels, but does not tell whether the file is whole: it accepts a stream that ends a few rows early, and
ignores the checksum of the pixels. So the chunks, their CRCs and the zlib stream are checked here.

Interlacing, row filters, the compression level and the division of the stream into IDATs are not kept: they are the way the
file was written, and no part of the picture.

Source: Portable Network Graphics (PNG) Specification (Third Edition), W3C: 5 (datastream structure), 8 (interlacing).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.images import chunks
from bbans.images.pillow import check_size, to_bits, to_image, to_pixels

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_IEND = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
_COLOUR_TYPES = {  # colour type: (name, channels, bit depths)
    0: ("gray", 1, (1, 2, 4, 8, 16)),
    2: ("RGB", 3, (8, 16)),
    3: ("palette", 1, (1, 2, 4, 8)),
    4: ("gray and alpha", 2, (8, 16)),
    6: ("RGB and alpha", 4, (8, 16)),
}
_PIECE_BYTES = 1 << 16
_LENGTHS = {b"cHRM": 32, b"gAMA": 4, b"sRGB": 1, b"pHYs": 9, b"tIME": 7}
"""The size in bytes of chunks that have the same in every PNG."""

_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The seven passes of an interlaced picture: first column, first row, and the steps from there."""


@dataclass(frozen=True)
class PngFile:
    """The parts of a PNG file whose structure and CRCs are right; the pixels are not decoded yet."""

    width: int
    height: int
    bit_depth: int
    colour_type: int
    interlaced: bool
    before: list[chunks.Chunk]
    after: list[chunks.Chunk]
    stream: list[memoryview]
    """The data of each IDAT: together one zlib stream."""
    trailing_bytes: int
    data: bytes
    """The whole file."""

    @property
    def picture(self) -> bytes:
        """The same PNG without its metadata: IHDR, PLTE, IDAT and IEND are what a decoder needs for the samples."""
        if len(self._palette) == len(self.before) and not self.after and not self.trailing_bytes:
            return self.data
        return self.still(self.width, self.height, self.stream)

    @property
    def _palette(self) -> list[chunks.Chunk]:
        return [chunk for chunk in self.before if chunk[0] == b"PLTE"]

    def still(self, width: int, height: int, stream: list[memoryview]) -> bytes:
        """A PNG like this one, with another size and stream and without metadata."""
        header = struct.pack(">IIBBBBB", width, height, self.bit_depth, self.colour_type, 0, 0, self.interlaced)
        return _file(header, self._palette, stream)

    @property
    def channels(self) -> int:
        return _COLOUR_TYPES[self.colour_type][1]

    @property
    def animated(self) -> bool:
        return any(kind == b"acTL" for kind, _ in self.before)

    @property
    def kind(self) -> str:
        """For a person: `16-bit RGB PNG`."""
        return f"{'animated ' * self.animated}{self.bit_depth}-bit {_COLOUR_TYPES[self.colour_type][0]} PNG"


def parse(data: bytes, max_pixels: int) -> PngFile:
    """The chunks of a PNG file.

    Raises:
        UnsupportedImageError: a chunk is missing, misplaced, cut short or has a wrong CRC, or the header is of no PNG.
    """
    if not data.startswith(SIGNATURE):
        raise UnsupportedImageError("not a PNG: its signature is missing")
    before: list[chunks.Chunk] = []
    after: list[chunks.Chunk] = []
    stream: list[memoryview] = []
    view = memoryview(data)
    header = b""
    start = len(SIGNATURE)
    while True:
        if start + 8 > len(data):
            raise UnsupportedImageError("the PNG is cut short: it ends before its IEND chunk")
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        name = kind.decode("ascii", "backslashreplace")
        if not kind.isalpha():
            raise UnsupportedImageError(f"the PNG is broken: {name!r} is no chunk type")
        if end > len(data):
            raise UnsupportedImageError(f"the PNG is cut short in its {name} chunk")
        if zlib.crc32(view[start + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise UnsupportedImageError(f"the PNG is broken: wrong CRC of its {name} chunk")
        if not header and kind != b"IHDR":
            raise UnsupportedImageError(f"the PNG is broken: its first chunk is {name}, not IHDR")

        body = view[start + 8 : end - 4]
        if kind == b"IHDR" and not header:
            header = bytes(body)
            if len(header) != 13:
                raise UnsupportedImageError(f"the PNG is broken: IHDR of {len(header)} bytes, not 13")
        elif kind == b"IDAT" and not after:
            stream.append(body)
        elif kind == b"IEND" and stream and not body:
            break
        elif kind == b"PLTE" and not stream and all(other != b"PLTE" for other, _ in before):
            before.append((kind, bytes(body)))
        elif kind[0] & 0x20:  # a lower-case first letter: ancillary, a decoder may pass over it
            (after if stream else before).append((kind, bytes(body)))
        else:
            raise UnsupportedImageError(f"the PNG is broken: {name} chunk out of place or unknown")
        start = end

    width, height, bit_depth, colour_type, compression, filtering, interlace = struct.unpack(">IIBBBBB", header)
    if colour_type not in _COLOUR_TYPES or bit_depth not in _COLOUR_TYPES[colour_type][2]:
        raise UnsupportedImageError(f"the PNG is broken: colour type {colour_type} with {bit_depth} bits")
    if compression or filtering or interlace > 1:
        raise UnsupportedImageError("the PNG is broken: unknown compression, filter or interlace method")
    check_size(width, height, max_pixels)
    return PngFile(
        width=width,
        height=height,
        bit_depth=bit_depth,
        colour_type=colour_type,
        interlaced=bool(interlace),
        before=before,
        after=after,
        stream=stream,
        trailing_bytes=len(data) - end,
        data=data,
    )


def check_stream(png: PngFile) -> bool:
    """Whether the zlib stream holds the rows of the picture and nothing else; needs 1 MiB of memory.

    Raises:
        UnsupportedImageError: it holds less, cannot be inflated, or its checksum is wrong or missing.
    """
    expected = _stream_bytes(png.width, png.height, png.bit_depth * png.channels, png.interlaced)
    inflate = zlib.decompressobj()
    size = 0
    surplus = False
    try:
        for part in png.stream:
            for start in range(0, len(part), _PIECE_BYTES):  # small, because each call copies the rest of its piece
                surplus |= inflate.eof
                piece: bytes | memoryview = part[start : start + _PIECE_BYTES]
                while piece and not inflate.eof and size <= expected:
                    size += len(inflate.decompress(piece, 1 << 20))
                    piece = inflate.unconsumed_tail
        if not inflate.eof and size <= expected:
            size += len(inflate.flush())  # at most the end of one match
    except zlib.error as error:
        raise UnsupportedImageError(f"the PNG is broken: its pixels cannot be inflated ({error})") from error
    if size > expected:
        return False
    if size < expected or not inflate.eof:
        raise UnsupportedImageError(f"the PNG is broken: its pixels end early ({size} of {expected} bytes)")
    return not surplus and not inflate.unused_data


def _stream_bytes(width: int, height: int, pixel_bits: int, interlaced: bool) -> int:
    """The size of all rows together: each has a byte for its filter, and its pixels."""
    total = 0
    for x, y, step_x, step_y in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // step_x), -(-(height - y) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * pixel_bits + 7) // 8)
    return total


def read(data: bytes, max_pixels: int) -> tuple[npt.NDArray[np.uint8], bytes]:
    """Pixels (H, W, C) and metadata of a PNG with 8-bit gray or RGB samples.

    Raises:
        UnsupportedImageError: the file is broken, or holds something that pixels and metadata do not keep; says what.
    """
    png = parse(data, max_pixels)
    return to_pixels(_still(png, 8), "PNG", max_pixels), chunks.pack(png.before, png.after)


def read_bilevel(data: bytes, max_pixels: int) -> tuple[npt.NDArray[np.uint8], bytes]:
    """Pixels (H, W, 1), 0 black and 1 white, and metadata of a PNG with 1-bit gray samples.

    Raises: as `read`.
    """
    png = parse(data, max_pixels)
    return to_bits(_still(png, 1), "PNG", max_pixels), chunks.pack(png.before, png.after)


def is_bilevel(data: bytes) -> bool:
    """Whether the header of a PNG declares samples of 1-bit gray."""
    return data[24:26] == b"\1\0"


def _still(png: PngFile, bit_depth: int) -> bytes:
    """The PNG without its metadata, if it is a still of gray or RGB samples of `bit_depth` bits and nothing else.

    Raises: UnsupportedImageError.
    """
    if png.animated:
        lost = "its animation"
    elif png.colour_type == 3:
        lost = "its palette"
    elif png.colour_type in (4, 6):
        lost = "its alpha channel" + " and 8 bits per sample" * (png.bit_depth == 16)
    elif png.bit_depth == 16:
        lost = "8 bits per sample"
    elif png.bit_depth != bit_depth:
        lost = "its bit depth"
    elif png.trailing_bytes:
        lost = f"{png.trailing_bytes} bytes after its end"
    elif not check_stream(png):
        lost = "data after its last row"
    elif fault := _fault(png.before, png.after, png.channels):
        raise UnsupportedImageError(f"{png.kind} with {fault} is not supported")
    else:
        return png.picture
    raise UnsupportedImageError(f"{png.kind} is not supported ({lost} would be lost)")


def _fault(before: list[chunks.Chunk], after: list[chunks.Chunk], channels: int) -> str:
    """Why a gray or RGB still cannot have these chunks around its pixels; an empty string if it can."""
    fixed = _LENGTHS | {b"tRNS": 2 * channels, b"bKGD": 2 * channels, b"sBIT": channels}
    once: set[bytes] = set()
    for kind, data in [*before, *after]:
        name = kind.decode("ascii", "backslashreplace")
        if not kind.isalpha() or (not kind[0] & 0x20 and kind != b"PLTE") or kind == b"acTL":
            return f"the chunk {name!r}"
        if len(data) != fixed.get(kind, len(data)) or (kind == b"PLTE" and len(data) not in range(3, 769, 3)):
            return f"a {name} chunk of {len(data)} bytes"
        if kind in (b"PLTE", b"tRNS"):
            if kind in once or (channels == 1 and kind == b"PLTE"):
                return f"a {name} chunk too many"
            once.add(kind)
    if once & {kind for kind, _ in after}:
        return "a PLTE or tRNS chunk out of place"
    return ""


def write(pixels: npt.NDArray[np.uint8], metadata: bytes) -> bytes:
    """The PNG file of 8-bit `pixels` (H, W, C), C in {1, 3}, with the chunks of `metadata`: the inverse of `read`."""
    return _with_metadata(to_image(pixels), metadata)


def write_bilevel(pixels: npt.NDArray[np.uint8], metadata: bytes) -> bytes:
    """The 1-bit gray PNG file of `pixels` (H, W, 1), 0 or 1: the inverse of `read_bilevel`."""
    if pixels.max() > 1:
        raise CorruptDataError("a 1-bit PNG has no samples other than 0 and 1")
    return _with_metadata(Image.fromarray(pixels[:, :, 0].astype(np.bool_)), metadata)


def _with_metadata(image: Image.Image, metadata: bytes) -> bytes:
    before, after = chunks.unpack(metadata)
    if fault := _fault(before, after, len(image.getbands())):
        raise CorruptDataError(f"the metadata belongs to no PNG: it has {fault}")
    # Level 3 of zlib-ng, which Pillow ships: on Kodak as small as the usual level 6, in two fifths of the time.
    png = _encode(image, level=3)
    ihdr_end, iend = len(SIGNATURE) + 25, len(png) - len(_IEND)
    if not metadata:
        return png
    picture: list[bytes | memoryview] = [memoryview(png)[ihdr_end:iend]]
    return b"".join([png[:ihdr_end], *map(_chunk, before), *picture, *map(_chunk, after), png[iend:]])


def to_rows(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The filtered rows of 8-bit `pixels` (H, W, C), C in {1, 3}, as in a PNG: for each row its filter, then W x C bytes.

    Each row gets the filter (none, sub, up, average or Paeth) with the least sum of absolute residuals. Inverse: `from_rows`.
    Source: PNG Specification, 9 (filtering) and 12.7 (filter selection).
    """
    png = parse(_encode(to_image(pixels), level=0), max_pixels=pixels.size)
    inflate = zlib.decompressobj()
    return b"".join(map(inflate.decompress, png.stream))


def from_rows(rows: bytes, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """The pixels of filtered rows. Inverse: `to_rows`.

    Pillow decodes them, as a PNG: to undo the Paeth filter takes a loop over pixels.

    Raises:
        CorruptDataError: the rows are not those of `shape` (H, W, C), or name a filter that does not exist.
    """
    height, width, channels = shape
    if len(rows) != height * (1 + width * channels):
        raise CorruptDataError(f"{len(rows)} bytes of rows for {width} x {height} pixels of {channels} samples")
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    deflate = zlib.compressobj(0)
    pieces = (memoryview(rows)[start : start + _PIECE_BYTES] for start in range(0, len(rows), _PIECE_BYTES))
    try:
        return to_pixels(_file(header, [], [*map(deflate.compress, pieces), deflate.flush()]), "PNG", height * width)
    except UnsupportedImageError as error:
        raise CorruptDataError(f"the rows cannot be decoded: {error}") from error


def _encode(image: Image.Image, level: int) -> bytes:
    """A PNG of IHDR, IDATs and IEND."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=level)
    return file.getvalue()


def _file(header: bytes, palette: list[chunks.Chunk], stream: Sequence[bytes | memoryview]) -> bytes:
    """A PNG of IHDR, PLTE, IDATs and IEND."""
    parts: list[bytes | memoryview] = [SIGNATURE, *map(_chunk, [(b"IHDR", header), *palette])]
    for data in stream:
        parts += [struct.pack(">I4s", len(data), b"IDAT"), data, zlib.crc32(data, zlib.crc32(b"IDAT")).to_bytes(4, "big")]
    return b"".join([*parts, _IEND])


def _chunk(chunk: chunks.Chunk) -> bytes:
    kind, data = chunk
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
