"""The stored fallback: a picture or a file, kept without a network by the smallest of four methods.

::

    FILE       crc | the file's own bytes                                  exact for everything, byte for byte
    FILE_LZMA  crc | size, u64 | raw LZMA2 of the file's bytes             the same
    WEBP       crc | picture header, metadata | lossless WebP              pixels + metadata; gray goes as R = G = B
    LZMA       crc | picture header, metadata | raw LZMA2 of PNG rows      the same; for pictures that WebP cannot take

    crc = CRC-32 of the rest of the payload and, except for FILE, of the file or pixels that it decodes to: it tells
          damage, and a decoder that differs from the one of the encoder
    picture header = { name length, u8 | format name | height, u32 | width, u32 | channels, u8 | metadata length, u32 }

All numbers are big-endian. A payload is at most 4 bytes longer than the file. JPEG, 16 bits, palettes, alpha and
animation need no method of their own: they are kept as files.

Decoding is exact for ever, but the bytes of WEBP and LZMA depend on the versions of libwebp, Pillow and liblzma.

>>> decode(*encode(b"not even a picture", None))
b'not even a picture'
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.formats import lzma2
from bbans.images import png, webp
from bbans.images.picture import MAX_PIXELS, Picture

MAX_BYTES = 1 << 32
"""The most that a FILE_LZMA payload may claim for its file, by default."""

SMALL_BYTES = 1 << 20
"""Up to this size all methods are tried. LZMA codes about 3 MB a second: beyond, it is tried where it promises something."""

_SIZES = struct.Struct(">IIBI")
"""Height, width, channels, metadata length."""

Pixels = npt.NDArray[np.uint8]
StreamDecoder = Callable[[memoryview, tuple[int, int, int]], Pixels]


class Method(IntEnum):
    """How a payload is stored. Of methods of equal size the first wins."""

    FILE = 0
    FILE_LZMA = 1
    WEBP = 2
    LZMA = 3


def encode(data: bytes, picture: Picture | None) -> tuple[Method, bytes]:
    """The method and payload of the smallest way to store a file. Inverse: `decode`.

    Args:
        data: the file's bytes.
        picture: the picture in them; None where only the file can be kept.
    """
    candidates: dict[Method, bytes] = {}
    if picture is None:
        if len(data) <= SMALL_BYTES or len(lzma2.compress(data[:SMALL_BYTES])) < SMALL_BYTES * 31 // 32:
            candidates[Method.FILE_LZMA] = _encode_file(data)
    else:
        fits_webp = max(picture.pixels.shape[:2]) <= webp.MAX_SIDE_PX
        if len(data) <= SMALL_BYTES:
            candidates[Method.FILE_LZMA] = _encode_file(data)
        if fits_webp:
            candidates[Method.WEBP] = _encode_picture(picture, _encode_webp(picture.pixels))
        if picture.pixels.nbytes <= SMALL_BYTES or not fits_webp:
            candidates[Method.LZMA] = _encode_picture(picture, _encode_rows(picture.pixels))
    best = min(candidates, key=lambda method: (len(candidates[method]), method), default=Method.FILE)
    # A file as it is needs no copy before it has won.
    if best not in candidates or len(data) + 4 <= len(candidates[best]):
        return Method.FILE, _crc(data) + data
    return best, candidates[best]


def decode(method: int, payload: bytes, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> bytes | Picture:
    """The file's bytes (FILE, FILE_LZMA) or the picture (WEBP, LZMA). Inverse: `encode`.

    Args:
        max_pixels, max_bytes: limits of what the payload's header may claim, checked before anything is decoded.
    Raises:
        CorruptDataError: an unknown method, or the payload is damaged, cut short or larger than allowed.
    """
    if len(payload) < 4:
        raise CorruptDataError("the stored data is cut short")
    crc, body = payload[:4], memoryview(payload)[4:]
    decoded: bytes | Picture
    if method == Method.FILE:
        decoded = bytes(body)
        actual = _crc(body)
    elif method == Method.FILE_LZMA:
        decoded = _decode_file(body, max_bytes)
        actual = _crc(body, decoded)
    elif method in (Method.WEBP, Method.LZMA):
        decoded = _decode_picture(body, max_pixels, _decode_webp if method == Method.WEBP else _decode_rows)
        actual = _crc(body, decoded.pixels)
    else:
        raise CorruptDataError(f"no stored method {method} is known")
    if actual != crc:
        raise CorruptDataError("the stored data is damaged: its checksum does not match")
    return decoded


def _encode_file(data: bytes) -> bytes:
    body = struct.pack(">Q", len(data)) + lzma2.compress(data)
    return _crc(body, data) + body


def _decode_file(body: memoryview, max_bytes: int) -> bytes:
    if len(body) < 8:
        raise CorruptDataError("the stored data is cut short")
    size = int.from_bytes(body[:8], "big")
    if size > max_bytes:
        raise CorruptDataError(f"the stored data claims {size} bytes, more than the limit of {max_bytes}")
    return lzma2.decompress(body[8:], size)


def _encode_picture(picture: Picture, stream: bytes) -> bytes:
    name = picture.format.encode("latin-1")
    sizes = _SIZES.pack(*picture.pixels.shape, len(picture.metadata))
    body = b"".join([bytes([len(name)]), name, sizes, picture.metadata, stream])
    return _crc(body, picture.pixels) + body


def _decode_picture(body: memoryview, max_pixels: int, decode_stream: StreamDecoder) -> Picture:
    start = 1 + body[0] if body else 0
    if len(body) < start + _SIZES.size:
        raise CorruptDataError("the stored data is cut short")
    height, width, channels, metadata_bytes = _SIZES.unpack_from(body, start)
    end = start + _SIZES.size + metadata_bytes
    if not height or not width or channels not in (1, 3) or end > len(body):
        raise CorruptDataError("the stored data is damaged: its picture header cannot be")
    if height * width > max_pixels:
        raise CorruptDataError(f"the stored picture claims {width} x {height} pixels, the limit is {max_pixels}")
    pixels = decode_stream(body[end:], (height, width, channels))
    return Picture(pixels, bytes(body[1:start]).decode("latin-1"), bytes(body[start + _SIZES.size : end]))


def _encode_webp(pixels: Pixels) -> bytes:
    return webp.encode(pixels)


def _decode_webp(stream: bytes | memoryview, shape: tuple[int, int, int]) -> Pixels:
    height, width, channels = shape
    try:
        pixels, _ = webp.read(bytes(stream), height * width)
    except UnsupportedImageError as error:
        raise CorruptDataError(f"the stored picture is damaged: {error}") from error
    if pixels.shape != (height, width, 3) or (channels == 1 and (pixels != pixels[:, :, :1]).any()):
        raise CorruptDataError("the stored picture is damaged: it has another size than its header, or colours")
    return pixels[:, :, :channels]


def _encode_rows(pixels: Pixels) -> bytes:
    return lzma2.compress(png.to_rows(pixels))


def _decode_rows(stream: bytes | memoryview, shape: tuple[int, int, int]) -> Pixels:
    height, width, channels = shape
    return png.from_rows(lzma2.decompress(stream, height * (1 + width * channels)), shape)


def _crc(*parts: bytes | memoryview | Pixels) -> bytes:
    crc = 0
    for part in parts:
        crc = zlib.crc32(np.ascontiguousarray(part).data if isinstance(part, np.ndarray) else part, crc)
    return crc.to_bytes(4, "big")
