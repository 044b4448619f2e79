"""How the stream of a PNG was written: its filters, and the settings of zlib that give the same bytes again.

Deflate has no normal form, but nearly every program calls zlib, with one of few settings. They are tried on the rows of the
picture, each until its bytes differ from those of the file. With the filter of each row they are all that is needed to write the
file again, byte for byte. Another zlib (zlib-ng, for one) may give other bytes from the same settings: so there is a digest too.

Source: RFC 1950 (zlib), 2.2; Portable Network Graphics (PNG) Specification (Third Edition), W3C, 9, 10.
"""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from bbans.errors import CorruptDataError
from bbans.formats.wire import CHECK_BYTES, ByteReader, pack_varint
from bbans.images.pngfile import PngFile, inflated
from bbans.images.rows import FILTERS, Bytes, filtered_pieces, row_bytes

_ADAPTIVE = FILTERS
"""In place of a filter for all rows: the one of least residuals for each."""
_EACH = FILTERS + 1
"""In place of a filter for all rows: a deflated list of them follows."""

_LEVELS = {0: (1, 0), 1: (5, 4, 3, 2), 2: (6,), 3: (9, 8, 7)}
"""By what the header of a zlib stream says of the level; the usual ones first."""
_MEMORY = (8, 9)
_MAX_IDATS = 1 << 16
_PIECE_BYTES = 1 << 15
_STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_RLE, zlib.Z_HUFFMAN_ONLY, zlib.Z_FIXED)


@dataclass(frozen=True)
class Settings:
    """Of a zlib stream."""

    level: int
    memory: int
    strategy: int
    window_bits: int

    def deflated(self, data: Iterable[bytes]) -> Iterator[bytes]:
        """The raw deflate stream of some data, piece by piece. It does not depend on how the data is cut."""
        deflate = zlib.compressobj(self.level, zlib.DEFLATED, -self.window_bits, self.memory, self.strategy)
        for piece in cut(data, _PIECE_BYTES):
            yield deflate.compress(piece)
        yield deflate.flush()


def cut(data: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of `size`, of which the last may be smaller."""
    left = b""
    for piece in data:
        left += piece
        whole = len(left) // size * size
        for start in range(0, whole, size):
            yield left[start : start + size]
        left = left[whole:]
    if left:
        yield left


@dataclass(frozen=True)
class Writing:
    """How a PNG was written."""

    settings: Settings
    head: bytes
    """The first two bytes of the zlib stream."""
    idat_bytes: int
    """Of each IDAT but the last; 0 if there is one only."""
    filters: bytes
    """Of each row."""
    digest: bytes
    """BLAKE2b, of 8 bytes, of the file."""


def find(png: PngFile) -> Writing | None:
    """How a still PNG without surplus bytes was written; None if no settings of this machine's zlib give its bytes."""
    sizes = [len(part) for part in png.stream[: _MAX_IDATS + 1]]
    idat_bytes = sizes[0] if len(sizes) > 1 else 0
    if (
        png.interlaced
        or len(sizes) > _MAX_IDATS
        or any(size != idat_bytes for size in sizes[:-1])
        or not (len(sizes) == 1 or 0 < sizes[-1] <= idat_bytes)
    ):
        return None
    stream = b"".join(png.stream)
    head, body = stream[:2], memoryview(stream)[2:-4]
    windows = sorted({max(9, 8 + (head[0] >> 4)), 15})
    levels = _LEVELS[head[1] >> 6]
    for strategy, memory, window_bits, level in itertools.product(_STRATEGIES, _MEMORY, windows, levels):
        # The header says 0 for strategies beyond Z_FILTERED, whatever the level.
        tried = (level,) if strategy <= zlib.Z_FILTERED or head[1] >> 6 else range(1, 10) if level else ()
        for own in tried:
            settings = Settings(own, memory, strategy, window_bits)
            if _gives(settings, png, body):
                return Writing(settings, head, idat_bytes, _filters(png), file_digest(png.data))
    return None


def _gives(settings: Settings, png: PngFile, body: memoryview) -> bool:
    """Whether settings give a deflate stream. It is left at the first byte that differs."""
    start = 0
    for part in settings.deflated(inflated(png)):
        if body[start : start + len(part)] != part:
            return False
        start += len(part)
    return start == len(body)


def _filters(png: PngFile) -> bytes:
    """The filter of each row of a PNG that is not interlaced."""
    size = 1 + row_bytes(png.width, png.channels, png.bit_depth)
    out, start = bytearray(), 0
    for piece in inflated(png):
        out += piece[-start % size :: size]
        start += len(piece)
    return bytes(out)


def file_digest(data: bytes) -> bytes:
    """BLAKE2b of a file, 8 bytes."""
    return hashlib.blake2b(data, digest_size=CHECK_BYTES).digest()


def stream_of(writing: Writing, rows: Bytes, step: int) -> Iterator[bytes]:
    """The data of each IDAT, of packed rows (H, B). Inverse: `find`.

    Raises: CorruptDataError: there would be too many IDATs.
    """
    check = zlib.adler32(b"")

    def filtered() -> Iterator[bytes]:
        nonlocal check
        for piece in filtered_pieces(rows, step, np.frombuffer(writing.filters, np.uint8)):
            check = zlib.adler32(piece.data, check)
            yield piece.tobytes()

    def stream() -> Iterator[bytes]:
        yield writing.head
        yield from writing.settings.deflated(filtered())
        yield check.to_bytes(4, "big")

    if not writing.idat_bytes:
        yield b"".join(stream())
        return
    for number, part in enumerate(cut(stream(), writing.idat_bytes)):
        if number == _MAX_IDATS:
            raise CorruptDataError(f"the writing of the PNG is damaged: IDATs of {writing.idat_bytes} bytes")
        yield part


def pack(writing: Writing, rows: Bytes | None = None, step: int = 1) -> bytes:
    """The bytes of a writing. Inverse: `unpack`.

    Args:
        rows, step: of the picture, to see whether its filters are those of least residuals.
    """
    settings, filters = writing.settings, writing.filters
    head = bytes([settings.level << 4 | settings.memory, settings.strategy << 4 | settings.window_bits, *writing.head])
    if len(set(filters)) == 1:
        kind, listed = filters[0], b""
    elif rows is not None and filters == adaptive_filters(rows, step):
        kind, listed = _ADAPTIVE, b""
    else:
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        kind, listed = _EACH, deflate.compress(filters) + deflate.flush()
    return head + writing.digest + pack_varint(writing.idat_bytes) + bytes([kind]) + listed


def unpack(data: bytes, rows: Bytes, step: int) -> Writing:
    """The writing in some bytes, for packed rows (H, B). Inverse: `pack`.

    Raises: CorruptDataError: they are damaged, or of another picture.
    """
    reader = ByteReader(data, "writing of the PNG")
    first, second, head = reader.byte(), reader.byte(), reader.take(2)
    digest, idat_bytes, kind = reader.take(CHECK_BYTES), reader.varint(), reader.byte()
    settings = Settings(first >> 4, first & 15, second >> 4, second & 15)
    listed = reader.take(len(data) - reader.position)
    if kind == _EACH:
        inflate = zlib.decompressobj(-15)
        try:
            filters = inflate.decompress(listed, len(rows) + 1)
        except zlib.error as error:
            raise CorruptDataError(f"the writing of the PNG is damaged: {error}") from error
        whole = inflate.eof and not inflate.unused_data
    else:
        filters, whole = adaptive_filters(rows, step) if kind == _ADAPTIVE else bytes([kind]) * len(rows), not listed
    possible = settings.level <= 9 and 1 <= settings.memory <= 9 and settings.strategy <= 4 and 9 <= settings.window_bits <= 15
    window = 256 << (head[0] >> 4)  # may be smaller than that of zlib where the data is small
    possible &= head[0] & 15 == 8 and not head[1] & 32 and int.from_bytes(head, "big") % 31 == 0
    possible &= window <= 1 << 15 and window >= min(1 << settings.window_bits, len(rows) * (1 + rows.shape[1]))
    if not (whole and possible and len(filters) == len(rows) and max(filters) < FILTERS):
        raise CorruptDataError("the writing of the PNG is damaged: there are no such settings or filters")
    return Writing(settings, head, idat_bytes, filters, digest)


def adaptive_filters(rows: Bytes, step: int) -> bytes:
    """The filter of least residuals of each packed row."""
    return b"".join(piece[:, 0].tobytes() for piece in filtered_pieces(rows, step))
