"""Lossless WebP (VP8L): its chunks, and RGB pictures as pixels and metadata.

::

    "RIFF" size "WEBP" | [VP8X] [ICCP] ... | VP8L | [EXIF] [XMP ] ... |         all little-endian, chunks padded to even
                         ~~~~~~~~~~~~~~~~~          ~~~~~~~~~~~~~~~~~
                         metadata: its bytes and order are kept (`bbans.images.chunks`), its meaning does not matter

Versions of libwebp encode the same pixels as different bytes, which all decode to the same pixels.

Source: WebP Container Specification; WebP Lossless Bitstream Specification, 3 (RIFF header).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.images import chunks
from bbans.images.frames import Animation, Frame
from bbans.images.pillow import check_size, to_image, to_pixels

MAX_SIDE_PX = 16383
"""The format has 14 bits for each side, but libwebp does not encode 16384."""

_MAX_STREAM_BYTES = (1 << 32) - 32
"""A RIFF file has 32 bits for its size."""


@dataclass(frozen=True)
class WebpFile:
    """The parts of a lossless, still WebP; the pixels are not decoded yet."""

    width: int
    height: int
    channels: int
    """3, or 4 with alpha."""
    before: list[chunks.Chunk]
    after: list[chunks.Chunk]
    stream: memoryview
    """The data of the VP8L chunk."""
    data: bytes
    """The whole file."""

    @property
    def picture(self) -> bytes:
        """The same WebP without its metadata."""
        return file_of([(b"VP8L", self.stream)]) if self.before or self.after else self.data


def is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def parse(data: bytes, max_pixels: int) -> WebpFile:
    """The chunks of a lossless, still WebP file.

    Raises:
        UnsupportedImageError: another WebP (says what would be lost), or one that is broken, cut short or too large.
    """
    if not is_webp(data):
        raise UnsupportedImageError("not a WebP: its signature is missing")
    body = riff_body(data)
    if surplus := len(data) - 12 - len(body):
        raise UnsupportedImageError(f"WebP is not supported ({surplus} bytes after its end would be lost)")
    all_chunks = list(chunks_of(body, strict=True))
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
    alpha = bits >> 28 & 1
    if b"ALPH" in kinds or (kinds[0] == b"VP8X" and bool(flags & 0x10) != bool(alpha)):
        raise UnsupportedImageError("WebP is not supported (its picture and its header disagree whether there is alpha)")
    canvas = [body[4:] for kind, body in all_chunks if kind == b"VP8X"]
    if canvas and canvas != [(width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")]:
        raise UnsupportedImageError("the WebP is broken: its picture does not have the size of its canvas")
    check_size(width, height, max_pixels)
    before, after = ([(kind, bytes(body)) for kind, body in part] for part in (all_chunks[:place], all_chunks[place + 1 :]))
    return WebpFile(width, height, 3 + alpha, before, after, stream, data)


def animation(data: bytes) -> Animation | None:
    """The frames of an animated WebP, not decoded; None for a still.

    Raises:
        UnsupportedImageError: broken or cut short.
    """
    all_chunks = list(chunks_of(riff_body(data)))
    if all(kind != b"ANMF" for kind, _ in all_chunks):
        return None
    kind, canvas = all_chunks[0]
    if kind != b"VP8X" or len(canvas) != 10:
        raise UnsupportedImageError("the WebP is broken: its canvas has no size")
    width, height = _side(canvas[4:]), _side(canvas[7:])
    frames = []
    for kind, body in all_chunks:
        if kind != b"ANMF":
            continue
        left, top, columns, rows = 2 * _side(body) - 2, 2 * _side(body[3:]) - 2, _side(body[6:]), _side(body[9:])
        if len(body) < 16 or left + columns > width or top + rows > height:
            raise UnsupportedImageError("the WebP is broken: a frame is not on its canvas")
        parts = [part for part in chunks_of(body[16:]) if part[0] in (b"ALPH", b"VP8 ", b"VP8L")]
        still = struct.pack("<I", canvas[0] & 0x10) + bytes(body[6:12])
        frames.append(Frame(columns, rows, partial(file_of, [(b"VP8X", still), *parts])))
    return Animation(width, height, frames)


def riff_body(data: bytes) -> memoryview:
    """The bytes of all chunks, without what may follow after them. Raises: UnsupportedImageError."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise UnsupportedImageError("the WebP is cut short")
    return memoryview(data)[12:end]


def chunks_of(body: memoryview, strict: bool = False) -> Iterator[tuple[bytes, memoryview]]:
    """The type and data of each chunk. Raises: UnsupportedImageError; if `strict`, also where padding is not zero."""
    start = 0
    while start < len(body):
        kind, length = struct.unpack_from("<4sI", body, start) if start + 8 <= len(body) else (b"", len(body))
        stop = start + 8 + length
        end = stop + length % 2
        if end > len(body) or (strict and any(body[stop:end])):
            raise UnsupportedImageError("the WebP is broken: its chunks do not fill it")
        yield kind, body[start + 8 : stop]
        start = end


def _side(field: memoryview) -> int:
    """The side of a canvas or a frame, from its 24 bits."""
    return 1 + int.from_bytes(field[:3], "little")


def read(data: bytes, max_pixels: int) -> tuple[npt.NDArray[np.uint8], bytes]:
    """Pixels (H, W, 3), or (H, W, 4) with alpha, and metadata of a lossless, still WebP.

    Raises:
        UnsupportedImageError: as `parse`; or the pixels cannot be decoded, or could not be written again.
    """
    webp = parse(data, max_pixels)
    if max(webp.width, webp.height) > MAX_SIDE_PX:  # the format allows 16384
        raise UnsupportedImageError(f"WebP with a side over {MAX_SIDE_PX} pixels is not supported (it could not be written again)")
    pixels = decode(webp.picture, max_pixels)
    if pixels.shape[2] != webp.channels or (webp.channels == 4 and pixels[:, :, 3].min() == 255):
        raise UnsupportedImageError("WebP with an alpha channel of nothing but 255 is not supported (it would be lost)")
    return pixels, chunks.pack(webp.before, webp.after)


def decode(data: bytes, max_pixels: int) -> npt.NDArray[np.uint8]:
    """The samples (H, W, 3) of a still WebP, or (H, W, 4) with alpha.

    libwebp takes 4 bytes a pixel beside them; by way of Pillow, where imagecodecs is not installed, 17.

    Raises: UnsupportedImageError: broken or cut short.
    """
    try:
        from imagecodecs import webp_decode
    except ImportError:
        return to_pixels(data, "WEBP", max_pixels, modes=("RGB", "RGBA"))
    try:
        pixels: npt.NDArray[np.uint8] = webp_decode(data)
    except (RuntimeError, ValueError, MemoryError) as error:
        raise UnsupportedImageError(f"the WebP cannot be decoded: {error}") from error
    return pixels


def write(pixels: npt.NDArray[np.uint8], metadata: bytes) -> bytes:
    """The lossless WebP file of `pixels` (H, W, 3 or 4) with the chunks of `metadata`: the inverse of `read`."""
    if max(pixels.shape) > MAX_SIDE_PX:
        raise CorruptDataError(f"a WebP cannot have a side of {max(pixels.shape)} pixels")
    if pixels.shape[2] == 4 and pixels[:, :, 3].min() == 255:
        raise CorruptDataError("a WebP cannot have an alpha channel of nothing but 255")
    before, after = chunks.unpack(metadata)
    # A person waits for this file: on Kodak three times as fast as the defaults of `encode`, and 3 % larger.
    stream = parse(encode(pixels, quality=25, method=1), pixels.size).stream
    file = file_of([*before, (b"VP8L", stream), *after])
    try:
        parse(file, pixels.size)
    except UnsupportedImageError as error:
        raise CorruptDataError(f"the metadata belongs to another file: {error}") from error
    return file


def encode(pixels: npt.NDArray[np.uint8], *, quality: int = 75, method: int = 4) -> bytes:
    """A lossless WebP file of `pixels` (H, W, C), gray as R = G = B, both sides at most MAX_SIDE_PX; `read` is the inverse.

    Args:
        quality: effort, 0 to 100.
        method: effort too, 0 to 6. Neither changes the pixels.
    """
    file = io.BytesIO()
    image = to_image(pixels)
    (image.convert("RGB") if image.mode == "L" else image).save(
        file, "WEBP", lossless=True, exact=True, quality=quality, method=method
    )
    return file.getvalue()


def encode_stream(samples: npt.NDArray[np.uint8], *, quality: int, method: int) -> bytes:
    """The VP8L stream of `samples` (H, W, C), C in 1..4: gray goes as R = G = B, alpha beside. Inverse: `decode_stream`.

    libwebp takes 37 bytes a pixel.

    Args: quality, method: as for `encode`.
    """
    colours = samples if samples.shape[2] > 2 else np.concatenate([samples[:, :, :1]] * 3 + [samples[:, :, 1:]], axis=2)
    file = io.BytesIO()
    to_image(colours).save(file, "WEBP", lossless=True, exact=True, quality=quality, method=method)
    return next(bytes(body) for kind, body in chunks_of(riff_body(file.getvalue())) if kind == b"VP8L")


def decode_stream(stream: bytes, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """The samples (H, W, C) of a VP8L stream. Inverse: `encode_stream`.

    Raises:
        CorruptDataError: damaged, of another size than `shape`, or with colours or alpha that `shape` does not have.
    """
    height, width, channels = shape
    if not 5 <= len(stream) <= _MAX_STREAM_BYTES or stream[0] != 0x2F:
        raise CorruptDataError("the stored picture is damaged: no lossless WebP")
    bits = int.from_bytes(stream[1:5], "little")
    size = ((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1)
    if size != (height, width):
        raise CorruptDataError(f"the stored picture has {size[1]} x {size[0]} pixels, the header {width} x {height}")
    try:
        pixels = decode(file_of([(b"VP8L", stream)]), height * width)
    except UnsupportedImageError as error:
        raise CorruptDataError(f"the stored picture is damaged: {error}") from error
    colours, alpha = pixels[:, :, :3], pixels[:, :, 3:]
    if channels < 3:
        if (colours != colours[:, :, :1]).any():
            raise CorruptDataError("the stored picture has colours, but is gray in the header")
        colours = colours[:, :, :1]
    if channels % 2:
        if (alpha != 255).any():
            raise CorruptDataError("the stored picture has alpha, but none in the header")
        return colours
    if not alpha.size:  # libwebp leaves it out where all of it is opaque
        alpha = np.full((height, width, 1), 255, np.uint8)
    return np.concatenate([colours, alpha], axis=2)


def file_of(all_chunks: Sequence[tuple[bytes, bytes | memoryview]]) -> bytes:
    parts: list[bytes | memoryview] = []
    for kind, data in all_chunks:
        parts += [struct.pack("<4sI", kind, len(data)), data, b"\0" * (len(data) % 2)]
    return b"".join([struct.pack("<4sI4s", b"RIFF", 4 + sum(map(len, parts)), b"WEBP"), *parts])
