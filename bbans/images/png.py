"""PNG: its pictures as samples and metadata.

The samples of a palette are its indices; its colours, PLTE and tRNS, are metadata. `bbans.images.pngfile` takes the file apart and
checks it; its rows are decoded some at a time.

Interlacing, row filters, the compression level and the division of the stream into IDATs are not kept: they are the way the
file was written, and no part of the picture.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from bbans._core.rows import unfilter_rows
from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.images import chunks, pngstream
from bbans.images.pngfile import (
    COLOUR_TYPES,
    PIECE_BYTES,
    PngFile,
    assemble,
    check_stream,
    fault,
    inflated,
    join,
    parse,
    parts,
)
from bbans.images.pngfilters import LARGE_BYTES, smallest_stream
from bbans.images.rows import Samples, filter_rows, filtered_pieces, pack, row_bytes, step_bytes, unpack

_WRITING_BYTES = 64
"""The most that a writing may take, or a hundredth of the file."""


def read(data: bytes, max_pixels: int) -> tuple[npt.NDArray[np.uint8], bytes]:
    """Pixels (H, W, C) and metadata of a PNG with 8-bit gray or RGB samples.

    Raises:
        UnsupportedImageError: the file is broken, or holds something that pixels and metadata do not keep; says what.
    """
    samples, _, metadata = _read(data, max_pixels, 8)
    return samples.astype(np.uint8, copy=False), metadata


def read_bilevel(data: bytes, max_pixels: int) -> tuple[npt.NDArray[np.uint8], bytes]:
    """Pixels (H, W, 1), 0 black and 1 white, and metadata of a PNG with 1-bit gray samples.

    Raises: as `read`.
    """
    samples, _, metadata = _read(data, max_pixels, 1)
    return samples.astype(np.uint8, copy=False), metadata


def read_any(data: bytes, max_pixels: int) -> tuple[Samples, int, bytes]:
    """Samples (H, W, C), their bits and metadata of any still PNG. Inverse: `write`.

    Raises: as `read`, but for nothing that samples and metadata do keep.
    """
    return _read(data, max_pixels, None)


def _read(data: bytes, max_pixels: int, bit_depth: int | None) -> tuple[Samples, int, bytes]:
    """As `read_any`; unless `bit_depth` is None, of gray or RGB of so many bits only."""
    png = parse(data, max_pixels)
    _check_still(png, bit_depth)
    return _decode(png), png.bit_depth, chunks.pack(png.before, png.after)


def _decode(png: PngFile) -> Samples:
    """The samples (H, W, C) of a PNG whose stream was checked. Raises: UnsupportedImageError.

    Some rows are inflated at a time: beside the samples, it takes little memory.
    """
    try:
        samples = np.empty((png.height, png.width, png.channels), np.uint16 if png.bit_depth == 16 else np.uint8)
    except MemoryError as error:
        raise UnsupportedImageError("the picture needs more memory than there is") from error
    pieces, inflated_bytes = inflated(png), bytearray()
    for x, y, step_x, step_y in png.passes:
        part = samples[y::step_y, x::step_x]
        if not part.size:
            continue
        height, width, channels = part.shape
        size = 1 + row_bytes(width, channels, png.bit_depth)
        above, top = np.zeros(size - 1, np.uint8), 0
        while top < height:
            while len(inflated_bytes) < size:
                inflated_bytes += next(pieces)
            count = min(height - top, len(inflated_bytes) // size)
            filtered = np.frombuffer(inflated_bytes[: count * size], np.uint8).reshape(count, size)
            del inflated_bytes[: count * size]
            rows = _unfiltered(filtered, step_bytes(channels, png.bit_depth), above)
            part[top : top + count] = unpack(rows, width, channels, png.bit_depth)
            above, top = rows[-1], top + count
    return samples


def _unfiltered(filtered: npt.NDArray[np.uint8], step: int, above: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """As `unfilter_rows`. Raises: UnsupportedImageError: a filter that does not exist."""
    try:
        return unfilter_rows(filtered, step, above)
    except ValueError:
        raise UnsupportedImageError(f"the PNG is broken: there is no filter {filtered[:, 0].max()}") from None


def is_bilevel(data: bytes) -> bool:
    """Whether the header of a PNG declares samples of 1-bit gray."""
    return data[24:26] == b"\1\0"


def _check_still(png: PngFile, bit_depth: int | None) -> None:
    """Raise UnsupportedImageError unless a PNG is a still and nothing else; if `bit_depth`, then gray or RGB of so many bits."""
    if png.animated:
        lost = "its animation"
    elif bit_depth and png.colour_type == 3:
        lost = "its palette"
    elif bit_depth and png.colour_type in (4, 6):
        lost = "its alpha channel" + " and 8 bits per sample" * (png.bit_depth == 16)
    elif bit_depth and png.bit_depth == 16:
        lost = "8 bits per sample"
    elif bit_depth and png.bit_depth != bit_depth:
        lost = "its bit depth"
    elif png.trailing_bytes:
        lost = f"{png.trailing_bytes} bytes after its end"
    elif not check_stream(png):
        lost = "data after its last row"
    elif cause := fault(png.before, png.after, png.colour_type, png.bit_depth):
        raise UnsupportedImageError(f"{png.kind} with {cause} is not supported")
    else:
        return
    raise UnsupportedImageError(f"{png.kind} is not supported ({lost} would be lost)")


def palette(metadata: bytes) -> npt.NDArray[np.uint8] | None:
    """The colours (N, 3) of a palette, or (N, 4) with tRNS; None if there is no PLTE in the metadata.

    Raises:
        CorruptDataError: PLTE and tRNS are not those of a palette.
    """
    parts = dict(chunks.unpack(metadata)[0])
    if b"PLTE" not in parts:
        return None
    if not 0 < len(parts[b"PLTE"]) <= 768 or len(parts[b"PLTE"]) % 3 or 3 * len(parts.get(b"tRNS", b"")) > len(parts[b"PLTE"]):
        raise CorruptDataError("the metadata has a palette that is none")
    colours = np.frombuffer(parts[b"PLTE"], np.uint8).reshape(-1, 3)
    if b"tRNS" not in parts:
        return colours
    alpha = np.full((len(colours), 1), 255, np.uint8)
    alpha[: len(parts[b"tRNS"]), 0] = np.frombuffer(parts[b"tRNS"], np.uint8)
    return np.concatenate([colours, alpha], axis=1)


def write(samples: Samples, metadata: bytes, bit_depth: int = 8, at_most: int | None = None) -> bytes:
    """The PNG file of `samples` (H, W, C) with the chunks of `metadata`: the inverse of `read` and `read_any`.

    C is 1 for gray or, where the metadata has a PLTE, a palette; 2 with alpha; 3 for RGB; 4 with alpha.

    Args:
        at_most: bytes of the file; more work is done to reach them, if it can be. None writes it quickly.
    Raises:
        CorruptDataError: there is no such PNG.
    """
    before, after, colour_type = _checked(samples, metadata, bit_depth)
    header = _header(samples.shape, bit_depth, colour_type)
    # Neighbours of palettes and of samples below 8 bits are no prediction.
    filters = 0 if colour_type == 3 or bit_depth < 8 else None
    rows, step = pack(samples, bit_depth), step_bytes(samples.shape[2], bit_depth)

    def by_zlib(level: int) -> bytes:
        return assemble(header, before, pngstream.cut(_deflated(filtered_pieces(rows, step, filters), level), PIECE_BYTES), after)

    quick = by_zlib(3)
    if at_most is None or len(quick) <= at_most:
        return quick
    if rows.size > LARGE_BYTES:  # what follows takes memory
        small = by_zlib(9)
    else:
        around = len(assemble(header, before, [b""], after))
        stream = smallest_stream(rows, step, at_most - around)
        small = quick if stream is None else assemble(header, before, [stream], after)
    return min(small, quick, key=len)


def _deflated(pieces: Iterable[npt.NDArray[np.uint8]], level: int) -> Iterator[bytes]:
    """A zlib stream, part by part. At level 3 photos are 2 % larger than at the usual 6, in half of the time."""
    deflate = zlib.compressobj(level)
    for piece in pieces:
        yield deflate.compress(piece.data)
    yield deflate.flush()


def find_writing(data: bytes, samples: Samples, bit_depth: int) -> bytes:
    """What gives a PNG file again from its samples and metadata, byte for byte; nothing if that is not known, or too long.

    Inverse: `rewrite`.
    """
    png = parse(data, samples.size)
    writing = pngstream.find(png)
    if writing is None:
        return b""
    packed = pngstream.pack(writing, pack(samples, bit_depth), step_bytes(samples.shape[2], bit_depth))
    # The last bits of a row may be no samples, and are not always 0.
    if png.width * bit_depth % 8 and not rewrite(samples, chunks.pack(png.before, png.after), bit_depth, packed)[1]:
        return b""
    return packed if len(packed) <= max(_WRITING_BYTES, len(data) // 100) else b""


def rewrite(samples: Samples, metadata: bytes, bit_depth: int, packed: bytes) -> tuple[bytes, bool]:
    """The PNG file by a writing, and whether it is the one that the writing is of: else the zlib of this machine is another.

    Inverse: `find_writing`. Raises: CorruptDataError: there is no such PNG.
    """
    parts_of_file, digest = rewritten(samples, metadata, bit_depth, packed)
    file = join(parts_of_file)
    return file, pngstream.file_digest(file) == digest


def rewritten(samples: Samples, metadata: bytes, bit_depth: int, packed: bytes) -> tuple[Iterator[bytes | memoryview], bytes]:
    """The bytes of the PNG file by a writing, part by part, and the digest of the file that the writing is of.

    Raises: CorruptDataError: there is no such PNG; also while the parts are made.
    """
    before, after, colour_type = _checked(samples, metadata, bit_depth)
    rows, step = pack(samples, bit_depth), step_bytes(samples.shape[2], bit_depth)
    writing = pngstream.unpack(packed, rows, step)
    stream = pngstream.stream_of(writing, rows, step)
    return parts(_header(samples.shape, bit_depth, colour_type), before, stream, after), writing.digest


def _checked(samples: Samples, metadata: bytes, bit_depth: int) -> tuple[list[chunks.Chunk], list[chunks.Chunk], int]:
    """The chunks before and after the samples, and the colour type. Raises: CorruptDataError: there is no such PNG."""
    before, after = chunks.unpack(metadata)
    colour_type = _colour_type(samples.shape[2], any(kind == b"PLTE" for kind, _ in before))
    if bit_depth not in COLOUR_TYPES[colour_type][2]:
        raise CorruptDataError(f"no {COLOUR_TYPES[colour_type][0]} PNG has {bit_depth} bits")
    if cause := fault(before, after, colour_type, bit_depth):
        raise CorruptDataError(f"the metadata belongs to no PNG: it has {cause}")
    if int(samples.max()) >> bit_depth:
        raise CorruptDataError(f"a {bit_depth}-bit PNG has no samples over {(1 << bit_depth) - 1}")
    return before, after, colour_type


def write_bilevel(pixels: npt.NDArray[np.uint8], metadata: bytes) -> bytes:
    """The 1-bit gray PNG file of `pixels` (H, W, 1), 0 or 1: the inverse of `read_bilevel`."""
    return write(pixels, metadata, 1)


def _colour_type(channels: int, has_palette: bool) -> int:
    return 3 if channels == 1 and has_palette else {1: 0, 2: 4, 3: 2, 4: 6}[channels]


def _header(shape: tuple[int, ...], bit_depth: int, colour_type: int) -> bytes:
    return struct.pack(">IIBBBBB", shape[1], shape[0], bit_depth, colour_type, 0, 0, 0)


def to_rows(samples: Samples, bit_depth: int, filters: int | None = None) -> bytes:
    """The rows of `samples` (H, W, C), as in a PNG: for each its filter, then its packed samples, filtered. Inverse: `from_rows`.

    Args:
        filters: one for all rows, or None: for each the one with the least sum of absolute residuals.
    """
    return filter_rows(pack(samples, bit_depth), step_bytes(samples.shape[2], bit_depth), filters).tobytes()


def from_rows(rows: bytes, shape: tuple[int, int, int], bit_depth: int) -> Samples:
    """The samples of filtered rows. Inverse: `to_rows`.

    Raises:
        CorruptDataError: the rows are not those of `shape` (H, W, C), or name a filter that does not exist.
    """
    height, width, channels = shape
    if len(rows) != height * (1 + row_bytes(width, channels, bit_depth)):
        raise CorruptDataError(f"{len(rows)} bytes of rows for {width} x {height} pixels of {channels} samples")
    filtered = np.frombuffer(rows, np.uint8).reshape(height, -1)
    try:
        packed = _unfiltered(filtered, step_bytes(channels, bit_depth), np.zeros(filtered.shape[1] - 1, np.uint8))
    except UnsupportedImageError as error:
        raise CorruptDataError(f"the rows cannot be decoded: {error}") from error
    return unpack(packed, width, channels, bit_depth)
