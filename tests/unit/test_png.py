"""PNG files made by hand: structure, damage, and chunks that come back."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.images import chunks, png, pngfile

LIMIT = 1 << 20


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width=4, height=3, bit_depth=8, colour_type=2, compression=0, filtering=0, interlace=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, compression, filtering, interlace))


ROWS = bytes([0, *range(12)]) * 3  # 4 x 3 RGB, filter "none"
IHDR, IDAT, IEND = header(), chunk(b"IDAT", zlib.compress(ROWS)), chunk(b"IEND")
PIXELS = np.tile(np.arange(12, dtype=np.uint8), 3).reshape(3, 4, 3)


def join(*parts: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_plain_picture_has_no_metadata():
    pixels, metadata = png.read(join(IHDR, IDAT, IEND), LIMIT)
    assert np.array_equal(pixels, PIXELS)
    assert metadata == b""


def test_every_ancillary_chunk_comes_back_in_its_place():
    before = [
        (b"gAMA", struct.pack(">I", 45455)),
        (b"iCCP", b"name\0\0" + zlib.compress(b"not really a profile")),
        (b"prVt", b"private, unknown"),
        (b"PLTE", bytes(range(9))),  # a suggested palette of an RGB picture
        (b"tRNS", struct.pack(">HHH", 0, 1, 2)),
        (b"bKGD", struct.pack(">HHH", 1, 2, 3)),
        (b"tEXt", b"Title\0one"),
        (b"tEXt", b"Title\0two"),
    ]
    after = [(b"tIME", bytes(7)), (b"zTXt", b"broken on purpose"), (b"eXIf", b"MM\0*")]
    data = join(IHDR, *(chunk(*c) for c in before), IDAT, *(chunk(*c) for c in after), IEND)
    pixels, metadata = png.read(data, LIMIT)
    written = png.write(pixels, metadata)
    parsed = pngfile.parse(written, LIMIT)
    assert (parsed.before, parsed.after) == (before, after)
    assert np.array_equal(png.read(written, LIMIT)[0], PIXELS)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (17, 1), (3, 5), (31, 37)])
def test_write_read_and_rows(size, channels):
    pixels = np.random.default_rng(1).integers(0, 256, (*size, channels), dtype=np.uint8)
    again, metadata = png.read(png.write(pixels, b""), LIMIT)
    assert again.shape == pixels.shape and np.array_equal(again, pixels) and metadata == b""
    assert np.array_equal(png.from_rows(png.to_rows(pixels, 8), pixels.shape, 8), pixels)


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 5), (5, 3), (8, 8), (9, 17)])
def test_interlaced_stream_length(size):
    """An Adam7 picture with filter "none" everywhere, its passes laid out by hand."""
    height, width = size
    pixels = np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8)
    rows = b""
    for x, y, dx, dy in [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]:
        part = pixels[y::dy, x::dx]
        if part.size:
            rows += b"".join(b"\0" + row.tobytes() for row in part)
    data = join(header(width, height, interlace=1), chunk(b"IDAT", zlib.compress(rows)), IEND)
    assert np.array_equal(png.read(data, LIMIT)[0], pixels)
    with pytest.raises(UnsupportedImageError, match="end early"):
        png.read(join(header(width, height, interlace=1), chunk(b"IDAT", zlib.compress(rows[:-1])), IEND), LIMIT)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (zlib.compress(ROWS[:-1]), "end early"),
        (zlib.compress(ROWS[:-13]), "end early"),  # a whole row: Pillow would take it for black
        (zlib.compress(ROWS)[:-4], "end early"),  # no checksum
        (zlib.compress(ROWS)[:-1] + b"\x55", "cannot be inflated"),
        (b"no zlib stream", "cannot be inflated"),
        (zlib.compress(b"\x07" + ROWS[1:]), "there is no filter 7"),
        (zlib.compress(ROWS + b"hidden"), "after its last row would be lost"),
        (zlib.compress(ROWS) + b"hidden", "after its last row would be lost"),
        (zlib.compress(bytes(1 << 24)), "after its last row would be lost"),
    ],
)
def test_pixels_that_are_not_whole(rows, message):
    with pytest.raises(UnsupportedImageError, match=message):
        png.read(join(IHDR, chunk(b"IDAT", rows), IEND), LIMIT)


def test_stream_cut_into_many_idats():
    stream = zlib.compress(ROWS)
    pieces = [chunk(b"IDAT", stream[i : i + 1]) for i in range(len(stream))]
    assert np.array_equal(png.read(join(IHDR, chunk(b"IDAT"), *pieces, chunk(b"IDAT"), IEND), LIMIT)[0], PIXELS)
    with pytest.raises(UnsupportedImageError, match="after its last row"):
        png.read(join(IHDR, *pieces, chunk(b"IDAT", b"x"), IEND), LIMIT)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "cut short"),
        ([IHDR, IDAT], "before its IEND"),
        ([IDAT, IHDR, IEND], "first chunk is IDAT"),
        ([IHDR, IEND], "IEND chunk out of place"),
        ([IHDR, IHDR, IDAT, IEND], "IHDR chunk out of place"),
        ([IHDR, IDAT, chunk(b"tIME", bytes(7)), IDAT, IEND], "IDAT chunk out of place"),
        ([IHDR, IDAT, chunk(b"PLTE", bytes(3)), IEND], "PLTE chunk out of place"),
        ([IHDR, chunk(b"CRIT"), IDAT, IEND], "CRIT chunk out of place or unknown"),
        ([IHDR, chunk(b"a b!"), IDAT, IEND], "no chunk type"),
        ([IHDR, IDAT, chunk(b"IEND", b"x")], "IEND chunk out of place"),
        ([chunk(b"IHDR", bytes(12)), IDAT, IEND], "IHDR of 12 bytes"),
        ([header(colour_type=1), IDAT, IEND], "colour type 1"),
        ([header(bit_depth=4), IDAT, IEND], "colour type 2 with 4 bits"),
        ([header(compression=1), IDAT, IEND], "unknown compression"),
        ([header(interlace=2), IDAT, IEND], "unknown compression, filter or interlace"),
        ([header(width=0), IDAT, IEND], "empty"),
        ([header(width=1 << 31, height=1 << 31), IDAT, IEND], "larger than the limit"),
        ([IHDR, IDAT, IEND, b"tail"], "4 bytes after its end would be lost"),
        ([header(bit_depth=16), IDAT, IEND], "16-bit RGB PNG is not supported .8 bits per sample would be lost"),
        ([header(colour_type=3), IDAT, IEND], "8-bit palette PNG is not supported .its palette"),
        ([header(colour_type=6), IDAT, IEND], "8-bit RGB and alpha PNG is not supported .its alpha channel would"),
        ([header(colour_type=4, bit_depth=16), IDAT, IEND], "alpha channel and 8 bits per sample"),
        ([header(colour_type=0, bit_depth=2), IDAT, IEND], "2-bit gray PNG is not supported .its bit depth"),
        ([IHDR, chunk(b"PLTE", bytes(4)), IDAT, IEND], "8-bit RGB PNG with a PLTE chunk of 4 bytes is not supported"),
        ([IHDR, chunk(b"tRNS", bytes(5)), IDAT, IEND], "8-bit RGB PNG with a tRNS chunk of 5 bytes is not supported"),
        ([IHDR, IDAT, chunk(b"gAMA", bytes(1)), IEND], "8-bit RGB PNG with a gAMA chunk of 1 bytes is not supported"),
        ([IHDR, chunk(b"acTL", bytes(8)), IDAT, IEND], "animated 8-bit RGB PNG is not supported .its animation"),
    ],
)
def test_refusals_name_their_reason(parts, message):
    with pytest.raises(UnsupportedImageError, match=message):
        png.read(join(*parts), LIMIT)


def test_every_flipped_bit_and_every_cut_is_found():
    data = join(IHDR, chunk(b"tEXt", b"Title\0Sea"), IDAT, IEND)
    for i in range(len(data)):
        with pytest.raises(UnsupportedImageError):
            png.read(data[:i], LIMIT)
        for bit in range(8):
            with pytest.raises(UnsupportedImageError):
                png.read(data[:i] + bytes([data[i] ^ 1 << bit]) + data[i + 1 :], LIMIT)


def test_pillows_limits_are_left_as_they_were():
    limit = Image.MAX_IMAGE_PIXELS
    png.read(join(IHDR, IDAT, IEND), LIMIT)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    "metadata",
    [
        b"\0",  # a list of no chunks
        b"\x01",
        b"\x02tEXt\x01a",
        b"\x01tEXt\x02a",
        b"\x01tEXt\x81\x00a",
        b"\x01tEXt\xff\xff\xff\xff\x0fa",
        b"\x01tEX",
        b"\x01IDAT\x00",
        b"\x01IEND\x00",
    ],
)
def test_bad_metadata(metadata):
    with pytest.raises(CorruptDataError):
        png.write(PIXELS, metadata)


def test_chunks_inverse():
    before, after = [(b"aaaa", b""), (b"bbbb", b"123")], [(b"cccc", bytes(300))]
    for parts in [(before, after), ([], after), (before, []), ([], [])]:
        assert chunks.unpack(chunks.pack(*parts)) == parts


@pytest.mark.parametrize("rows", [ROWS[:-1], ROWS + b"x", b"\x09" + ROWS[1:]])
def test_bad_rows(rows):
    with pytest.raises(CorruptDataError):
        png.from_rows(rows, (3, 4, 3), 8)
    with pytest.raises(CorruptDataError):
        png.from_rows(rows, (3, 2, 3), 16)
