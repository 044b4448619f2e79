"""A decoder of whole files written from bbans/formats/FORMAT.md, chapters 1 to 4, alone: nothing of bbans.

Messages are left to the decoder of chapter 5. Pillow decodes WebP.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Samples = NDArray[np.uint8]
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
        for _ in range(4):
            header.varint()
    bodies: dict[int, list[bytes]] = {1: [], 2: [], 3: []}
    entries = [(header.u8(), header.varint(), header.take(4)) for _ in range(header.varint())]
    assert header.left == 0 and entries == sorted(entries, key=lambda entry: entry[0])
    for kind, length, crc in entries:
        bodies[kind].append(outer.take(length))
        assert crc32(bodies[kind][-1]) == crc
    assert outer.left == 0 and len(bodies[1]) <= 1 and all(bodies[1])
    metadata = b"".join(bodies[1])

    file: bytes | None = None
    samples: Samples | None = None
    if mode == 0 and method < 2:
        assert not metadata
        file = bodies[2][0] if method == 0 else inflated(bodies[2][0], source_bytes)
        assert len(file) == source_bytes
        content = file
    else:
        assert channels in (1, 3) and bit_depth == 8 and height * width <= 2**30
        if mode == 1:
            samples = model(bodies[3], height, width, channels)
        elif method == 2:
            samples = from_webp(bodies[2][0], height, width, channels)
        else:
            samples = from_rows(inflated(bodies[2][0], height * (1 + width * channels)), height, width, channels)
        name = format.encode()
        sizes = b"".join(map(varint, (height, width, channels, len(metadata))))
        content = varint(len(name)) + name + sizes + metadata + samples.tobytes()
    assert hashlib.blake2b(content, digest_size=8).digest() == check
    return Decoded(method if mode == 0 else None, format, source_bytes, file, samples, metadata)


def varint(number: int) -> bytes:
    out = []
    while number >= 128:
        out.append(128 + number % 128)
        number //= 128
    return bytes([*out, number])


# Chapter 3


def inflated(stream: bytes, size: int) -> bytes:
    data = lzma.decompress(stream, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 24}])
    assert len(data) == size
    return data


def from_webp(stream: bytes, height: int, width: int, channels: int) -> Samples:
    padding = len(stream) % 2
    sizes = [(12 + len(stream) + padding).to_bytes(4, "little"), len(stream).to_bytes(4, "little")]
    file = b"RIFF" + sizes[0] + b"WEBPVP8L" + sizes[1] + stream + bytes(padding)
    with Image.open(io.BytesIO(file)) as image:
        samples = np.asarray(image)
    assert samples.shape == (height, width, 3)
    return np.ascontiguousarray(samples[:, :, :channels])


def from_rows(rows: bytes, height: int, width: int, channels: int) -> Samples:
    """PNG specification, section 9."""
    above = [0] * (width * channels)
    out = bytearray()
    for y in range(height):
        kind, *row = rows[y * (1 + width * channels) : (y + 1) * (1 + width * channels)]
        for i in range(len(row)):
            a = row[i - channels] if i >= channels else 0
            b, c = above[i], above[i - channels] if i >= channels else 0
            paeth = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            row[i] = (row[i] + [0, a, b, (a + b) // 2, paeth][kind]) % 256
        out += bytes(row)
        above = row
    return np.frombuffer(out, np.uint8).reshape(height, width, channels)


def chunks(metadata: bytes) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    """Chapter 4: the chunks of a PNG or a WebP before and after the picture."""
    reader = Input(metadata)
    before, found = reader.varint(), []
    while reader.left:
        found.append((reader.take(4), reader.take(reader.varint())))
    return found[:before], found[before:]
