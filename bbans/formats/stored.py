"""The stored fallback: a picture or a file kept exactly without any network, by the smallest of four methods.

::

    FILE         the file's own bytes                          exact for everything, byte for byte
    FILE_LZMA    raw LZMA2 of the file's bytes                 the same
    WEBP         lossless WebP of the pixels                   pixels; gray goes as R = G = B
    ROWS_LZMA    raw LZMA2 of the pixels' PNG rows             the same; for pictures that WebP cannot take

A payload is that stream alone: sizes, format and metadata are the container's, as in mode model, and so are the checks. JPEG,
16 bits, palettes, alpha and animation need no method of their own: they are kept as files.

Decoding is exact for ever, but the bytes of WEBP and ROWS_LZMA depend on the versions of libwebp, Pillow and liblzma.

>>> method, payload = encode(b"not even a picture", None)
>>> decode_file(method, payload, 18)
b'not even a picture'
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from bbans.errors import CorruptDataError
from bbans.formats import lzma2
from bbans.formats.container import Section, SectionKind, entry_bytes
from bbans.images import png, webp
from bbans.images.picture import MAX_PIXELS, Picture

MAX_BYTES = 1 << 32
"""The most that the header may claim for a file in FILE_LZMA, by default."""

SMALL_BYTES = 1 << 20
"""Up to this size all methods are tried. LZMA codes about 3 MB a second: beyond, it is tried where it promises something."""

Pixels = npt.NDArray[np.uint8]


class StoredMethod(IntEnum):
    """How a payload is stored. Of methods of equal size the first wins."""

    FILE = 0
    FILE_LZMA = 1
    WEBP = 2
    ROWS_LZMA = 3

    @property
    def keeps_file(self) -> bool:
        """Whether the payload is the file, with whatever is in it; else it is pixels, with the metadata beside it."""
        return self in (StoredMethod.FILE, StoredMethod.FILE_LZMA)


def encode(data: bytes, picture: Picture | None) -> tuple[StoredMethod, bytes]:
    """The method and payload of the smallest way to store a file. Inverse: `decode_file` or `decode_picture`.

    Args:
        data: the file's bytes.
        picture: the picture in them; None where only the file can be kept.
    """
    streams: dict[StoredMethod, bytes] = {}
    if picture is None:
        if len(data) <= SMALL_BYTES or len(lzma2.compress(data[:SMALL_BYTES])) < SMALL_BYTES * 31 // 32:
            streams[StoredMethod.FILE_LZMA] = encode_file(StoredMethod.FILE_LZMA, data)
    else:
        fits_webp = max(picture.pixels.shape[:2]) <= webp.MAX_SIDE_PX
        if len(data) <= SMALL_BYTES:
            streams[StoredMethod.FILE_LZMA] = encode_file(StoredMethod.FILE_LZMA, data)
        if fits_webp:
            streams[StoredMethod.WEBP] = encode_picture(StoredMethod.WEBP, picture.pixels)
        if picture.pixels.nbytes <= SMALL_BYTES or not fits_webp:
            streams[StoredMethod.ROWS_LZMA] = encode_picture(StoredMethod.ROWS_LZMA, picture.pixels)
    streams[StoredMethod.FILE] = data
    beside = 0
    if picture is not None and picture.metadata:
        beside = len(picture.metadata) + entry_bytes(Section(SectionKind.METADATA, picture.metadata))
    best = min(streams, key=lambda method: (len(streams[method]) + (0 if method.keeps_file else beside), method))
    return best, streams[best]


def encode_file(method: StoredMethod, data: bytes) -> bytes:
    """The payload of a file by FILE or FILE_LZMA. Inverse: `decode_file`."""
    return data if method == StoredMethod.FILE else lzma2.compress(data)


def decode_file(method: StoredMethod, payload: bytes, size: int, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The file, of `size` bytes, of a payload by FILE or FILE_LZMA. Inverse: `encode_file`.

    Args:
        max_bytes: an LZMA stream may not claim more; checked before anything is decoded.
    Raises:
        CorruptDataError: the payload is damaged, or of a file of another or a larger size.
    """
    if method == StoredMethod.FILE:
        if len(payload) != size:
            raise CorruptDataError(f"the stored file has {len(payload)} bytes, but the header says {size}")
        return payload
    if size > max_bytes:
        raise CorruptDataError(f"the stored file claims {size} bytes, more than the limit of {max_bytes}")
    return lzma2.decompress(payload, size)


def encode_picture(method: StoredMethod, pixels: Pixels) -> bytes:
    """The payload of pixels (H, W, C) by WEBP or ROWS_LZMA. Inverse: `decode_picture`."""
    return webp.encode_stream(pixels) if method == StoredMethod.WEBP else lzma2.compress(png.to_rows(pixels))


def decode_picture(method: StoredMethod, payload: bytes, shape: tuple[int, int, int], *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """The pixels, of `shape` (H, W, C), of a payload by WEBP or ROWS_LZMA. Inverse: `encode_picture`.

    Args:
        max_pixels: `shape` may not have more; checked before anything is decoded.
    Raises:
        CorruptDataError: the payload is damaged, or of a picture of another shape, or the shape is too large.
    """
    height, width, channels = shape
    if channels not in (1, 3):
        raise CorruptDataError(f"the stored picture claims {channels} channels, not 1 or 3")
    if height * width > max_pixels:
        raise CorruptDataError(f"the stored picture claims {width} x {height} pixels, the limit is {max_pixels}")
    if method == StoredMethod.WEBP:
        return webp.decode_stream(payload, shape)
    return png.from_rows(lzma2.decompress(payload, height * (1 + width * channels)), shape)
