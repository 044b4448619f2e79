"""JPEG files as JPEG XL, which holds what is needed to write the same file again, byte for byte: about a fifth smaller.

libjxl decodes the Huffman codes of the file, codes its coefficients better, and keeps tables, markers and padding beside them. It
refuses some files, such as CMYK and arithmetic coding, and what it takes is decoded at once and compared.

Source: ISO/IEC 18181-2, JPEG bitstream reconstruction data.
"""

from __future__ import annotations

from bbans.errors import CorruptDataError, UnsupportedImageError
from bbans.formats.jxl import THREADS, boxes, codec, read_size

SIGNATURE = b"\xff\xd8\xff"

MAX_PIXELS = 1 << 26
"""Larger ones are kept as their file: libjxl takes about 18 bytes a pixel."""

_HEAD = b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl "
"""The first two boxes of every JPEG XL file, which are left out."""

_PIXELS_PER_BYTE = 512
"""Of a JPEG at most: a block of 64 pixels takes a bit or more."""

_EXPANSION = 16
"""A JPEG has at most so many bytes for one of its payload, and `_SPARE_BYTES`; what would have more is kept otherwise."""

_SPARE_BYTES = 1 << 16


def encode(data: bytes, height: int, width: int) -> bytes:
    """The payload of a JPEG file of a picture of that size. Inverse: `decode`.

    Raises: UnsupportedImageError: libjxl does not take it, or does not give it back.
    """
    if not data.startswith(SIGNATURE):
        raise UnsupportedImageError("not a JPEG")
    try:
        packed = bytes(codec("jpegxl_encode_jpeg")(data, usecontainer=True, numthreads=THREADS))
        if not packed.startswith(_HEAD):
            raise UnsupportedImageError("libjxl writes boxes that are not those of the format")
        payload = packed[len(_HEAD) :]
        if decode(payload, len(data), height, width) != data:
            raise UnsupportedImageError("the JPEG does not come back")
    except (RuntimeError, ValueError, MemoryError, CorruptDataError) as error:
        raise UnsupportedImageError(f"libjxl does not take the JPEG: {error}") from error
    return payload


def decode(payload: bytes, size: int, height: int, width: int) -> bytes:
    """The JPEG file, of `size` bytes and a picture of that size, of a payload. Inverse: `encode`.

    What is claimed is checked before anything is decoded.

    Raises:
        CorruptDataError: the payload is damaged, or of another file, or claims too much.
        UnsupportedImageError: libjxl is not installed.
    """
    if size > _EXPANSION * len(payload) + _SPARE_BYTES:
        raise CorruptDataError(f"the stored JPEG claims {size} bytes, too many for {len(payload)} bytes of payload")
    if height * width > min(MAX_PIXELS, _PIXELS_PER_BYTE * size):
        raise CorruptDataError(f"the stored JPEG claims {width} x {height} pixels, too many for {size} bytes")
    packed = _HEAD + payload
    stream = b"".join(body for kind, body in boxes(packed) if kind in (b"jxlc", b"jxlp"))
    if read_size(stream) != (height, width):
        raise CorruptDataError(f"the stored JPEG does not have the {width} x {height} pixels of the header")
    try:
        data = bytes(codec("jpegxl_decode_jpeg")(packed, numthreads=THREADS, out=size))
    except (RuntimeError, ValueError, MemoryError) as error:
        raise CorruptDataError(f"the stored JPEG is damaged: {error}") from error
    if len(data) != size:
        raise CorruptDataError(f"the stored JPEG has {len(data)} bytes, but the header says {size}")
    return data
