"""The chunks of a PNG file, checked: its structure, its CRCs and its zlib stream.

::

    signature | IHDR | before: any chunks, PLTE too | IDAT+ | after: any chunks | IEND | trailing bytes
                       ~~~~~~~~~~~~~~~~~~~~~~~~~~~~           ~~~~~~~~~~~~~~~~~
                       metadata: its bytes and order are kept (`bbans.images.chunks`), its meaning does not matter

Decoders do not tell whether a file is whole: Pillow accepts a stream that ends a few rows early, and ignores the checksum of the
pixels. So they are checked here.

Source: Portable Network Graphics (PNG) Specification (Third Edition), W3C: 5 (datastream structure), 8 (interlacing).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bbans.errors import UnsupportedImageError
from bbans.images import chunks
from bbans.images.pillow import check_size
from bbans.images.rows import row_bytes

SIGNATURE = b"\x89PNG\r\n\x1a\n"

IEND = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
COLOUR_TYPES = {  # colour type: (name, channels, bit depths)
    0: ("gray", 1, (1, 2, 4, 8, 16)),
    2: ("RGB", 3, (8, 16)),
    3: ("palette", 1, (1, 2, 4, 8)),
    4: ("gray and alpha", 2, (8, 16)),
    6: ("RGB and alpha", 4, (8, 16)),
}
PIECE_BYTES = 1 << 16
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
        return assemble(header, self._palette, stream)

    @property
    def channels(self) -> int:
        return COLOUR_TYPES[self.colour_type][1]

    @property
    def passes(self) -> tuple[tuple[int, int, int, int], ...]:
        """First column, first row, and the steps from there, of the parts of the picture that follow one another."""
        return _ADAM7 if self.interlaced else ((0, 0, 1, 1),)

    @property
    def animated(self) -> bool:
        return any(kind == b"acTL" for kind, _ in self.before)

    @property
    def kind(self) -> str:
        """For a person: `16-bit RGB PNG`."""
        return f"{'animated ' * self.animated}{self.bit_depth}-bit {COLOUR_TYPES[self.colour_type][0]} PNG"


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
    if colour_type not in COLOUR_TYPES or bit_depth not in COLOUR_TYPES[colour_type][2]:
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
    expected = _stream_bytes(png)
    inflate = zlib.decompressobj()
    size = 0
    surplus = False
    try:
        for part in png.stream:
            for start in range(0, len(part), PIECE_BYTES):  # small, because each call copies the rest of its piece
                surplus |= inflate.eof
                piece: bytes | memoryview = part[start : start + PIECE_BYTES]
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


def inflated(png: PngFile) -> Iterator[bytes]:
    """The filtered rows of a PNG whose stream was checked, some bytes at a time."""
    inflate = zlib.decompressobj()
    for part in png.stream:
        for start in range(0, len(part), PIECE_BYTES):
            piece: bytes | memoryview = part[start : start + PIECE_BYTES]
            while piece:
                yield inflate.decompress(piece, 1 << 18)
                piece = inflate.unconsumed_tail
    yield inflate.flush()


def _stream_bytes(png: PngFile) -> int:
    """The size of all rows together: each has a byte for its filter, and its pixels."""
    total = 0
    for x, y, step_x, step_y in png.passes:
        columns, rows = -(-(png.width - x) // step_x), -(-(png.height - y) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + row_bytes(columns, png.channels, png.bit_depth))
    return total


def fault(before: list[chunks.Chunk], after: list[chunks.Chunk], colour_type: int, bit_depth: int) -> str:
    """Why a still cannot have these chunks around its pixels; an empty string if it can."""
    channels = COLOUR_TYPES[colour_type][1]
    sizes = {kind: range(length, length + 1) for kind, length in _LENGTHS.items()}
    colour_bytes = {0: 2, 2: 6, 3: 1, 4: 2, 6: 6}[colour_type]
    sizes[b"bKGD"] = range(colour_bytes, colour_bytes + 1)
    sizes[b"tRNS"] = range(1, 257) if colour_type == 3 else range(colour_bytes, colour_bytes + 1)
    sizes[b"sBIT"] = range(3, 4) if colour_type == 3 else range(channels, channels + 1)
    sizes[b"PLTE"] = range(3, 3 * (1 << bit_depth if colour_type == 3 else 256) + 1, 3)
    never = {b"acTL"} | ({b"PLTE"} if colour_type in (0, 4) else set()) | ({b"tRNS"} if colour_type in (4, 6) else set())
    lengths: dict[bytes, int] = {}
    for kind, data in [*before, *after]:
        name = kind.decode("ascii", "backslashreplace")
        if not kind.isalpha() or (not kind[0] & 0x20 and kind != b"PLTE") or kind in never:
            return f"the chunk {name!r}"
        if len(data) not in sizes.get(kind, range(len(data), len(data) + 1)):
            return f"a {name} chunk of {len(data)} bytes"
        if kind in (b"PLTE", b"tRNS"):
            if kind in lengths:
                return f"a {name} chunk too many"
            if colour_type == 3 and kind == b"tRNS" and 3 * len(data) > lengths.get(b"PLTE", 0):
                return "a tRNS chunk without its colours"
            lengths[kind] = len(data)
    if lengths.keys() & {kind for kind, _ in after}:
        return "a PLTE or tRNS chunk out of place"
    return "no palette" if colour_type == 3 and b"PLTE" not in lengths else ""


def assemble(
    header: bytes,
    before: Sequence[chunks.Chunk],
    stream: Iterable[bytes | memoryview],
    after: Sequence[chunks.Chunk] = (),
) -> bytes:
    """A PNG of IHDR, other chunks, IDATs, other chunks and IEND."""
    return join(parts(header, before, stream, after))


def join(parts: Iterable[bytes | memoryview]) -> bytes:
    """All parts, each of which is needed no longer once it was taken: `b"".join` keeps them."""
    file = io.BytesIO()
    for part in parts:
        file.write(part)
    return file.getvalue()


def parts(
    header: bytes,
    before: Sequence[chunks.Chunk],
    stream: Iterable[bytes | memoryview],
    after: Sequence[chunks.Chunk],
) -> Iterator[bytes | memoryview]:
    """The bytes of the PNG that `assemble` makes, one after the other."""
    yield SIGNATURE
    yield from map(chunk_bytes, [(b"IHDR", header), *before])
    for data in stream:
        yield struct.pack(">I4s", len(data), b"IDAT")
        yield data
        yield zlib.crc32(data, zlib.crc32(b"IDAT")).to_bytes(4, "big")
    yield from map(chunk_bytes, after)
    yield IEND


def chunk_bytes(chunk: chunks.Chunk) -> bytes:
    kind, data = chunk
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
