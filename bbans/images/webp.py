"""Lossless WebP (VP8L): its chunks, and RGB pictures as pixels and metadata.

::

    "RIFF" size "WEBP" | [VP8X] [ICCP] ... | VP8L | [EXIF] [XMP ] ... |         all little-endian, chunks padded to even
                         ~~~~~~~~~~~~~~~~~          ~~~~~~~~~~~~~~~~~
                         metadata: kept with its bytes and order (`bbans.images.chunks`), not interpreted

The bytes that an encoder makes of the same pixels differ between versions of libwebp; what they decode to does not.

Source: WebP Container Specification; WebP Lossless Bitstream Specification, 3 (RIFF header).
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.images import chunks
from bbans.images.pillow import check_size, to_image, to_pixels

MAX_SIDE_PX = 16383
"""The format has 14 bits for each side, and libwebp encodes no 16384."""


@dataclass(frozen=True)
class WebpFile:
    """A lossless, still WebP without alpha, taken apart; the pixels are not decoded yet."""

    width: int
    height: int
    before: list[chunks.Chunk]
    after: list[chunks.Chunk]
    stream: bytes
    """The data of the VP8L chunk."""


def is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def parse(data: bytes, max_pixels: int) -> WebpFile:
    """The chunks of a lossless, still WebP file without alpha.

    Raises:
        UnsupportedImageError: any other WebP, says what would be lost; or broken, cut short or larger than allowed.
    """
    if not is_webp(data):
        raise UnsupportedImageError("not a WebP: its signature is missing")
    riff_end = 8 + int.from_bytes(data[4:8], "little")
    if riff_end > len(data):
        raise UnsupportedImageError("the WebP is cut short")
    if riff_end < len(data):
        raise UnsupportedImageError(f"WebP is not supported ({len(data) - riff_end} bytes after its end would be lost)")
    all_chunks: list[chunks.Chunk] = []
    start = 12
    while start < riff_end:
        if start + 8 > riff_end:
            raise UnsupportedImageError("the WebP is broken: its chunks do not fill it")
        kind, length = struct.unpack_from("<4sI", data, start)
        end = start + 8 + length + length % 2
        if end > riff_end or any(data[start + 8 + length : end]):
            raise UnsupportedImageError("the WebP is broken: its chunks do not fill it")
        all_chunks.append((kind, data[start + 8 : start + 8 + length]))
        start = end

    kinds = [kind for kind, _ in all_chunks]
    flags = next((body[0] for kind, body in all_chunks if kind == b"VP8X" and len(body) == 10), 0)
    if b"ANIM" in kinds or b"ANMF" in kinds or flags & 0x02:
        raise UnsupportedImageError("animated WebP is not supported (its animation would be lost)")
    if b"VP8 " in kinds:
        raise UnsupportedImageError("lossy WebP is not supported (only its decoded pixels would be kept)")
    if kinds.count(b"VP8L") != 1:
        raise UnsupportedImageError(f"the WebP is broken: {kinds.count(b'VP8L')} pictures in it")
    if kinds[0] not in (b"VP8X", b"VP8L"):
        raise UnsupportedImageError("the WebP is broken: it begins neither with VP8X nor with its picture")
    place = kinds.index(b"VP8L")
    stream = all_chunks[place][1]
    if len(stream) < 5 or stream[0] != 0x2F:
        raise UnsupportedImageError("the WebP is broken: no lossless picture in its VP8L chunk")
    bits = int.from_bytes(stream[1:5], "little")
    width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if flags & 0x10 or bits >> 28 & 1 or b"ALPH" in kinds:
        raise UnsupportedImageError("WebP with alpha is not supported (its alpha channel would be lost)")
    canvas = [body[4:] for kind, body in all_chunks if kind == b"VP8X"]
    if canvas and canvas != [(width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")]:
        raise UnsupportedImageError("the WebP is broken: its picture does not have the size of its canvas")
    check_size(width, height, max_pixels)
    return WebpFile(width, height, all_chunks[:place], all_chunks[place + 1 :], stream)


def read(data: bytes, max_pixels: int) -> tuple[npt.NDArray[np.uint8], bytes]:
    """Pixels (H, W, 3) and metadata of a lossless, still WebP without alpha.

    Raises:
        UnsupportedImageError: see `parse`; or the pixels cannot be decoded, or not be written again.
    """
    webp = parse(data, max_pixels)
    if max(webp.width, webp.height) > MAX_SIDE_PX:  # the format allows 16384
        raise UnsupportedImageError(f"WebP with a side over {MAX_SIDE_PX} pixels is not supported (it could not be written again)")
    pixels = to_pixels(_file([(b"VP8L", webp.stream)]), "WEBP", max_pixels)
    return pixels, chunks.pack(webp.before, webp.after, b"VP8L")


def write(pixels: npt.NDArray[np.uint8], metadata: bytes) -> bytes:
    """The lossless WebP file of `pixels` (H, W, 3) with the chunks of `metadata`: the inverse of `read`."""
    if max(pixels.shape) > MAX_SIDE_PX:
        raise CorruptDataError(f"no WebP has a side of {max(pixels.shape)} pixels")
    before, after = chunks.unpack(metadata, b"VP8L")
    # Three times as fast as the settings of `encode` for 3 % more bytes (Kodak): a person waits for this file.
    stream = parse(encode(pixels, quality=25, method=1), pixels.size).stream
    file = _file([*before, (b"VP8L", stream), *after])
    try:
        parse(file, pixels.size)
    except UnsupportedImageError as error:
        raise CorruptDataError(f"the metadata is of another file: {error}") from error
    return file


def encode(pixels: npt.NDArray[np.uint8], *, quality: int = 75, method: int = 4) -> bytes:
    """A lossless WebP file of `pixels` (H, W, 3), both sides at most MAX_SIDE_PX; `read` is the inverse.

    Args:
        quality: how hard the encoder tries, 0 to 100.
        method: the same, 0 to 6. Neither changes the pixels.
    """
    file = io.BytesIO()
    to_image(pixels).save(file, "WEBP", lossless=True, exact=True, quality=quality, method=method)
    return file.getvalue()


def _file(all_chunks: list[chunks.Chunk]) -> bytes:
    body = b"".join(struct.pack("<4sI", kind, len(data)) + data + b"\0" * (len(data) % 2) for kind, data in all_chunks)
    return struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WEBP") + body
