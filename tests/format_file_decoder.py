"""A decoder of whole files written from bbans/formats/FORMAT.md, chapters 1 to 4, alone: nothing of bbans.

Messages are left to the decoder of chapter 5. Pillow decodes WebP, and libjxl JPEG XL.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

PROFILES = (Path(__file__).parents[1] / "bbans" / "formats" / "profiles.bin").read_bytes()
"""Section 2.2."""

Samples = NDArray[np.integer]
ModelDecoder = Callable[[list[bytes], int, int, int], Samples]


@dataclass(frozen=True)
class Decoded:
    """What a file says and holds: the file that was compressed, or samples (H, W, C) and metadata."""

    method: int | None
    format: str
    source_bytes: int
    file: bytes | None
    samples: Samples | None
    metadata: bytes
    bit_depth: int


class Input:
    """Chapter 1."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        self.at += count
        assert self.at <= len(self.data)
        return self.data[self.at - count : self.at]

    def u8(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        total = shift = 0
        while True:
            byte = self.u8()
            total |= (byte % 128) << shift
            shift += 7
            if byte < 128:
                assert shift <= 63 and (byte or shift == 7)
                return total

    def name(self) -> str:
        length = self.varint()
        assert 1 <= length <= 64
        return self.take(length).decode("ascii")

    @property
    def left(self) -> int:
        return len(self.data) - self.at


def crc32(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def decode(data: bytes, model: ModelDecoder) -> Decoded:
    """Chapter 2. `model` decodes messages to samples of a height, width and number of channels."""
    outer = Input(data)
    assert outer.take(4) == b"VAEZ" and outer.u8() == 1
    header = Input(outer.take(outer.varint()))
    head = data[: outer.at]
    assert outer.take(4) == crc32(head)
    mode, method, format = header.u8(), header.u8(), header.name()
    source_bytes, height, width, channels, bit_depth = (header.varint() for _ in range(5))
    check = header.take(8)
    if mode == 1:
        header.name()
        header.take(8)
        assert method in (0, 1)
        for _ in range(4 + method):
            header.varint()
    bodies: dict[int, list[bytes]] = {kind: [] for kind in range(1, 8)}
    entries = [(header.u8(), header.varint(), header.take(4)) for _ in range(header.varint())]
    assert header.left == 0 and entries == sorted(entries, key=lambda entry: entry[0])
    for kind, length, crc in entries:
        bodies[kind].append(outer.take(length))
        assert crc32(bodies[kind][-1]) == crc
    assert (
        outer.left == 0
        and len(bodies[5]) <= 1
        and len(bodies[6]) <= 3 * (mode == 1)
        and len(bodies[1] + bodies[4] + bodies[7]) <= 1
        and all(bodies[1])
    )
    metadata = b"".join(bodies[1])
    for body in bodies[4]:
        packed = Input(body)
        size = packed.varint()
        assert 1 <= size <= 2**26
        metadata = inflated(packed.take(packed.left), size)
    for body in bodies[7]:
        packed = Input(body)
        size = packed.varint()
        assert 1 <= size <= 2**26
        inflate = zlib.decompressobj(-15, zdict=PROFILES)
        metadata = inflate.decompress(packed.take(packed.left))
        assert len(metadata) == size and inflate.eof and not inflate.unused_data

    file: bytes | None = None
    samples: Samples | None = None
    if mode == 0 and method in (0, 1, 5):
        assert not metadata and not bodies[5]
        if method == 5:
            file = from_jpeg(bodies[2][0], source_bytes, height, width)
        else:
            file = bodies[2][0] if method == 0 else inflated(bodies[2][0], source_bytes)
        assert len(file) == source_bytes
        content = file
    else:
        assert height * width <= 2**30
        if mode == 1:
            numbers = [body[0] for body in bodies[6]]
            assert numbers == sorted(numbers) and len({max(number, 4) for number in numbers}) == len(numbers)
            of_samples = bodies[6][numbers.index(5)][1] if 5 in numbers else channels - (6 in numbers)
            assert of_samples in (1, 3)
            samples = model(bodies[3], height, width, of_samples)
            for body in bodies[6]:
                samples = converted(samples, Input(body))
            assert samples.shape[2] == channels
        else:
            assert channels in (1, 2, 3, 4) and bit_depth in (1, 2, 4, 8, 16)
            samples = from_payload(method, bodies[2][0], height, width, channels, bit_depth, colours_of(format, channels, metadata))
        name = format.encode()
        depth = [] if bit_depth == 8 else [bit_depth]
        sizes = b"".join(map(varint, [height, width, channels, *depth, len(metadata)]))
        content = varint(len(name)) + name + sizes + metadata + samples.astype("<u2" if bit_depth == 16 else "u1").tobytes()
    assert hashlib.blake2b(content, digest_size=8).digest() == check
    if samples is not None and format not in ("PNG", "WEBP"):
        if format == "TIFF" and metadata[0] & 8:
            file = tiff_file(samples, bit_depth, metadata)
        else:
            file = qoi_file(samples, metadata) if format == "QOI" else raster_file(format, samples, bit_depth, metadata)
        assert file is None or len(file) == source_bytes
    if bodies[5]:
        assert format == "PNG" and samples is not None
        file = written(bodies[5][0], samples, bit_depth, metadata)
    return Decoded(method if mode == 0 else None, format, source_bytes, file, samples, metadata, bit_depth)


def varint(number: int) -> bytes:
    out = []
    while number >= 128:
        out.append(128 + number % 128)
        number //= 128
    return bytes([*out, number])


# Section 4.2


def converted(samples: Samples, section: Input) -> Samples:
    number = section.u8()
    if number == 4:
        return without_gaps(samples, section)
    if number == 5:
        return by_tables(samples, section)
    if number == 6:
        method = section.u8()
        alpha = from_payload(method, section.take(section.left), *samples.shape[:2], 1, 8, [])
        return np.concatenate([samples, alpha], axis=2)
    assert samples.shape[2] == 3
    y = samples[:, :, 1].astype(np.int64)
    cr, cb = samples[:, :, 0] - y, samples[:, :, 2] - y
    if number == 1:
        red, blue = y + (91881 * cr + 32768) // 65536, y + (116130 * cb + 32768) // 65536
        green = y + (-46802 * cr - 22554 * cb + 32768) // 65536
    elif number == 2:
        u, v, y = cb + 128, cr + 128, 19077 * y // 256
        red, blue = (y + 26149 * v // 256 - 14234) // 64, (y + 33050 * u // 256 - 17685) // 64
        green = (y - 6419 * u // 256 - 13320 * v // 256 + 8708) // 64
    else:
        assert number == 3
        red, blue = (13584 * y + 18215 * cr) // 10000, (13584 * y + 22179 * cb) // 10000
        green = (13584 * y - 5090 * (18215 * cr // 10000) - 1940 * (22179 * cb // 10000) - 1) // 10000
    pixels = np.stack([red, green, blue], axis=2).clip(0, 255).reshape(-1, 3)
    while section.left:
        colour, place = list(section.take(3)), -1
        for _ in range(section.varint()):
            place += 1 + section.varint()
            assert place < len(pixels)
            pixels[place] = colour
    return pixels.reshape(samples.shape)


def without_gaps(samples: Samples, section: Input) -> Samples:
    maps = []
    while section.left:
        bits = "".join(f"{byte:08b}" for byte in section.take(32))
        maps.append([value for value in range(256) if bits[value] == "0"])
    width, channels = samples.shape[1:]
    assert len(maps) in (1, channels) and all(maps)
    pixels = [[(row[x][c], maps[c % len(maps)]) for c in range(channels)] for row in samples.tolist() for x in range(width)]
    return np.array([[there[min(number, len(there) - 1)] for number, there in pixel] for pixel in pixels]).reshape(samples.shape)


def by_tables(samples: Samples, section: Input) -> Samples:
    assert section.u8() == samples.shape[2]
    bits, size, kept = section.u8(), section.varint(), section.varint()
    assert bits in (8, 16) and size <= 3096
    tables = Input(section.take(kept) if kept == size else inflated(section.take(kept), size))
    made = []
    while tables.left:
        channel, count = tables.varint(), tables.varint()
        assert count <= 256 and (count or bits == 8)
        values, last = [], 0
        for _ in range(count):
            step = tables.varint()
            last += -(step + 1) // 2 if step % 2 else step // 2
            assert 0 <= last < 1 << bits
            values.append(last)
        whole = values + [last] * (256 - count) if count else list(range(256))
        made.append(np.array(whole)[samples[:, :, channel]])
    assert 0 < len(made) <= 4 and not section.left
    return np.stack(made, axis=2)


# Chapter 3


def inflated(stream: bytes, size: int) -> bytes:
    data = lzma.decompress(stream, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 24}])
    assert len(data) == size
    return data


def colours_of(format: str, channels: int, metadata: bytes) -> list[tuple[int, ...]]:
    """The colours of a palette, with alpha if it has a tRNS; none if there is no palette."""
    before = dict(chunks(metadata)[0]) if format == "PNG" and channels == 1 and metadata else {}
    entries = before.get(b"PLTE", b"")
    colours = [tuple(entries[i : i + 3]) for i in range(0, len(entries), 3)]
    if b"tRNS" in before:
        alpha = before[b"tRNS"] + b"\xff" * len(colours)
        colours = [(*colour, alpha[i]) for i, colour in enumerate(colours)]
    return colours


def from_payload(
    method: int, payload: bytes, height: int, width: int, channels: int, bit_depth: int, palette: list[tuple[int, ...]]
) -> Samples:
    form, depth, reader = payload[0], bit_depth, Input(payload[1:])
    if form == 1:
        channels, depth = len(palette[0]), 8
    elif form == 2:
        assert bit_depth == 16
        depth = 8
    else:
        assert form == 0
    if method == 3:
        row = (width * channels * depth + 7) // 8
        coded = from_rows(inflated(reader.take(reader.left), height * (1 + row)), height, width, channels, depth)
    else:
        assert method in (2, 4)
        q = max(1, 2**21 // width)
        r = 256 * (q // 256) if q >= 256 else q
        parts = []
        for top in range(0, height, r):
            rows = min(r, height - top)
            stream = reader.take(reader.left if top + rows == height else reader.varint())
            decoder = from_webp if method == 2 else from_jxl
            parts.append(decoder(stream, rows, width, channels, depth))
        coded = np.concatenate(parts)
    if form == 1:
        numbers = [palette.index(tuple(map(int, colour))) for colour in coded.reshape(-1, channels)]
        return np.array(numbers).reshape(height, width, 1)
    return coded.astype(np.int64) * 257 if form == 2 else coded


def from_webp(stream: bytes, height: int, width: int, channels: int, depth: int) -> Samples:
    assert depth <= 8
    padding = len(stream) % 2
    sizes = [(12 + len(stream) + padding).to_bytes(4, "little"), len(stream).to_bytes(4, "little")]
    file = b"RIFF" + sizes[0] + b"WEBPVP8L" + sizes[1] + stream + bytes(padding)
    with Image.open(io.BytesIO(file)) as image:
        samples = np.asarray(image.convert("RGBA"))
    assert samples.shape == (height, width, 4)
    return samples[:, :, {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]]


def from_jxl(stream: bytes, height: int, width: int, channels: int, depth: int) -> Samples:
    bits: list[int] = []

    def put(*fields: tuple[int, int]) -> None:
        for count, value in fields:
            bits.extend(value >> i & 1 for i in range(count))

    def side(n: int) -> None:
        if small:
            put((5, n // 8 - 1))
        else:
            i, k = next((i, k) for i, k in enumerate((9, 13, 18, 30)) if n <= 2**k)
            put((2, i), (k, n - 1))

    wide, colour, alpha = depth == 16, channels >= 3, channels in (2, 4)
    ratios = [(1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1)]
    ratio = next((i + 1 for i, (a, b) in enumerate(ratios) if width == height * a // b), 0)
    small = height <= 256 and height % 8 == 0 and (ratio > 0 or (width <= 256 and width % 8 == 0))
    of_depth = [(1, 0), (2, 3), (6, 15)] if wide else [(3, 0)]
    put((1, int(small)))
    side(height)
    put((3, ratio))
    if not ratio:
        side(width)
    put((2, 0), *of_depth, (1, int(not wide)), (2, int(alpha)))
    if alpha:
        put(*([(3, 0), *of_depth, (5, 0)] if wide else [(1, 1)]))
    put((1, 0))
    if colour and not wide:
        put((1, 1))
    else:
        put((2, 0), (2, int(not colour)), (2, 1), *([(2, 1)] if colour else []), (1, 0), (2, 2), (4, 6 if wide else 11), (2, 1))
    put((2, 0), (1, 1))
    head = np.packbits(bits, bitorder="little").tobytes()
    samples = imagecodecs.jpegxl_decode(b"\xff\x0a" + head + stream)
    assert samples.dtype == (np.uint16 if wide else np.uint8)
    return samples.reshape(height, width, channels)


def from_jpeg(payload: bytes, size: int, height: int, width: int) -> bytes:
    assert height * width <= min(2**28, 512 * size) and size <= 16 * len(payload) + 65536
    head = bytes.fromhex("0000000C 4A584C20 0D0A870A 00000014 66747970 6A786C20 00000000 6A786C20")
    assert imagecodecs.jpegxl_decode(head + payload).shape[:2] == (height, width)
    return bytes(imagecodecs.jpegxl_decode_jpeg(head + payload))


def from_rows(rows: bytes, height: int, width: int, channels: int, depth: int) -> Samples:
    """PNG specification, sections 7.2 and 9."""
    size, step = (width * channels * depth + 7) // 8, max(1, channels * depth // 8)
    above = [0] * size
    out = bytearray()
    for y in range(height):
        kind, *row = rows[y * (1 + size) : (y + 1) * (1 + size)]
        for i in range(len(row)):
            a = row[i - step] if i >= step else 0
            b, c = above[i], above[i - step] if i >= step else 0
            paeth = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            row[i] = (row[i] + [0, a, b, (a + b) // 2, paeth][kind]) % 256
        out += bytes(row)
        above = row
    bits = np.unpackbits(np.frombuffer(out, np.uint8)).reshape(height, -1)[:, : width * channels * depth]
    return (bits.reshape(height, width, channels, depth) << np.arange(depth)[::-1]).sum(3)


def raster_file(format: str, samples: Samples, bit_depth: int, metadata: bytes) -> bytes:
    """Section 4.3."""
    height, width, channels = samples.shape
    if metadata:
        reader = Input(metadata)
        order, padding = reader.u8(), reader.u8()
        before = reader.take(reader.varint())
        after = reader.take(reader.left)
    elif format == "NPY":
        sides = (height, width) if channels == 1 else (height, width, channels)
        kind = "|u1" if bit_depth == 8 else "<u2"
        text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {sides}, }}"
        before = bytes.fromhex("93 4E 55 4D 50 59 01 00 76 00") + text.encode() + b" " * (117 - len(text)) + b"\n"
        order, padding, after = 0 if bit_depth == 8 else 4, 0, b""
    else:
        before = b"P%d\n%d %d\n%d\n" % ({"PPM": 6, "PGM": 5}[format], width, height, 2**bit_depth - 1)
        order, padding, after = 0, 0, b""
    assert padding <= 3 and order <= (15 if format == "TGA" else 7)
    rows = []
    for y in range(height)[:: -1 if order % 2 else 1]:
        row = samples[y].astype(np.int64)
        if order & 2 and channels > 2:
            row = row[:, [2, 1, 0, *range(3, channels)]]
        if bit_depth == 16:
            rows.append(row.astype("<u2" if order & 4 else ">u2").tobytes())
        else:
            rows.append(np.packbits(row.reshape(-1, 1) >> np.arange(bit_depth)[::-1] & 1).tobytes())
        rows.append(bytes(padding))
        if order & 8:
            rows[-2:] = [packets([bytes(map(int, pixel)) for pixel in row])]
    return before + b"".join(rows) + after


def packets(row: list[bytes]) -> bytes:
    """Section 4.3: a row of a TGA as packets of runs."""
    out, x = b"", 0
    while x < len(row):
        count, run = 1, row[x : x + 1] == row[x + 1 : x + 2]
        while (
            count < 128
            and x + count < len(row)
            and (row[x + count] == row[x] if run else row[x + count : x + count + 1] != row[x + count + 1 : x + count + 2])
        ):
            count += 1
        out += bytes([127 + count]) + row[x] if run else bytes([count - 1]) + b"".join(row[x : x + count])
        x += count
    return out


def tiff_file(samples: Samples, bit_depth: int, metadata: bytes) -> bytes | None:
    """Section 4.4. None if the libraries here are others."""
    reader = Input(metadata)
    order, (coder, level), predictor, digest, rows = (
        reader.u8(),
        divmod(reader.u8(), 16),
        reader.u8(),
        reader.take(8),
        reader.varint(),
    )
    tiles = bool(order & 16)
    assert (
        order & ~(52 if tiles else 4) == 8 and predictor in (1, 2) and rows >= 1 and coder <= 4 and (coder or (tiles and not level))
    )
    if tiles:
        samples = tiles_below(samples, rows, reader.varint(), bool(order & 32))
    lengths, height = [reader.varint()], len(samples)
    for _ in range(0, height, rows):
        reader.varint()
        lengths.append(reader.varint())
    parts = [reader.take(length) for length in lengths[:-1]]
    values = samples.astype(np.int64)
    if predictor == 2:
        values[:, 1:] -= samples[:, :-1]
    plain = raster_file("TIFF", values % (1 << bit_depth), bit_depth, bytes([order & 4, 0, 0]))
    row = len(plain) // height
    out = b""
    for part, top in zip(parts, range(0, height, rows), strict=True):
        strip = plain[top * row : (top + rows) * row]
        if coder == 0:
            pass
        elif coder == 1:
            strip = zlib.compress(strip, level)
        elif coder == 2:
            strip = imagecodecs.deflate_encode(strip, level=level, raw=False)
        else:
            inside = io.BytesIO()
            image = Image.frombytes("L", (row, len(strip) // row), strip)
            image.save(inside, "TIFF", compression={3: "tiff_lzw", 4: "packbits"}[coder], tiffinfo={278: height})
            with Image.open(inside) as again:
                start, size = again.tag_v2[273][0], again.tag_v2[279][0]
            strip = inside.getvalue()[start : start + size]
        out += part + strip
    out += reader.take(reader.left)
    return out if hashlib.blake2b(out, digest_size=8).digest() == digest else None


def tiles_below(samples: Samples, rows: int, width: int, from_before: bool) -> Samples:
    """Section 4.4: the tiles of a picture, one below another."""
    down, across = (-(-side // of) for side, of in zip(samples.shape[:2], (rows, width), strict=True))
    assert down * across <= 2**16 and down * rows * across * width <= 4 * samples.shape[0] * samples.shape[1] + 2**20
    tiles = np.zeros((1 + down * across, rows, width, samples.shape[2]), samples.dtype)
    for number in range(down * across):
        y, x = rows * (number // across), width * (number % across)
        part = samples[y : y + rows, x : x + width]
        if from_before:
            tiles[number + 1] = tiles[number]
        tiles[number + 1, : len(part), : part.shape[1]] = part
    return tiles[1:].reshape(-1, width, samples.shape[2])


def qoi_file(samples: Samples, metadata: bytes) -> bytes:
    """The encoder of the QOI specification, version 1.0."""
    height, width, channels = samples.shape
    out = bytearray(b"qoif" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([channels]) + (metadata or b"\0"))
    seen, last, run = [(0, 0, 0, 0)] * 64, (0, 0, 0, 255), 0
    pixels = [(*map(int, pixel), 255)[:4] for pixel in samples.reshape(-1, channels)]
    for number, pixel in enumerate(pixels):
        if pixel == last:
            run += 1
            if run == 62 or number == len(pixels) - 1:
                out.append(0xC0 | run - 1)
                run = 0
            continue
        if run:
            out.append(0xC0 | run - 1)
            run = 0
        r, g, b, a = pixel
        place = (3 * r + 5 * g + 7 * b + 11 * a) % 64
        dr, dg, db = ((new - old + 128) % 256 - 128 for new, old in zip(pixel[:3], last[:3], strict=True))
        if seen[place] == pixel:
            out.append(place)
        elif a != last[3]:
            out += bytes([0xFF, *pixel])
        elif min(dr, dg, db) >= -2 and max(dr, dg, db) <= 1:
            out.append(0x40 | dr + 2 << 4 | dg + 2 << 2 | db + 2)
        elif -32 <= dg <= 31 and min(dr - dg, db - dg) >= -8 and max(dr - dg, db - dg) <= 7:
            out += bytes([0x80 | dg + 32, dr - dg + 8 << 4 | db - dg + 8])
        else:
            out += bytes([0xFE, r, g, b])
        seen[place] = last = pixel
    return bytes(out) + bytes(7) + b"\1"


def written(writing: bytes, samples: Samples, bit_depth: int, metadata: bytes) -> bytes | None:
    """Section 4.1. None if the zlib here is another."""
    reader = Input(writing)
    level, memory = divmod(reader.u8(), 16)
    strategy, window = divmod(reader.u8(), 16)
    head, digest, idat, kind = reader.take(2), reader.take(8), reader.varint(), reader.u8()
    height, width, channels = samples.shape
    bits = (samples.astype(np.int64)[..., None] >> np.arange(bit_depth)[::-1] & 1).reshape(height, -1).astype(np.uint8)
    rows, step = np.packbits(bits, axis=1), max(1, channels * bit_depth // 8)
    filters = list(zlib.decompress(reader.take(reader.left), -15)) if kind == 6 else [kind] * height
    above, data = [0] * rows.shape[1], b""
    for row, filter in zip(rows.tolist(), filters, strict=True):
        options = []
        for f in range(5) if kind == 5 else [filter]:
            out = []
            for i in range(len(row)):
                a, c = (row[i - step], above[i - step]) if i >= step else (0, 0)
                b = above[i]
                paeth = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
                out.append((row[i] - [0, a, b, (a + b) // 2, paeth][f]) % 256)
            options.append((sum(min(byte, 256 - byte) for byte in out), f, bytes([f, *out])))
        data += min(options)[2]
        above = row
    deflate = zlib.compressobj(level, zlib.DEFLATED, -window, memory, strategy)
    parts = [deflate.compress(data[i : i + 2**15]) for i in range(0, len(data), 2**15)]
    stream = head + b"".join(parts) + deflate.flush() + zlib.adler32(data).to_bytes(4, "big")
    before, after = chunks(metadata) if metadata else ([], [])
    colours = {1: 3 if b"PLTE" in dict(before) else 0, 2: 4, 3: 2, 4: 6}[channels]
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([bit_depth, colours, 0, 0, 0])
    size = idat or len(stream)
    idats = [(b"IDAT", stream[i : i + size]) for i in range(0, len(stream), size)]
    file = b"\x89PNG\r\n\x1a\n"
    for name, body in [(b"IHDR", header), *before, *idats, *after, (b"IEND", b"")]:
        file += len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")
    return file if hashlib.blake2b(file, digest_size=8).digest() == digest else None


def chunks(metadata: bytes) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    """Chapter 4: the chunks of a PNG or a WebP before and after the picture."""
    reader = Input(metadata)
    before, found = reader.varint(), []
    while reader.left:
        found.append((reader.take(4), reader.take(reader.varint())))
    return found[:before], found[before:]
