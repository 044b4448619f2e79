"""PNG: its pictures as samples and metadata.

The samples of a palette are its indices; its colours, PLTE and tRNS, are metadata. `bbans.images.pngfile` takes the file apart and
checks it, and Pillow decodes it.

Interlacing, row filters, the compression level and the division of the stream into IDATs are not kept: they are the way the
file was written, and no part of the picture.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.images import chunks, pngstream
from bbans.images.pillow import to_image, to_pixels
from bbans.images.pngfile import (
    COLOUR_TYPES,
    PIECE_BYTES,
    PngFile,
    assemble,
    check_stream,
    fault,
    parse,
)
from bbans.images.rows import Samples, filter_rows, pack, row_bytes, step_bytes

_WRITING_BYTES = 64
"""The most that a writing may take, or a hundredth of the file."""


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
    return to_pixels(_still(png, 1), "PNG", max_pixels, modes=("1",)), chunks.pack(png.before, png.after)


def read_any(data: bytes, max_pixels: int) -> tuple[Samples, int, bytes]:
    """Samples (H, W, C), their bits and metadata of any still PNG. Inverse: `write`.

    Raises: as `read`, but for nothing that samples and metadata do keep.
    """
    png = parse(data, max_pixels)
    return _decode(_still(png, None), png.bit_depth, max_pixels), png.bit_depth, chunks.pack(png.before, png.after)


def _decode(data: bytes, bit_depth: int, max_pixels: int) -> Samples:
    """The samples (H, W, C) of a PNG without metadata: those of a palette are indices. Raises: UnsupportedImageError."""
    if bit_depth == 16:
        return _decode_16(parse(data, max_pixels))
    pixels = to_pixels(data, "PNG", max_pixels, modes=("1", "L", "LA", "RGB", "RGBA", "P"))
    if data[25] == 0 and bit_depth in (2, 4):  # Pillow spreads them over 8 bits
        pixels //= 255 // ((1 << bit_depth) - 1)
    return pixels


def _decode_16(png: PngFile) -> npt.NDArray[np.uint16]:
    """The samples (H, W, C) of a PNG of 16 bits, of which Pillow would drop some. Raises: UnsupportedImageError."""
    stream = zlib.decompress(b"".join(png.stream))  # its size was checked
    samples = np.empty((png.height, png.width, png.channels), np.uint16)
    start = 0
    for x, y, step_x, step_y in png.passes:
        part = samples[y::step_y, x::step_x]
        if not part.size:
            continue
        height, width, channels = part.shape
        end = start + height * (1 + row_bytes(width, channels, 16))
        rows = np.frombuffer(stream[start:end], np.uint8).reshape(height, -1)
        for top, packed in unfiltered(rows, step_bytes(channels, 16)):
            part[top : top + len(packed)] = packed.view(">u2").reshape(-1, width, channels)
        start = end
    return samples


def unfiltered(rows: npt.NDArray[np.uint8], step: int) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """The packed rows (N, W * step) of filtered rows (H, 1 + W * step), some at a time, each time with the number of the first.

    Pillow undoes the filters. A byte depends on those of the same place in other pixels alone, so the bytes of a pixel may be taken
    for one or two pictures of 8 bits, with as many channels.

    Raises: UnsupportedImageError: a filter that does not exist. Inverse: `filter_rows`.
    """
    lanes = step if step <= 4 else step // 2
    count = max(1, PIECE_BYTES // rows.shape[1])
    above = np.zeros((1, rows.shape[1]), np.uint8)  # without a filter
    for top in range(0, len(rows), count):
        piece = np.concatenate([above, rows[top : top + count]])
        filters, pixels = piece[:, :1], piece[:, 1:].reshape(len(piece), -1, step)
        out = np.empty_like(pixels[1:])
        for lane in range(0, step, lanes):
            stream = zlib.compress(np.hstack([filters, pixels[:, :, lane : lane + lanes].reshape(len(piece), -1)]).tobytes(), 0)
            shape = (len(piece), pixels.shape[1], lanes)
            file = assemble(_header(shape, 8, _colour_type(lanes, False)), [], [stream])
            decoded = to_pixels(file, "PNG", pixels.size, modes=("L", "LA", "RGB", "RGBA"))
            out[:, :, lane : lane + lanes] = decoded[1:]
        above = np.hstack([above[:, :1], out[-1:].reshape(1, -1)])
        yield top, out.reshape(len(out), -1)


def is_bilevel(data: bytes) -> bool:
    """Whether the header of a PNG declares samples of 1-bit gray."""
    return data[24:26] == b"\1\0"


def _still(png: PngFile, bit_depth: int | None) -> bytes:
    """The PNG without its metadata, if it is a still and nothing else; and unless `bit_depth` is None, gray or RGB of so many bits.

    Raises: UnsupportedImageError.
    """
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
        return png.picture
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


def write(samples: Samples, metadata: bytes, bit_depth: int = 8) -> bytes:
    """The PNG file of `samples` (H, W, C) with the chunks of `metadata`: the inverse of `read` and `read_any`.

    C is 1 for gray or, where the metadata has a PLTE, a palette; 2 with alpha; 3 for RGB; 4 with alpha.

    Raises:
        CorruptDataError: there is no such PNG.
    """
    before, after, colour_type = _checked(samples, metadata, bit_depth)
    header = _header(samples.shape, bit_depth, colour_type)
    if colour_type in (0, 2) and bit_depth == 8:
        # Level 3 of zlib-ng, which Pillow ships: on Kodak as small as the usual level 6, in two fifths of the time.
        file = io.BytesIO()
        to_image(samples.astype(np.uint8, copy=False)).save(file, "PNG", compress_level=3)
        return assemble(header, before, parse(file.getvalue(), samples.size).stream, after)
    # Neighbours of palettes and of samples below 8 bits are no prediction.
    filters = 0 if colour_type == 3 or bit_depth < 8 else None
    rows = filter_rows(pack(samples, bit_depth), step_bytes(samples.shape[2], bit_depth), filters)
    return assemble(header, before, [zlib.compress(rows.data, 6)], after)


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
    before, after, colour_type = _checked(samples, metadata, bit_depth)
    rows, step = pack(samples, bit_depth), step_bytes(samples.shape[2], bit_depth)
    writing = pngstream.unpack(packed, rows, step)
    file = assemble(_header(samples.shape, bit_depth, colour_type), before, pngstream.stream_of(writing, rows, step), after)
    return file, pngstream.file_digest(file) == writing.digest


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

    They are decoded as a PNG: to undo the Paeth filter takes a loop over pixels.

    Raises:
        CorruptDataError: the rows are not those of `shape` (H, W, C), or name a filter that does not exist.
    """
    height, width, channels = shape
    if len(rows) != height * (1 + row_bytes(width, channels, bit_depth)):
        raise CorruptDataError(f"{len(rows)} bytes of rows for {width} x {height} pixels of {channels} samples")
    deflate = zlib.compressobj(0)
    pieces = (memoryview(rows)[start : start + PIECE_BYTES] for start in range(0, len(rows), PIECE_BYTES))
    stream = [*map(deflate.compress, pieces), deflate.flush()]
    try:
        return _decode(assemble(_header(shape, bit_depth, _colour_type(channels, False)), [], stream), bit_depth, height * width)
    except UnsupportedImageError as error:
        raise CorruptDataError(f"the rows cannot be decoded: {error}") from error
